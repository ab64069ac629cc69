"""That a message was accepted, and what became of it when that was asked for."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

Stage = Literal["delivered", "read", "done"]
_ORDER: Final = ("delivered", "read", "done")


class Receipt:
    """The hub, or the shared folder, has stored the message.

    With ``receipt=True`` also news of the recipients: ``await`` :meth:`reached` for those. The hub
    tells a live session only: what happens while the connection is down is not heard,
    ``Agent.trace`` tells it at any time. Of what went by file only ``done`` is heard.
    """

    __slots__ = ("__weakref__", "_asked", "_reached", "_waiters", "id")

    def __init__(self, id: str, asked: bool) -> None:
        self.id = id
        self._asked = asked
        if asked:  # most are not: those have no news to keep
            self._reached: dict[str, str] = {}
            self._waiters: list[tuple[str, asyncio.Future[str]]] = []

    def __repr__(self) -> str:
        reached = self._reached if self._asked else {}
        news = "".join(f", {stage} by {by}" for stage, by in reached.items())
        return f"<Receipt {self.id}{news}>"

    async def reached(self, stage: Stage = "done", timeout: float | None = None) -> str:
        """Wait until a recipient has had it delivered, has read it, or is done with it.

        A later stage counts for an earlier one. Returns that recipient.

        Raises:
            TimeoutError: not within ``timeout`` seconds.
            ValueError: it was sent without ``receipt=True``, or there is no such stage.
        """
        if stage not in _ORDER:
            raise ValueError(f"stage: {', '.join(_ORDER)}, not {stage!r}")
        if not self._asked:
            raise ValueError(f"receipt: {self.id} was sent without receipt=True; ask Agent.trace()")
        wanted = _ORDER[_ORDER.index(stage) :]
        for later in wanted:
            if later in self._reached:
                return self._reached[later]
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        entry = (stage, future)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(timeout) as limit:
                return await future
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"{self.id} is not {stage} within {timeout} s") from error
        finally:
            self._waiters.remove(entry)

    def note(self, stage: str, by: str) -> None:
        """The hub's news, of a message that was sent with ``receipt=True``."""
        self._reached.setdefault(stage, by)
        for waited, future in self._waiters:
            if stage in _ORDER[_ORDER.index(waited) :] and not future.done():
                future.set_result(by)

    def fail(self, error: Exception) -> None:
        """There will be no more news."""
        for _, future in self._waiters:
            if not future.done():
                future.set_exception(error)
