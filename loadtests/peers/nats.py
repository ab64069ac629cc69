"""NATS: core, which stores nothing, and JetStream on files."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
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
from tests.support.ports import free_port

PENDING_MESSAGES = 10**7
PENDING_BYTES = 10**10
ACKS_PENDING = 20_000


class NatsServer(Server):
    """``nats-server`` with JetStream as it comes: it syncs its files every two minutes."""

    def start(self) -> None:
        binary, port = program("nats-server"), free_port()
        self.address = f"nats://127.0.0.1:{port}"
        self.version = said(binary, "--version").removeprefix("nats-server: ")
        store = str(self.folder / "jetstream")
        self.run(binary, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", store, port=port)


class CoreClient(Client):
    """Subscriptions with a callback; nothing is stored, confirmed or settled."""

    DISTRIBUTIONS = ("nats-py",)
    CONFIRMS = False

    async def join(self, topic: str, member: str) -> None:
        await self._connect()
        self._topic = topic
        self._came: Take | None = None

        async def on(message: Any) -> None:
            assert self._came is not None
            self._came(decode(message.data))

        await self._nc.subscribe(
            topic,
            cb=on,
            pending_msgs_limit=PENDING_MESSAGES,
            pending_bytes_limit=PENDING_BYTES,
        )
        await self._nc.flush()

    async def consume(self, take: Take) -> None:
        self._came = take
        await asyncio.Event().wait()

    async def open(self, topic: str, fan_out: bool) -> None:
        await self._connect()
        self._topic = topic

    async def _connect(self) -> None:
        import nats

        self._nc = await nats.connect(self.address, pending_size=64 << 20)

    async def publish(self, value: Value) -> None:
        await self._nc.publish(self._topic, encode(value))

    async def flush(self) -> None:
        await self._nc.flush()

    # Its own request and reply, stored nowhere.

    async def serve(self, questions: str, answers: str) -> Coroutine[Any, Any, None]:
        await self._connect()

        async def on(message: Any) -> None:
            await message.respond(message.data)

        await self._nc.subscribe(questions, cb=on)
        await self._nc.flush()

        async def serving() -> None:
            await asyncio.Event().wait()

        return serving()

    async def begin_calling(self, questions: str, answers: str) -> None:
        await self.open(questions, fan_out=False)

    async def call(self, value: Value) -> Value:
        answer = await self._nc.request(self._topic, encode(value), timeout=5)
        found: Value = decode(answer.data)
        return found


class JetStreamPushClient(Client):
    """A push consumer with a callback and explicit acknowledgement."""

    DISTRIBUTIONS = ("nats-py",)

    async def join(self, topic: str, member: str) -> None:
        await self._connect()
        import nats

        await self._js.add_stream(name=topic, subjects=[topic])
        self._came: Take | None = None

        async def on(message: Any) -> None:
            assert self._came is not None
            self._came(decode(message.data))
            await message.ack()

        config = nats.js.api.ConsumerConfig(max_ack_pending=ACKS_PENDING)
        await self._js.subscribe(
            topic, durable=member or "alone", cb=on, manual_ack=True, config=config
        )
        await self._nc.flush()

    async def consume(self, take: Take) -> None:
        self._came = take
        await asyncio.Event().wait()

    async def finish(self) -> None:
        await self._nc.flush()

    async def open(self, topic: str, fan_out: bool) -> None:
        await self._connect()
        self._topic = topic

    async def _connect(self) -> None:
        import nats

        self._nc = await nats.connect(self.address, pending_size=64 << 20)
        self._js = self._nc.jetstream()

    async def publish(self, value: Value) -> None:
        # The faster of its two ways: `publish` waits for a reply of its own each time.
        confirmed = await self._js.publish_async(self._topic, encode(value))
        await confirmed


class JetStreamPullClient(JetStreamPushClient):
    """A pull consumer that fetches 500 at a time."""

    BATCH = 500

    async def join(self, topic: str, member: str) -> None:
        await self._connect()
        import nats

        await self._js.add_stream(name=topic, subjects=[topic])
        config = nats.js.api.ConsumerConfig(max_ack_pending=ACKS_PENDING)
        self._sub = await self._js.pull_subscribe(topic, durable=member or "alone", config=config)

    async def consume(self, take: Take) -> None:
        import nats

        while True:
            try:
                messages = await self._sub.fetch(self.BATCH, timeout=1)
            except nats.errors.TimeoutError:
                continue
            for message in messages:
                take(decode(message.data))
                await message.ack()
