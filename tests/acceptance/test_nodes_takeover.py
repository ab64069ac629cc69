"""An agent that registers at one hub has no session at the other any more."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.nodes_campaign import Node
from tests.support.redis_server import RedisServer

Json = dict[str, Any]


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[Node]]:
    """Two hubs, each with its own way to one Redis."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    found = [Node(tmp_path, role, redis.port) for role in ("primary", "failover")]
    try:
        for node in found:
            await node.start()
        yield found
    finally:
        for node in found:
            await node.stop()
        redis.kill()


class Client:
    """A connection to a hub, in JSON as it travels."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self._heard: list[Json] = []
        self._asked = 0

    async def hear(self, wanted: str, value: Any) -> Json:
        """The next envelope whose field ``wanted`` is ``value``; others wait."""
        while True:
            for envelope in self._heard:
                if envelope.get(wanted) == value:
                    self._heard.remove(envelope)
                    return envelope
            frame = json.loads(await self._link.recv())
            self._heard += frame if isinstance(frame, list) else [frame]

    async def ask(self, op: str, **fields: Any) -> Json:
        """What the hub answers."""
        self._asked += 1
        id = f"ask-{self._asked}"
        await self.say("COMMAND", {"op": op, **fields}, to="hub", id=id)
        answer = await self.hear("reply_to", id)
        assert answer["type"] == "RESULT", answer
        found: Json = answer["payload"]
        return found

    async def say(self, kind: str, payload: Json, **fields: str) -> None:
        """One envelope."""
        await self._link.send(json.dumps({"type": kind, "payload": payload, **fields}))

    async def settle(self, seq: int) -> None:
        """Done with it."""
        await self.say("ACK", {"stage": "done", "seqs": [seq]}, to="hub")

    async def closed(self) -> int | None:
        """The code with which the hub closes, once it does; nothing is settled until then."""
        try:
            settled = await self.hear("type", "ACK")
        except ConnectionClosed:
            return self._link.close_code
        raise AssertionError(settled)


def at(node: Node) -> connect:
    return connect(node.hub.url, ping_interval=None)


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
async def test_a_registration_at_the_other_hub_fences_the_old_session(
    nodes: list[Node], late: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    primary, failover = nodes
    async with at(primary) as one, at(failover) as two, at(failover) as three:
        old, new, sender = Client(one), Client(two), Client(three)
        await old.ask("register", agent="agni", heartbeat_ms=60_000)
        await sender.ask("register", agent="dc")
        await sender.say("STATUS", {}, to="agni", id="m1")
        seq = (await old.hear("id", "m1"))["seq"]
        if late:  # what it says now reaches Redis when another session has the mail
            primary.proxy.hold()
            await old.settle(seq)
        await new.ask("register", agent="agni")
        since = time.monotonic()
        assert (await new.hear("id", "m1"))["seq"] == seq
        if late:
            primary.proxy.restore()
            since = time.monotonic()
        else:
            await old.settle(seq)
        assert await old.closed() == 4409
        took = time.monotonic() - since
        with capsys.disabled():
            print(f"\nfenced after {took:.2f} s")
        assert took < 5
        assert (await new.ask("peek"))["count"] == 1
        await new.settle(seq)
        settled = await new.hear("type", "ACK")
        assert settled["payload"] == {"stage": "settled", "seqs": [seq]}
        assert (await new.ask("peek"))["count"] == 0
