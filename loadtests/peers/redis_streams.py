"""Redis Streams with consumer groups; the append-only file is synced every second."""

from __future__ import annotations

import asyncio
from typing import Any

from loadtests.peers.peer import (
    Client,
    Server,
    Take,
    Value,
    decode,
    encode,
    program,
    said,
)
from tests.support.redis_server import RedisServer

BATCH = 500
CONNECTIONS = 64


class StreamsServer(Server):
    """``redis-server`` with ``appendfsync everysec``, as Redis ships it."""

    FSYNC = "everysec"

    def start(self) -> None:
        binary = program("redis-server")
        self.version = said(binary, "--version").partition("v=")[2].partition(" ")[0]
        self._redis = RedisServer(self.folder, appendfsync=self.FSYNC)
        self._redis.start()
        self.address = self._redis.url

    def stop(self) -> None:
        self._redis.kill()


class StreamsClient(Client):
    """A stream a topic, a group a member, XREADGROUP of up to 500, one XACK a batch."""

    DISTRIBUTIONS = ("redis", "hiredis")

    def _connect(self, topic: str) -> None:
        import redis.asyncio

        self._topic = topic
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            self.address, max_connections=CONNECTIONS, timeout=None, socket_timeout=None
        )
        self._redis = redis.asyncio.Redis(connection_pool=pool)

    async def join(self, topic: str, member: str) -> None:
        self._connect(topic)
        self._member = member or "alone"
        self._batch = asyncio.Lock()
        await self._redis.xgroup_create(topic, self._member, id="$", mkstream=True)

    async def consume(self, take: Take) -> None:
        while True:
            found: Any = await self._redis.xreadgroup(
                self._member, "reader", {self._topic: ">"}, count=BATCH, block=1000
            )
            if not found:
                continue
            # RESP3 answers with a map of lists of lists, RESP2 with a list of pairs.
            entries = found[self._topic.encode()][0] if isinstance(found, dict) else found[0][1]
            async with self._batch:
                for _, fields in entries:
                    take(decode(fields[b"m"]))
                await self._redis.xack(self._topic, self._member, *(id for id, _ in entries))

    async def finish(self) -> None:
        async with self._batch:
            return

    async def open(self, topic: str, fan_out: bool) -> None:
        self._connect(topic)

    async def publish(self, value: Value) -> None:
        await self._redis.xadd(self._topic, {"m": encode(value)})
