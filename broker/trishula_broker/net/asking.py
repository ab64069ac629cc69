"""The cores' questions on their way to the store, a few at a time, and the answers back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from trishula_broker.hub.now import Now
from trishula_broker.net.ports import Core, Log, Question
from trishula_broker.store.base import Store, StoreUnavailable

QUESTIONS: Final = 8
"""Questions asked of the store at the same time; more wait."""


class Asking:
    """Questions that wait, and those under way; whether there are any is its truth.

    Args:
        store: what is asked.
        clock: the time, for the cores.
        log: where failures go.
        wake: called when a core has had an answer.
    """

    def __init__(
        self, store: Store, clock: Callable[[], Now], log: Log, wake: Callable[[], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[str, Core, Question]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._tasks)

    def add(self, namespace: str, core: Core, question: Question) -> None:
        """Ask ``question`` when its turn has come; :meth:`run` begins."""
        self._waiting.append((namespace, core, question))

    def run(self) -> None:
        """Ask as many as may be under way."""
        while self._waiting and len(self._tasks) < QUESTIONS:
            task = self._loop.create_task(self._ask(*self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def tasks(self) -> list[asyncio.Task[None]]:
        """Those under way, for whoever ends them."""
        return [*self._tasks]

    async def _ask(self, namespace: str, core: Core, question: Question) -> None:
        try:
            why = ""
            answer: Any = None
            try:
                answer = await self._store.query(namespace, question.query)
            except StoreUnavailable as error:
                why = str(error) or "the store is unavailable"
            except Exception as error:
                self._log.error("bug", during=type(question.query).__name__, exc_info=error)
                why = "internal error of the store"
            if why:
                core.question_failed(question, why, self._clock())
            else:
                core.answered(question, answer, self._clock())
        except Exception as error:
            self._log.error("bug", during="answered", exc_info=error)
        finally:
            self._loop.call_soon(self._wake)  # once this task no longer counts
