"""What a hub tells unasked, and who listens: watchers to presence, taps to copies."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final
from weakref import WeakSet

from trishula.engine import Engine
from trishula.errors import AgentClosed, Refused
from trishula_protocol import bodies

NEWS: Final = 10_000
"""Presence changes kept for a watcher that does not read; the oldest are dropped."""
COPIES_KEPT: Final = 1_000
"""Copies kept for a tap that is not read; those that come then are counted, not kept."""


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
        engine.core.subscriptions[name] = op
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
                self._engine.core.subscriptions.pop(self._name, None)
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


class Audience:
    """All who listen to one agent's hub. Whoever is no longer referred to does not count."""

    engine: Engine

    def __init__(self) -> None:
        self._watchers: WeakSet[Watcher] = WeakSet()
        self._taps: WeakSet[Copies] = WeakSet()

    def watch(self) -> Watcher:
        """One more who hears of presence."""
        watcher = Watcher(self.engine, "watch", bodies.Watch())
        self._watchers.add(watcher)
        return watcher

    def tap(self, op: bodies.Tap) -> Copies:
        """The one who hears what ``op`` asks for; an earlier one ends."""
        for earlier in self._taps:
            earlier.end()
        self._taps.clear()
        copies = Copies(self.engine, "tap", op)
        self._taps.add(copies)
        return copies

    def hear(self, payload: Any) -> None:
        """News from the hub; where nobody listens any more, the hub is told."""
        if isinstance(payload, dict) and "tap" in payload:
            self._hand_out(payload, self._taps, "tap", bodies.Tap(on=False))
        else:
            self._hand_out(payload, self._watchers, "watch", bodies.Watch(on=False))

    def _hand_out(self, payload: Any, listeners: WeakSet[Any], name: str, off: bodies.Op) -> None:
        if not listeners:
            self.engine.core.subscriptions.pop(name, None)
            self.engine.sending.tell(off)
        for listener in listeners:
            listener.note(payload)

    def wake(self) -> None:
        """Have all of them look again."""
        for listener in (*self._watchers, *self._taps):
            listener.wake()
