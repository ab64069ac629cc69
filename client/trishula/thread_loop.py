"""An event loop in a thread, for programs that have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ThreadLoop:
    """It runs from when it is made until :meth:`stop`.

    Args:
        name: what the thread is called, behind ``trishula-``.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"trishula-{name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` there and wait for it.

        Raises:
            InterruptedError: it was cancelled there.
            RuntimeError: this is that thread, which cannot wait for itself.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("called from the agent's own loop; use trishula.Agent there")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise InterruptedError("the agent was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def soon(self, work: Callable[[], None]) -> None:
        """Have ``work`` done there; do not wait for it."""
        self.loop.call_soon_threadsafe(work)

    def stop(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
