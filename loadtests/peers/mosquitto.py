"""Mosquitto: MQTT with QoS 1 and persistent sessions."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

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

INFLIGHT = 512


class MosquittoServer(Server):
    """``mosquitto`` with persistence; it writes its file every half hour, and at its end."""

    def start(self) -> None:
        binary, port = program("mosquitto"), free_port()
        self.address = f"mqtt://127.0.0.1:{port}"
        self.version = said(binary, "-h").partition("version ")[2].partition("\n")[0]
        lines = [
            f"listener {port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self.folder}/",
            "max_queued_messages 100000",
            f"max_inflight_messages {INFLIGHT}",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # or it could not write to the folder
        config = self.folder / "mosquitto.conf"
        config.write_text("".join(f"{line}\n" for line in lines))
        self.run(binary, "-c", str(config), port=port)


class MqttClient(Client):
    """Subscriptions and publications at QoS 1."""

    DISTRIBUTIONS = ("aiomqtt", "paho-mqtt")

    async def _connect(self, identifier: str) -> None:
        import aiomqtt

        where = urlsplit(self.address)
        assert where.hostname is not None
        assert where.port is not None
        self._mqtt = aiomqtt.Client(
            where.hostname,
            where.port,
            identifier=identifier,
            clean_session=False,
            max_inflight_messages=INFLIGHT,
            max_queued_outgoing_messages=0,
            max_concurrent_outgoing_calls=10_000,
        )
        await self._mqtt.__aenter__()

    async def join(self, topic: str, member: str) -> None:
        await self._connect(f"{topic}-{member}")
        await self._mqtt.subscribe(topic, qos=1)

    async def consume(self, take: Take) -> None:
        async for message in self._mqtt.messages:
            take(decode(message.payload))

    async def open(self, topic: str, fan_out: bool) -> None:
        self._topic = topic
        await self._connect(f"{topic}-sender")

    async def publish(self, value: Value) -> None:
        await self._mqtt.publish(self._topic, encode(value), qos=1, timeout=60)
