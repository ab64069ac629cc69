"""The store of several hosts, in Redis or Valkey: any number of nodes share it.

Redis holds the truth and decides, in scripts (``lua/``); this passes operations in and outcomes
out. A failure is never retried here: what became of the operations is unknown, and whoever sent
them says them again under the same ids. Knows nothing of frames or the hub.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn

from trishula_broker.store import base
from trishula_broker.store.redis import trimming
from trishula_broker.store.redis.archivers import archivers_in
from trishula_broker.store.redis.health import health_of
from trishula_broker.store.redis.link import Link
from trishula_broker.store.redis.space import Begun, Epochs, Settings, Space, prefix
from trishula_broker.store.redis.urls import place_of
from trishula_broker.store.trail import dropped_warning

TIMEOUT: Final = 2.0
"""Seconds an answer of Redis may take before it is unavailable."""
CONNECT_TIMEOUT: Final = 1.5
"""Seconds a connection may take, and a Sentinel that is asked for the way. More than one: TCP sends
a first packet that was lost again after a second, and a busy host may be late by half of that.
Less than an answer may take, of which connecting is a part: whoever comes back is found soon."""
HOME: Final = prefix("trishula")
"""What belongs to no namespace: ``namespaces``, a set of their names."""


class RedisStore:
    """A :class:`~trishula_broker.store.base.Store` in the Redis at ``url``.

    Args:
        url: ``redis://host:port/db``, ``rediss://…``, ``unix://…``,
            ``redis+sentinel://host,host/name/db`` or ``redis+cluster://host,host``.
        mailbox_limits: what an unsettled mailbox may hold.
        node: this hub's name; hints to it are heard. Empty: it hears none.
        username, password: instead of what the URL says.
        tls: options of redis-py, such as ``ssl_ca_certs``.
        require_replicas: how many replicas confirm each commit.
        timeout: seconds an answer may take.
        own_clock: whether Redis tells the time, or whoever commits, as tests do.

    Raises:
        StoreError: the URL cannot be understood.
    """

    def __init__(
        self,
        url: str,
        mailbox_limits: base.MailboxLimits | None = None,
        *,
        node: str = "",
        username: str | None = None,
        password: str | None = None,
        tls: dict[str, Any] | None = None,
        require_replicas: int = 0,
        timeout: float = TIMEOUT,
        own_clock: bool = True,
    ) -> None:
        self._place = place_of(url, username, password, tls or {}, CONNECT_TIMEOUT)
        self._settings = Settings(
            place=self._place,
            limits=mailbox_limits or base.MailboxLimits(),
            node=node,
            require_replicas=require_replicas,
            timeout=timeout,
            own_clock=own_clock,
        )
        self._tell: Callable[[str, Sequence[base.Hint]], None] = lambda namespace, hints: None
        self._home: Link | None = None
        self._spaces: dict[str, Space] = {}
        self._links: dict[str, tuple[Link, Link]] = {}
        self._epochs = Epochs()
        self._after: dict[str, int] = {}
        self._problem: str | None = None

    def __repr__(self) -> str:
        state = "closed" if self._home is None else self._problem or "open"
        return f"<RedisStore {self._place!r}: {state}>"

    # --- opening and closing ------------------------------------------------------------------

    def on_hints(self, tell: Callable[[str, Sequence[base.Hint]], None]) -> None:
        self._tell = tell

    async def open(self) -> None:
        if self._home is not None:
            return
        self._home = Link(self._place, HOME, self._settings.timeout)
        try:
            for namespace in await self._namespaces():
                await self._space(namespace).arrive()
        except BaseException:
            await self.close()
            raise
        self._problem = None

    async def close(self) -> None:
        home, self._home = self._home, None
        spaces, self._spaces = self._spaces, {}
        links, self._links = self._links, {}
        for space in spaces.values():
            await space.close()
        for pair in links.values():
            for link in pair:
                await link.close()
        if home is not None:
            await home.close()

    async def _namespaces(self) -> list[str]:
        (names,) = await self._use().call(("SMEMBERS", f"{HOME}namespaces"))
        return sorted(name.decode() for name in names)

    def _space(self, namespace: str) -> Space:
        space = self._spaces.get(namespace)
        if space is None:
            # On a cluster each namespace has its own place.
            key = prefix(namespace) if self._place.sharded else HOME
            links = self._links.get(key)
            if links is None:
                timeout = self._settings.timeout
                links = Link(self._place, key, timeout), Link(self._place, key, timeout)
                self._links[key] = links
            space = Space(namespace, *links, self._settings, self._epochs, self._tell)
            self._spaces[namespace] = space
        return space

    # --- commits --------------------------------------------------------------------------------

    def commit(
        self, now: int, batches: Sequence[base.Batch]
    ) -> Awaitable[list[list[base.Outcome]]]:
        # What can be sent is sent before anybody waits: Redis works while the caller does.
        begun: list[Begun] = []
        if self._home is not None:
            begun = [self._space(each.namespace).begin(now, each.ops) for each in batches]
        return self._commit(now, batches, begun)

    async def _commit(
        self, now: int, batches: Sequence[base.Batch], begun: Sequence[Begun]
    ) -> list[list[base.Outcome]]:
        home = self._use()
        outcomes: list[list[base.Outcome]] = []
        try:
            if not batches:  # somebody wants to know whether it is well again
                await home.call(("PING",))
            for batch, part in zip(batches, begun, strict=True):
                space = self._space(batch.namespace)
                if not space.listed:  # before anything is in it, so that it is never forgotten
                    await home.call(("SADD", f"{HOME}namespaces", batch.namespace))
                    space.listed = True
                outcomes.append(await space.commit(now, batch.ops, part))
        except base.StoreError as error:
            self._problem = str(error)
            await self._follow()
            _fail(error)
        self._problem = None
        return outcomes

    async def _follow(self) -> None:
        """Where a connection was lost the master may have moved: connect all anew."""
        for space in list(self._spaces.values()):
            if not space.link.is_open:
                await space.drop()
                if self._home is not None:
                    await self._home.drop()

    # --- questions and upkeep -------------------------------------------------------------------

    async def query(self, namespace: str, query: base.Query) -> Any:
        self._use()
        try:
            return await self._space(namespace).query(query)
        except base.StoreError as error:
            _fail(error)

    async def trim(self, now: int, retention: base.Retention) -> int:
        self._use()
        try:
            spaces = [self._space(name) for name in await self._namespaces()]
            return await trimming.trim(spaces, now, retention, self._after)
        except base.StoreError as error:
            _fail(error)

    async def health(self) -> dict[str, Any]:
        if self._home is None:
            return {"kind": "redis", "problem": "the store is closed"}
        found: dict[str, Any]
        try:
            found = await health_of(self._home)
            sizes = [await self._space(name).log_bytes() for name in await self._namespaces()]
            found["log_bytes"] = sum(sizes)
            found["problem"] = self._problem
            found["warnings"] += await self._dropped()
        except base.StoreError as error:
            found = {"kind": "redis", "problem": str(error)}
        return found

    async def archivers(self) -> dict[str, tuple[base.ArchiveRecord, ...]]:
        """By namespace, the archivers it knows; asked without opening it, as no node of it.

        Raises:
            StoreError: it cannot be asked.
        """
        return await archivers_in(self._place, self._settings, HOME)

    async def _dropped(self) -> list[str]:
        """What is to be said of archivers that were dropped."""
        return [
            dropped_warning(name, archiver.node)
            for name in await self._namespaces()
            for archiver in await self._space(name).query(base.Archives(since=1 << 48))
            if archiver.dropped
        ]

    def _use(self) -> Link:
        if self._home is None:
            raise base.StoreUnavailable("the store is closed")
        return self._home


def _fail(error: base.StoreError) -> NoReturn:
    """Raise ``error``, with the cause it has. A server that cannot be used, found after the store
    was opened, may be replaced."""
    if isinstance(error, base.StoreUnavailable):
        raise error
    raise base.StoreUnavailable(str(error)) from error
