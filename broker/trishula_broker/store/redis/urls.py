"""What a Redis URL says: which place, and how to connect there."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import Connection, parse_url

from trishula_broker.store.base import StoreError
from trishula_broker.store.redis.places import (
    REDIS_PORT,
    Cluster,
    Kind,
    Options,
    Place,
    Sentinels,
    Single,
)

SENTINEL_PORT: Final = 26379
FORMS: Final = (
    "redis://host:port/db, rediss://host:port/db (TLS), unix:///path, "
    "redis+sentinel://host,host/name/db or redis+cluster://host,host"
)

QUOTE: Final = "in a password write / ? # @ as %2F %3F %23 %40"


def place_of(
    url: str, username: str | None, password: str | None, tls: Options, timeout: float
) -> Place:
    """The place that ``url`` names; what else is given goes before what it says.

    Args:
        tls: redis-py's ``ssl_…`` options, such as ``ssl_ca_certs``.
        timeout: seconds to connect.

    Raises:
        StoreError: the URL cannot be understood. Its text shows no password.
    """
    parts = urlsplit(url)
    scheme, _, several = parts.scheme.partition("+")
    if scheme not in ("redis", "rediss", "unix") or several not in ("", "sentinel", "cluster"):
        begins = f"begins with {parts.scheme!r}" if parts.scheme else "has no scheme"
        raise StoreError(f"the Redis URL {begins}: it must be {FORMS}")
    if tls and scheme != "rediss":
        raise StoreError("TLS is configured for Redis, but its URL does not begin with rediss")
    common: Options = {
        **tls,
        "protocol": 2,
        "socket_timeout": None,  # whoever asks sets a limit to the whole
        "socket_connect_timeout": timeout,
        "driver_info": None,
    }
    who = {"username": username, "password": password}
    own = {**common, **{name: value for name, value in who.items() if value is not None}}
    try:
        if several == "sentinel":
            return _sentinels(parts, scheme, own, common)
        if several == "cluster":
            return _cluster(parts, scheme, own)
        if scheme != "unix":
            _port(parts, REDIS_PORT)
            _check_database(parts.path)
        return Single(*_read(url, own))
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"the Redis URL cannot be understood: {error}. It must be {FORMS}"
        ) from error


def _sentinels(parts: SplitResult, scheme: str, own: Options, common: Options) -> Place:
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise ValueError("it names no master")
    _check_database(database)
    query = dict(parse_qsl(parts.query))
    # Sentinels have passwords of their own.
    theirs = {
        key.removeprefix("sentinel_"): query.pop(key)
        for key in ("sentinel_username", "sentinel_password")
        if key in query
    }
    kind, options = _read_several(parts, scheme, database, query, own)
    tls = {key: value for key, value in options.items() if key.startswith("ssl_")}
    hosts = _hosts(parts, SENTINEL_PORT)
    return Sentinels(name, hosts, kind, options, {**tls, **common, **theirs})


def _cluster(parts: SplitResult, scheme: str, own: Options) -> Place:
    if parts.path.strip("/0"):
        raise ValueError("a cluster has database 0 only, so leave it out")
    query = dict(parse_qsl(parts.query))
    kind, options = _read_several(parts, scheme, "", query, own)
    return Cluster(_hosts(parts, REDIS_PORT), kind, options)


def _read_several(
    parts: SplitResult, scheme: str, database: str, query: dict[str, str], own: Options
) -> tuple[Kind, Options]:
    """As :func:`_read`, of what hosts have in common."""
    user, at, _ = parts.netloc.rpartition("@")
    kind, options = _read(f"{scheme}://{user}{at}host/{database}?{urlencode(query)}", own)
    del options["host"]
    return kind, options


def _read(url: str, own: Options) -> tuple[Kind, Options]:
    """How to connect, of a URL of one host."""
    options: Options = dict(parse_url(url))
    kind: Kind = options.pop("connection_class", Connection)
    options |= own
    kind(**options)  # or it would find out later that it does not know an option
    return kind, options


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    hosts: list[tuple[str, int]] = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{text}")
        if not one.hostname:
            raise ValueError(f"{text!r} is no host")
        hosts.append((unquote(one.hostname), _port(one, port)))
    return hosts


def _port(parts: SplitResult, default: int) -> int:
    try:
        return parts.port or default
    except ValueError:  # its text may be a piece of a password
        raise ValueError(f"a port is no number; {QUOTE}") from None


def _check_database(path: str) -> None:
    database = path.strip("/")
    if database and not database.isdecimal():  # it may be a piece of a password, too
        raise ValueError(f"what follows the host is no number; {QUOTE}")
