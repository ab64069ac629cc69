"""Where the Redis is that has a namespace: one server, what Sentinels say, or a cluster's shard.

A place finds the master anew at each attempt to connect, so that a failover is followed by
connecting again. Nothing here retries: whoever asks decides when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.crc import key_slot
from redis.exceptions import RedisError

from trishula_broker.store.base import StoreError, StoreUnavailable

SENTINEL_PORT: Final = 26379
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
        return _shown(self._options)

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
            try:
                found = await _ask(link, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            except (RedisError, OSError) as error:
                said.append(f"{host}:{port}: {error}")
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
        for host, port in dict.fromkeys((*self._known, *self._hosts)):
            link = self._kind(**self._options, host=host, port=port)
            try:
                shards = await _ask(link, "CLUSTER", "SLOTS")
            except (RedisError, OSError) as error:
                said.append(f"{host}:{port}: {error}")
                continue
            masters = {
                (first, last): (master[0].decode() or host, int(master[1]))
                for first, last, master, *_ in shards
            }
            for (first, last), (name, number) in masters.items():
                if first <= slot <= last:
                    self._known = list(dict.fromkeys(masters.values()))
                    return self._kind(**self._options, host=name, port=number)
            said.append(f"{host}:{port}: nobody has slot {slot}")
        raise StoreUnavailable(
            f"no node of the Redis cluster can say who has it: {'; '.join(said)}"
        )


async def _ask(link: AbstractConnection, *command: str) -> Any:
    try:
        await link.connect()  # type: ignore[no-untyped-call]
        await link.send_command(*command)
        return await link.read_response()
    finally:
        await link.disconnect(nowait=True)


def parse_place(
    url: str, username: str | None, password: str | None, tls: Options, timeout: float
) -> Place:
    """The place that ``url`` names; what else is given goes before what it says.

    Args:
        tls: redis-py's ``ssl_…`` options, such as ``ssl_ca_certs``.
        timeout: seconds to connect.

    Raises:
        StoreError: the URL cannot be understood.
    """
    parts = urlsplit(url)
    scheme, _, plus = parts.scheme.partition("+")
    if scheme not in ("redis", "rediss", "unix") or plus not in ("", "sentinel", "cluster"):
        raise StoreError(
            f"the Redis URL begins with {parts.scheme!r}: it must be redis://host:port/db, "
            "rediss://…, unix://…, redis+sentinel://host,host/name/db or redis+cluster://host,host"
        )
    # redis-py reads a URL of one host; the hosts, and the name, are read here.
    query = dict(parse_qsl(parts.query))
    sentinel_auth = {
        name.removeprefix("sentinel_"): query.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in query
    }
    path, name = parts.path, ""
    if plus == "sentinel":
        name, _, path = path.strip("/").partition("/")
        if not name:
            raise StoreError("the Redis URL names no master: redis+sentinel://host,host/name/0")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    try:
        found = parse_url(
            f"{scheme}://{userinfo + '@' if userinfo else ''}"
            f"{hosts if not plus else 'several'}/{path.strip('/') if scheme != 'unix' else ''}"
            f"?{urlencode(query)}"
            if scheme != "unix"
            else url
        )
        listed = (
            [
                _host(one, SENTINEL_PORT if plus == "sentinel" else REDIS_PORT)
                for one in hosts.split(",")
                if one
            ]
            if plus
            else []
        )
    except ValueError as error:
        raise StoreError(f"the Redis URL cannot be understood: {error}") from error
    options: Options = dict(found)
    kind: Kind = options.pop("connection_class", Connection)
    if tls and kind is not SSLConnection:
        raise StoreError("TLS is configured for Redis, but its URL does not begin with rediss")
    common: Options = {
        "protocol": 2,
        "socket_timeout": None,
        "socket_connect_timeout": timeout,
        "driver_info": None,
    }
    options = {**options, **tls, **common}
    if username is not None:
        options["username"] = username
    if password is not None:
        options["password"] = password
    if not plus:
        return Single(kind, options)
    options.pop("host", None)
    options.pop("port", None)
    if not listed:
        raise StoreError(f"the Redis URL names no host: redis+{plus}://host,host")
    if plus == "cluster":
        if options.pop("db", 0):
            raise StoreError("a Redis cluster has database 0 only: leave it out of the URL")
        return Cluster(listed, kind, options)
    ssl_options = {key: value for key, value in options.items() if key.startswith("ssl_")}
    sentinel = {**ssl_options, **sentinel_auth, **common}
    return Sentinels(name, listed, kind, options, sentinel)


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is no host")
    return unquote(parts.hostname), parts.port or port


def _listed(hosts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{host}:{port}" for host, port in hosts)


def _shown(options: Options) -> str:
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', REDIS_PORT)}"
