"""Redis: its version, what it keeps over a crash, its clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from trishula_broker.config import Config
from trishula_broker.credentials import BadSecret
from trishula_broker.doctor.clock import offset
from trishula_broker.doctor.finding import Finding, Level
from trishula_broker.store.base import StoreError
from trishula_broker.store.redis.failures import unavailable
from trishula_broker.store.redis.health import warnings_of
from trishula_broker.store.redis.link import OLDEST_VERSION, exchange, where_of
from trishula_broker.store.redis.store import HOME
from trishula_broker.store.redis.urls import place_of
from trishula_broker.stores import redis_password

WAITAOF: Final = (7, 2)
FULL_SHARE: Final = 0.8


async def examine(config: Config) -> list[Finding]:
    """What there is to say of it; nothing for a hub with a store of its own."""
    if not config.redis.url:
        return []
    given = config.redis
    tls = {
        "ssl_ca_certs": given.ca_file,
        "ssl_certfile": given.cert_file,
        "ssl_keyfile": given.key_file,
    }
    tls = {name: path for name, path in tls.items() if path}
    todo = "see that it runs, and that this host reaches it; docs/nodes.md"
    try:
        password = redis_password(given)
        place = place_of(given.url, given.username or None, password, dict(tls), given.timeout_s)
    except BadSecret as error:
        return [Finding("redis", "bad", str(error), "correct it, or redis.password_file")]
    except StoreError as error:
        return [Finding("redis", "bad", str(error), "correct redis.url")]
    try:
        async with asyncio.timeout(given.timeout_s * 2):
            connection = await place.connection(HOME)
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
                where = where_of(connection)
                begun = time.time()
                (clock,) = await exchange(connection, [("TIME",)])
                took = time.time() - begun
                (info,) = await exchange(connection, [("INFO",)])
                fsync = await _fsync(connection)
            finally:
                await connection.disconnect(nowait=True)
    except (RedisError, OSError, StoreError) as error:
        if isinstance(error, AuthenticationError):
            said, _, todo = str(unavailable(error, "redis.url")).partition(": ")
            return [Finding("redis", "bad", said, todo)]
        why = str(error) or type(error).__name__
        return [Finding("redis", "bad", f"Redis does not answer: {why}", todo)]
    text = info.decode(errors="replace")
    told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    at = int(clock[0]) + int(clock[1]) / 1e6
    return [
        *judge(told, fsync, where, given.require_replicas),
        offset(f"Redis at {where}", at - (begun + took / 2), took / 2, config.auth.leeway_s),
    ]


async def _fsync(connection: Any) -> str:
    try:
        (found,) = await exchange(connection, [("CONFIG", "GET", "appendfsync")])
    except ResponseError:  # managed ones do not tell
        return "unknown"
    return found[1].decode() if found else "unknown"


def judge(told: Mapping[str, str], fsync: str, where: str, replicas: int) -> list[Finding]:
    """What INFO amounts to.

    Args:
        told: its fields.
        fsync: ``appendfsync``, or ``unknown``.
        where: whose, for people.
        replicas: how many have to confirm a commit.
    """
    valkey = told.get("server_name") == "valkey"
    text = told.get("valkey_version" if valkey else "redis_version", "0")
    version = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    name = f"{'Valkey' if valkey else 'Redis'} {text} at {where}"
    found: list[Finding] = []

    def add(level: Level, what: str, todo: str) -> None:
        found.append(Finding("redis", level, what, todo))

    if version < OLDEST_VERSION:
        add("bad", f"{name} is too old", "install Redis 7.0 or later, or Valkey")
    if told.get("role", "master") != "master":
        add("bad", f"{name} is a replica", "name the master in redis.url, or Sentinels")
    if told.get("loading") == "1":
        add("warning", f"{name} is loading its data", "wait until it has")
    aof, policy = told.get("aof_enabled") == "1", told.get("maxmemory_policy", "unknown")
    for warning in warnings_of(where, aof, fsync, policy):
        what, _, todo = warning.rpartition(". ")
        # Every second is a choice that loses a second; the others lose whatever was accepted.
        add("warning" if aof and "appendfsync" in warning else "bad", what, todo)
    if aof and told.get("aof_last_write_status", "ok") != "ok":
        add("bad", f"{name} could not write its append-only file", "make room on its disk")
    used, most = int(told.get("used_memory", 0)), int(told.get("maxmemory", 0))
    if most and used > most * FULL_SHARE:
        share = round(100 * used / most)
        add("warning", f"{name} uses {share} % of maxmemory", "raise it, or lower retention")
    there = int(told.get("connected_slaves", 0))
    if there < replicas:
        what = f"{name} has {there} replicas, and redis.require_replicas is {replicas}"
        add("bad", f"{what}: nothing is accepted", "start the replicas, or lower it")
    if replicas and version < WAITAOF:
        what = f"{name} cannot wait for the disks of replicas, only for their memory"
        add("warning", what, "install Redis 7.2 or later")
    if not found:
        kept = fsync if fsync != "unknown" else "an interval that it does not tell"
        add("ok", f"{name}: append-only file synced {kept}, nothing is evicted", "")
    return found
