"""RabbitMQ: durable queues, persistent messages, publisher confirms, manual acknowledgement."""

from __future__ import annotations

import asyncio
from typing import Any

from loadtests.peers.peer import (
    Client,
    NotHere,
    Server,
    Take,
    Value,
    decode,
    encode,
    program,
    said,
)
from tests.support.ports import free_port

PREFETCH = 500


class RabbitServer(Server):
    """A node of its own, with an Erlang port mapper of its own."""

    def start(self) -> None:
        binary = _program("rabbitmq-server")
        port, mapper = free_port(), free_port()
        self._mapper = {"ERL_EPMD_PORT": str(mapper), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        self.address = f"amqp://guest:guest@127.0.0.1:{port}/"
        plugins = self.folder / "enabled_plugins"
        plugins.write_text("[].\n")
        env = {
            **self._mapper,
            "HOME": str(self.folder),  # Erlang's cookie
            "RABBITMQ_NODENAME": f"peers-{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
        }
        self.run(binary, env=env, port=port)
        # Asked in the server's own environment, or it would start a port mapper that stays.
        self.version = said(_program("rabbitmqctl"), "version", env=env).splitlines()[-1]

    def stop(self) -> None:
        super().stop()
        said(program("epmd"), "-kill", env=self._mapper)


def _program(name: str) -> str:
    """One of its scripts. Debian's in sbin change the user; those behind them do not."""
    try:
        return program(f"/usr/lib/rabbitmq/bin/{name}")
    except NotHere:
        return program(name)


class RabbitClient(Client):
    """One member: a queue by its name. Several: a fanout exchange before a queue each."""

    DISTRIBUTIONS = ("aio-pika",)

    async def _connect(self) -> None:
        import aio_pika

        connection = await aio_pika.connect(self.address)
        self._channel = await connection.channel(publisher_confirms=True)
        await self._channel.set_qos(PREFETCH)

    async def join(self, topic: str, member: str) -> None:
        import aio_pika

        await self._connect()
        if member:
            exchange = await self._channel.declare_exchange(
                topic, aio_pika.ExchangeType.FANOUT, durable=True
            )
            self._queue = await self._channel.declare_queue(f"{topic}.{member}", durable=True)
            await self._queue.bind(exchange)
        else:
            self._queue = await self._channel.declare_queue(topic, durable=True)

    async def consume(self, take: Take) -> None:
        async def on(message: Any) -> None:
            take(decode(message.body))
            await message.ack()

        await self._queue.consume(on)
        await asyncio.Event().wait()

    async def open(self, topic: str, fan_out: bool) -> None:
        await self._connect()
        self._key = topic
        self._exchange: Any = self._channel.default_exchange
        if fan_out:
            self._exchange = await self._channel.get_exchange(topic)

    async def publish(self, value: Value) -> None:
        import aio_pika

        message = aio_pika.Message(encode(value), delivery_mode=2)
        await self._exchange.publish(message, self._key)
