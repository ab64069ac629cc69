"""Two hubs on one Redis, a primary and a failover, each a process to be killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer


@asynccontextmanager
async def two_hubs(directory: Path, *options: str) -> AsyncIterator[tuple[HubProcess, HubProcess]]:
    """The primary and the failover, both with more ``options``; their Redis ends with them."""
    redis = RedisServer(directory / "redis")
    redis.start()
    failover = ("--redis", redis.url, "--role", "failover", *options)
    try:
        async with (
            HubProcess(directory / "one", "--redis", redis.url, *options, node="one") as one,
            HubProcess(directory / "two", *failover, node="two") as two,
        ):
            yield one, two
    finally:
        redis.kill()
