"""All that can be measured, in the order of the table. Adding a broker: a file, and a line here."""

from __future__ import annotations

from typing import Final, NamedTuple

from loadtests.peers import mosquitto, nats, rabbitmq, redis_streams, trishula_hub
from loadtests.peers.peer import Client, Server


class Peer(NamedTuple):
    """A broker as it is measured.

    Attributes:
        stores: what is safe when it says that it has a message.
        own: its clients run in this project's environment.
    """

    server: type[Server]
    client: type[Client]
    stores: str
    own: bool = False


PEERS: Final[dict[str, Peer]] = {
    "trishula-sqlite": Peer(
        trishula_hub.SqliteHub,
        trishula_hub.HubClient,
        "synced to the disk before it is confirmed (SQLite, FULL)",
        own=True,
    ),
    "trishula-redis": Peer(
        trishula_hub.RedisHub,
        trishula_hub.HubClient,
        "synced to the disk before it is confirmed (Redis, always)",
        own=True,
    ),
    "jetstream-push": Peer(
        nats.NatsServer, nats.JetStreamPushClient, "written; synced every two minutes"
    ),
    "jetstream-pull": Peer(
        nats.NatsServer, nats.JetStreamPullClient, "written; synced every two minutes"
    ),
    "redis-streams": Peer(
        redis_streams.StreamsServer, redis_streams.StreamsClient, "written; synced every second"
    ),
    "rabbitmq": Peer(
        rabbitmq.RabbitServer, rabbitmq.RabbitClient, "written; synced when it sees fit"
    ),
    "mosquitto": Peer(
        mosquitto.MosquittoServer, mosquitto.MqttClient, "in memory; written every half hour"
    ),
    "nats-core": Peer(nats.NatsServer, nats.CoreClient, "nothing is stored, confirmed or settled"),
}
RATES_AGAINST: Final = "jetstream-push"
"""Whose figures the others' are divided by ..."""
CALLS_AGAINST: Final = "nats-core"
"""... and whose for request and reply."""
