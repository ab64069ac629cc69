"""What an agent can ask its hub, each with its type (docs/protocol.md §7)."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final, TypeVar

import msgspec

from trishula.engine import Engine
from trishula.errors import AgentClosed, Refused
from trishula_protocol import bodies

NEWS: Final = 10_000
"""Presence changes kept for a watcher that does not read; the oldest are dropped."""
COPIES_KEPT: Final = 1_000
"""Copies kept for a tap that is not read; those that come then are counted, not kept."""


class Operations(ABC):
    """The typed helpers, over :meth:`ask`."""

    @abstractmethod
    async def ask(self, op: bodies.Op) -> Any:
        """Ask the hub; its answer's payload."""

    async def agents(
        self,
        *,
        capability: str | None = None,
        group: str | None = None,
        online: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Who there is, each filter narrowing.

        Each has ``id``, ``capabilities``, ``groups``, ``online``, ``status``, ``node``,
        ``since`` (ms since the epoch) and ``unsettled``. Raises as :meth:`ask`.
        """
        found: list[dict[str, Any]] = []
        after: str | None = ""
        while after is not None:
            page = await self.ask(bodies.Agents(capability, group, online, after))
            found += page["agents"]
            after = page.get("next")
        return found

    async def status(self, text: str = "", details: Any = None) -> Any:
        """Set the status that others see, until replaced. Raises as :meth:`ask`."""
        return await self.ask(bodies.Status(text, details))

    async def join(self, group: str) -> Any:
        """Become a member of ``group``; also at every reconnection. Raises as :meth:`ask`."""
        return await self.ask(bodies.Join(group))

    async def leave(self, group: str) -> Any:
        """Stop being a member of ``group``. Raises as :meth:`ask`."""
        return await self.ask(bodies.Leave(group))

    async def peek(self, limit: int = 20) -> Any:
        """Look at the own mailbox (count, oldest, by priority, heads); settles nothing."""
        return await self.ask(bodies.Peek(limit))

    async def history(self, thread: str | None = None, *, after: int = 0, limit: int = 100) -> Any:
        """A thread, or all own mail, oldest first; ``after`` is a seq. Raises as :meth:`ask`."""
        return await self.ask(bodies.History(thread, after, limit))

    async def trace(self, id: str) -> Any:
        """Where a message is that this agent sent or received. Raises as :meth:`ask`."""
        return await self.ask(bodies.Trace(id))

    async def recall(self, id: str) -> Any:
        """Take back what nobody has read yet. Raises as :meth:`ask`."""
        return await self.ask(bodies.Recall(id))

    async def deregister(self) -> Any:
        """Be forgotten by the hub; refused while the mailbox holds anything."""
        return await self.ask(bodies.Deregister())


S = TypeVar("S", bound=msgspec.Struct)


def checked(op: S) -> S:
    """``op``, if the hub would take it.

    Raises:
        ValueError: a field breaks a rule of the protocol.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(op), type(op))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


class Watcher:
    """An async iterator of the hub's news, each a dict; see ``Agent.watch``.

    The hub is told when the last watcher is no longer referred to.

    Args:
        name: of the operation.
        op: what the hub is asked for, now and at each connection.
    """

    def __init__(self, engine: Engine, name: str, op: bodies.Op) -> None:
        self._engine = engine
        self._name = name
        self._op = op
        engine.core.standing[name] = op
        self._asked = False
        self._over = False
        self._news: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Any:
        if not self._asked:
            try:
                await self._engine.sending.ask(self._op)
            except Refused:
                self._engine.core.standing.pop(self._name, None)
                raise
            self._asked = True
        while (change := self._next()) is None:
            failure = self._engine.failure
            if self._over or isinstance(failure, AgentClosed):
                raise StopAsyncIteration
            if failure is not None:
                raise failure.with_traceback(None)
            if self._reader is None or self._reader.done():
                self._reader = asyncio.get_running_loop().create_future()
            # Several may wait for the same change; cancelling one must not wake the others.
            await asyncio.shield(self._reader)
        return change

    def _next(self) -> Any:
        return self._news.popleft() if self._news else None

    def note(self, payload: Any) -> None:
        """The hub's news."""
        if len(self._news) == NEWS:
            self._news.popleft()
        self._news.append(payload)
        self.wake()

    def end(self) -> None:
        """There is no more after what is there."""
        self._over = True
        self.wake()

    def wake(self) -> None:
        """Look again."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Copies(Watcher):
    """An async iterator of copies; see ``Agent.tap``. What it has no room for is counted."""

    def __init__(self, engine: Engine, name: str, op: bodies.Op) -> None:
        super().__init__(engine, name, op)
        self._missed = 0

    def _next(self) -> Any:
        if not self._news and self._missed:
            self._note_missed()
        return super()._next()

    def note(self, payload: Any) -> None:
        """A copy, or how many of them were missed."""
        if payload.get("tap") == "missed" and isinstance(payload.get("missed"), int):
            self._missed += payload["missed"]
        elif len(self._news) >= COPIES_KEPT:
            self._missed += 1
        else:
            if self._missed:
                self._note_missed()
            self._news.append(payload)
        self.wake()

    def _note_missed(self) -> None:
        self._news.append({"tap": "missed", "missed": self._missed})
        self._missed = 0
