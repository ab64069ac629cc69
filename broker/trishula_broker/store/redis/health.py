"""What ``/health`` says of a Redis, and what its operator should know."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from trishula_broker.store import base
from trishula_broker.store.redis.link import Link


async def health_of(link: Link) -> dict[str, Any]:
    """Particulars of the server behind ``link``; ``warnings`` are worth a line in the log each.

    Raises:
        StoreError: it cannot be asked.
    """
    server = await link.ready()
    (text,) = await link.call(("INFO", "persistence", "memory", "replication"))
    told = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
    fsync = await _fsync(link)
    aof = told.get("aof_enabled") == "1"
    policy = told.get("maxmemory_policy", "unknown")
    return {
        "kind": "redis",
        "durability": fsync if aof else "none",
        "server": f"{server.name} {'.'.join(map(str, server.version))}",
        "where": server.where,
        "role": told.get("role", "unknown"),
        "replicas": int(told.get("connected_slaves", 0)),
        "bytes": int(told.get("used_memory", 0)),
        "max_bytes": int(told.get("maxmemory", 0)),
        "memory_policy": policy,
        "warnings": warnings_of(server.where, aof, fsync, policy),
    }


async def _fsync(link: Link) -> str:
    try:
        (found,) = await link.call(("CONFIG", "GET", "appendfsync"))
    except base.StoreUnavailable as error:
        if isinstance(error.__cause__, ResponseError):
            return "unknown"  # managed ones do not tell
        raise
    return found[1].decode() if found else "unknown"


def warnings_of(where: str, aof: bool, fsync: str, policy: str) -> list[str]:
    """What its operator should know; each says what to do in its last sentence.

    Args:
        where: whose settings they are, for people.
        aof: whether it keeps an append-only file,
        fsync: and how that is synced.
        policy: what it does when its memory is full.
    """
    warnings: list[str] = []
    if not aof:
        warnings.append(
            f"Redis at {where} keeps no append-only file: what it accepted is lost when it "
            "stops. Set appendonly yes and appendfsync always"
        )
    elif fsync in ("everysec", "no"):
        warnings.append(
            f"Redis at {where} has appendfsync {fsync}: a crash of it loses messages that were "
            "accepted just before. Set appendfsync always"
        )
    if policy not in ("noeviction", "unknown"):
        warnings.append(
            f"Redis at {where} may throw messages away when its memory is full (maxmemory-policy "
            f"{policy}). Set maxmemory-policy noeviction"
        )
    return warnings
