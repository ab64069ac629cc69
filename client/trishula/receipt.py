"""That a message was accepted, and what became of it when that was asked for."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

Stage = Literal["delivered", "read", "done"]
_ORDER: Final = ("delivered", "read", "done")


class Receipt:
    """The hub has stored the message. With ``receipt=True`` also news of the recipients.

    ``await`` :meth:`reached` for those. The hub tells a live session only: what happens while
    the connection is down is not heard, ``Agent.trace`` tells it at any time.
    """

    __slots__ = ("__weakref__", "_reached", "_waiters", "id")

    def __init__(self, id: str) -> None:
        self.id = id
        self._reached: dict[str, str] = {}
        self._waiters: list[tuple[str, asyncio.Future[str]]] = []

    def __repr__(self) -> str:
        news = "".join(f", {stage} by {by}" for stage, by in self._reached.items())
        return f"<Receipt {self.id}{news}>"

    async def reached(self, stage: Stage = "done", timeout: float | None = None) -> str:
        """Wait until a recipient has had it delivered, has read it, or is done with it.

        A later stage counts for an earlier one. Returns that recipient.

        Raises:
            TimeoutError: not within ``timeout`` seconds.
        """
        wanted = _ORDER[_ORDER.index(stage) :]
        for later in wanted:
            if later in self._reached:
                return self._reached[later]
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        entry = (stage, future)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(timeout):
                return await future
        finally:
            self._waiters.remove(entry)

    def note(self, stage: str, by: str) -> None:
        """The hub's news."""
        self._reached.setdefault(stage, by)
        for waited, future in self._waiters:
            if stage in _ORDER[_ORDER.index(waited) :] and not future.done():
                future.set_result(by)

    def fail(self, error: Exception) -> None:
        """There will be no more news."""
        for _, future in self._waiters:
            if not future.done():
                future.set_exception(error)
