"""Where the Redis is that has a namespace: one server, what Sentinels say, or a cluster's shard.

A place finds the master anew at each attempt to connect, so that a failover is followed by
connecting again. Nothing here retries: whoever asks decides when, and for how long; who did not
answer is asked last the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import RedisError

from trishula_broker.store.base import StoreUnavailable

REDIS_PORT: Final = 6379

Options = dict[str, Any]
Kind = Callable[..., AbstractConnection]


class Place(Protocol):
    """Makes connections, not connected yet, to the master that has a key."""

    sharded: bool
    """Whether namespaces may be on different servers."""

    async def connection(self, key: str) -> AbstractConnection:
        """A connection to the master that has ``key``.

        Raises:
            RedisError, OSError, StoreUnavailable: nobody says where it is.
        """
        ...


class Single:
    """One server."""

    sharded = False

    def __init__(self, kind: Kind, options: Options) -> None:
        self._kind = kind
        self._options = options

    def __repr__(self) -> str:
        return f"<Single {self}>"

    def __str__(self) -> str:
        if "path" in self._options:
            return str(self._options["path"])
        return f"{self._options.get('host', 'localhost')}:{self._options.get('port', REDIS_PORT)}"

    async def connection(self, key: str) -> AbstractConnection:
        return self._kind(**self._options)


class Sentinels:
    """The master that Sentinels name."""

    sharded = False

    def __init__(
        self,
        name: str,
        hosts: Sequence[tuple[str, int]],
        kind: Kind,
        options: Options,
        sentinel: Options,
    ) -> None:
        self._name = name
        self._hosts = list(hosts)
        self._kind = kind
        self._options = options
        self._sentinel = sentinel

    def __repr__(self) -> str:
        return f"<Sentinels {self}>"

    def __str__(self) -> str:
        return f"{self._name} of {_listed(self._hosts)}"

    async def connection(self, key: str) -> AbstractConnection:
        said: list[str] = []
        for place in list(self._hosts):
            host, port = place
            link = self._kind(**self._sentinel, host=host, port=port)
            # Whoever asks may lose patience with the first already.
            _to_the_end(self._hosts, place)
            try:
                found = await _ask(link, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            except (RedisError, OSError) as error:
                said.append(f"{host}:{port}: {_why(error)}")
                continue
            if found is None:
                said.append(f"{host}:{port} does not know it")
                continue
            self._hosts.remove(place)
            self._hosts.insert(0, place)  # whoever answered is asked first
            return self._kind(**self._options, host=found[0].decode(), port=int(found[1]))
        raise StoreUnavailable(f"no Sentinel names the master of {self._name}: {'; '.join(said)}")


class Cluster:
    """The master of a key's slot."""

    sharded = True

    def __init__(self, hosts: Sequence[tuple[str, int]], kind: Kind, options: Options) -> None:
        self._hosts = list(hosts)
        self._known: list[tuple[str, int]] = []
        self._kind = kind
        self._options = options

    def __repr__(self) -> str:
        return f"<Cluster {self}>"

    def __str__(self) -> str:
        return f"the cluster of {_listed(self._hosts)}"

    async def connection(self, key: str) -> AbstractConnection:
        slot = key_slot(key.encode())
        said: list[str] = []
        for place in dict.fromkeys((*self._known, *self._hosts)):
            host, port = place
            link = self._kind(**self._options, host=host, port=port)
            for places in (self._known, self._hosts):
                _to_the_end(places, place)
            try:
                shards = await _ask(link, "CLUSTER", "SLOTS")
            except (RedisError, OSError) as error:
                said.append(f"{host}:{port}: {_why(error)}")
                continue
            masters = {
                (first, last): (master[0].decode() or host, int(master[1]))
                for first, last, master, *_ in shards
            }
            for (first, last), (name, number) in masters.items():
                if first <= slot <= last:
                    # Whoever answered is asked first.
                    self._known = list(dict.fromkeys((place, *masters.values())))
                    return self._kind(**self._options, host=name, port=number)
            said.append(f"{host}:{port}: nobody has slot {slot}")
        raise StoreUnavailable(
            f"no node of the Redis cluster can say who has it: {'; '.join(said)}"
        )


async def _ask(link: AbstractConnection, *command: str) -> Any:
    try:
        # One that stands still is connected to by its system, and says nothing.
        async with asyncio.timeout(link.socket_connect_timeout):
            await link.connect()  # type: ignore[no-untyped-call]
            await link.send_command(*command)
            return await link.read_response()
    finally:
        await link.disconnect(nowait=True)


def _to_the_end(places: list[tuple[str, int]], place: tuple[str, int]) -> None:
    if place in places:
        places.remove(place)
        places.append(place)


def _why(error: Exception) -> str:
    return str(error) or "it does not answer in time"


def _listed(hosts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{host}:{port}" for host, port in hosts)
