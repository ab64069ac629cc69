"""A thread with a queue: database calls that must not block the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")


class Worker:
    """Runs what it is given, in order, in one thread of its own."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._unresolved = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do, as far as the event loop has heard."""
        return not self._unresolved

    def run(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        """The outcome of ``call`` once its turn has come. Cancelling does not stop it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def resolve(result: _T | None, error: BaseException | None) -> None:
            self._unresolved -= 1
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:
                error = raised
            try:
                loop.call_soon_threadsafe(resolve, result, error)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        self._unresolved += 1
        self._queue.put(work)
        return future

    def stop(self) -> None:
        """End the thread once all that was queued has run; waits for it."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            del work
