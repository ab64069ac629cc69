"""The links that callers use: made when they are needed, kept while they are, ended a while after.

It knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, NamedTuple

from trishula_broker.api.failures import Failure
from trishula_broker.api.link import Link
from trishula_broker.api.news import Memo
from trishula_broker.auth.identity import Identity
from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.driver import Driver
from trishula_protocol import limits
from trishula_protocol.errors import ErrorCode

IDLE_S: Final = 30.0
"""A link that nobody used for so long ends: enough for a person who clicks."""
SETTLE_S: Final = 30.0
"""What a receiving link has beyond its lease, so that who settles in time finds it."""
ALIVE_S: Final = 30.0
"""Between two signs of life; the hub waits for two minutes."""
MOST: Final = 1_000
"""Links at a time."""
MOST_OF_ONE: Final = 16
"""... and of one caller, streams included."""


class Caller(NamedTuple):
    """Who asks."""

    namespace: str
    agent: str
    identity: Identity | None
    """None on a hub without keys."""
    peer: str

    @property
    def token_id(self) -> str:
        """Of whose token the rights are."""
        return "" if self.identity is None else self.identity.token_id


class Key(NamedTuple):
    """What requests share a link by: a session has one token's rights."""

    namespace: str
    agent: str
    token_id: str
    receive: bool


class Links:
    """All of them.

    Args:
        driver: where they are connected.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._kept: dict[Key, Link] = {}
        self._streams: dict[Link, tuple[str, str]] = {}
        """Each with its namespace and agent."""
        self._memo = Memo()
        """Of all streams: open pages listen to the same."""
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Links kept={len(self._kept)} streams={len(self._streams)}>"

    def __len__(self) -> int:
        return len(self._kept) + len(self._streams)

    @asynccontextmanager
    async def side(self, caller: Caller) -> AsyncIterator[Link]:
        """A side session of the caller's, which it shares with its other requests.

        Raises:
            Failure: the hub does not let it in.
        """
        async with self._shared(caller, receive=False, lease_ms=None) as link:
            yield link

    @asynccontextmanager
    async def mailbox(self, caller: Caller, lease_ms: int | None = None) -> AsyncIterator[Link]:
        """The session that takes the caller's mail; another ``lease_ms`` begins a new one.

        Raises:
            Failure: the hub does not let it in.
        """
        async with self._shared(caller, receive=True, lease_ms=lease_ms) as link:
            yield link

    @asynccontextmanager
    async def stream(self, caller: Caller) -> AsyncIterator[Link]:
        """A side session of its own, for as long as this lasts.

        Raises:
            Failure: the hub does not let it in.
        """
        self._count(caller)
        lease_ms = limits.LEASE_DEFAULT_MS
        link = self._make(caller, receive=False, lease_ms=lease_ms, memo=self._memo)
        self._streams[link] = caller.namespace, caller.agent
        try:
            await link.ready()
            yield link
        finally:
            self._streams.pop(link, None)
            link.end()

    @asynccontextmanager
    async def _shared(
        self, caller: Caller, *, receive: bool, lease_ms: int | None
    ) -> AsyncIterator[Link]:
        key = Key(caller.namespace, caller.agent, caller.token_id, receive)
        link = self._kept.get(key)
        if link is not None and lease_ms not in (None, link.lease_ms) and not link.users:
            link.end()
        if link is None or link.closed:
            self._count(caller)
            link = self._kept[key] = self._make(
                caller, receive=receive, lease_ms=lease_ms or limits.LEASE_DEFAULT_MS
            )
        link.users += 1
        self._deadlines.clear(link)
        try:
            await link.ready()
            yield link
        finally:
            link.users -= 1
            if link.closed and self._kept.get(key) is link:
                del self._kept[key]
            elif not link.closed and not link.users:
                idle_s = link.lease_ms / 1000 + SETTLE_S if receive else IDLE_S
                self._deadlines.set(link, idle_s)

    def _make(
        self, caller: Caller, *, receive: bool, lease_ms: int, memo: Memo | None = None
    ) -> Link:
        if self._timer is None:
            self._timer = self._loop.call_later(ALIVE_S, self._look)
        return Link(
            self._driver,
            caller.namespace,
            caller.agent,
            caller.identity,
            caller.peer,
            receive=receive,
            lease_ms=lease_ms,
            memo=memo,
        )

    def _count(self, caller: Caller) -> None:
        self._forget()
        whose = caller.namespace, caller.agent
        own = sum(
            key.token_id == caller.token_id and (key.namespace, key.agent) == whose
            for key in self._kept
        ) + sum(each == whose for each in self._streams.values())
        if own >= MOST_OF_ONE or len(self) >= MOST:
            which = "yours" if own >= MOST_OF_ONE else "in all"
            raise Failure(
                HTTPStatus.TOO_MANY_REQUESTS,
                ErrorCode.RATE_LIMITED,
                f"too many sessions and streams at once ({which}); end some, then try again",
            )

    def _forget(self) -> None:
        """Let go of those that have ended."""
        for key, link in list(self._kept.items()):
            if link.closed:
                del self._kept[key]

    def _look(self) -> None:
        """The hub hears that they are alive."""
        self._forget()
        for link in (*self._kept.values(), *self._streams):
            link.alive()
        self._timer = self._loop.call_later(ALIVE_S, self._look) if len(self) else None

    def close(self) -> None:
        """End all of them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.close()
        for link in (*self._kept.values(), *self._streams):
            link.end()
        self._kept.clear()
