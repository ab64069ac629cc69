"""This project: a hub on SQLite with ``FULL``, and one on a Redis with ``always``."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from loadtests.peers.peer import Client, Server, Take, Value
from loadtests.peers.redis_streams import StreamsServer
from tests.support.ports import free_port


class SqliteHub(Server):
    """``broker serve`` as it comes: every commit is synced before it is acknowledged."""

    def start(self) -> None:
        self._serve()

    def _serve(self, *options: str) -> None:
        port = free_port()
        self.address = f"ws://127.0.0.1:{port}/ws"
        self.version = importlib.metadata.version("trishula")
        serve = (sys.executable, "-m", "trishula_broker", "serve", "--port", str(port))
        self.run(*serve, "--data", str(self.folder / "data"), *options, port=port)


class _SyncingRedis(StreamsServer):
    FSYNC = "always"


class RedisHub(SqliteHub):
    """The same on a Redis that syncs every write."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._redis = _SyncingRedis(folder / "redis")

    def start(self) -> None:
        self._redis.start()
        try:
            self._serve("--redis", self._redis.address, "--node", "peers")
        except BaseException:
            self._redis.stop()
            raise
        self.version += f", Redis {self._redis.version}"

    def stop(self) -> None:
        super().stop()
        self._redis.stop()


class HubClient(Client):
    """``trishula.Agent``: an agent a member; a group where a topic has several."""

    DISTRIBUTIONS = ("trishula", "websockets")

    async def _connect(self, name: str, **options: Any) -> None:
        from trishula import Agent

        self._agent = Agent(name, self.address, **options)
        await self._agent.__aenter__()

    async def join(self, topic: str, member: str) -> None:
        groups = [topic] if member else []
        await self._connect(f"{topic}-{member or 'alone'}", groups=groups, prefetch=2000)

    async def consume(self, take: Take) -> None:
        async for message in self._agent.messages():
            take(message.payload)
            await message.done()

    async def finish(self) -> None:
        # Waits until the hub has confirmed every settlement.
        await self._agent.close()

    async def open(self, topic: str, fan_out: bool) -> None:
        self._to = f"#{topic}" if fan_out else f"{topic}-alone"
        await self._connect(f"{topic}-sender")

    async def publish(self, value: Value) -> None:
        await self._agent.send(self._to, value)

    # Commands: the answer settles the question with its storing.

    async def serve(self, questions: str, answers: str) -> Coroutine[Any, Any, None]:
        await self.join(questions, "")
        self._agent.on_command(lambda message: message.payload)
        return self._agent.run(signals=False)

    async def begin_calling(self, questions: str, answers: str) -> None:
        await self.open(questions, fan_out=False)

    async def call(self, value: Value) -> Value:
        found: Value = await self._agent.command(self._to, value)
        return found
