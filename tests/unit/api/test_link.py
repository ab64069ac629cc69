"""A session that requests share, and what the hub says to it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from trishula_broker.api import link as linking
from trishula_broker.api.failures import Failure
from trishula_broker.api.link import Link
from trishula_broker.api.links import MOST_OF_ONE, Caller, Links
from trishula_broker.api.news import Memo
from trishula_broker.net.driver import Driver
from trishula_protocol.codec import JSON, Item
from trishula_protocol.envelope import Envelope

REGISTERED = {
    "agent": "dc",
    "namespace": "default",
    "node": "n1",
    "role": "primary",
    "session": "s",
    "heartbeat_ms": 60_000,
    "server_time": 1,
    "limits": {"frame_bytes": 1 << 20, "batch": 1000, "prefetch": 32},
}


class Host:
    """Stands where the driver does: keeps what the link says, and answers what it is told to."""

    def __init__(self, memo: Memo | None = None) -> None:
        self.said: list[Envelope] = []
        self.writing: list[bool] = []
        self.link = Link(cast(Driver, self), "default", "dc", None, "peer", memo=memo)
        self.say(Envelope("RESULT", sender="hub", reply_to="register", payload=REGISTERED))

    def connect(self, namespace: str, connection: Link, *_: Any) -> None:
        connection.link = 1

    def receive(self, connection: Link, items: list[Item], size: int) -> None:
        self.said += [item for item in items if isinstance(item, Envelope)]

    def writable(self, connection: Link, yes: bool) -> None:
        self.writing.append(yes)

    def disconnect(self, connection: Link, reason: str) -> None:
        pass

    def say(self, *envelopes: Envelope) -> None:
        self.link.send(JSON.frame([JSON.encode(each) for each in envelopes]), False)

    def accept(self, id_: str) -> None:
        payload = {"stage": "accepted", "ids": [id_]}
        self.say(Envelope("ACK", sender="hub", payload=payload))

    async def turn(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


async def test_a_message_that_is_called_like_a_question_is_not_taken_for_one() -> None:
    host = Host()
    message = {"type": "STATUS", "to": "agni", "id": "http-1", "payload": 1}
    posting = asyncio.ensure_future(host.link.post(message))
    await host.turn()
    asking = asyncio.ensure_future(host.link.ask(op="agents"))
    await host.turn()
    _, sent, asked = host.said
    assert sent.id != asked.id
    host.say(Envelope("RESULT", sender="hub", reply_to=asked.id, payload={"agents": []}))
    assert await asking == {"agents": []}
    assert not posting.done()  # nobody has said that it is stored
    host.accept("http-1")
    await posting


def news(size: int) -> Envelope:
    return Envelope("STATUS", sender="hub", payload={"tap": "accepted", "x": "y" * size})


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_listener_that_is_slow_has_so_much_waiting_and_no_more(size: int) -> None:
    host = Host()
    most = min(linking.NEWS, linking.NEWS_BYTES // size + 1)
    told = 0
    while True not in (full := [not yes for yes in host.writing]):
        assert told <= most, full
        host.say(news(size))
        told += 1
        await host.turn()
    heard = 0
    while host.writing == [False]:
        assert len((await host.link.news()).envelope.payload["x"]) == size
        heard += 1
    assert host.writing == [False, True]
    assert told // 2 <= heard < told
    for _ in range(told - heard):
        await host.link.news()
    host.link.end()
    await host.turn()


async def test_a_hub_that_takes_nothing_for_long_is_no_reason_to_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linking, "ANSWER_S", 0.01)
    host = Host()
    host.link.pause()
    for asked in (
        host.link.ask(op="agents"),
        host.link.post({"type": "STATUS", "to": "agni", "id": "m1"}),
        host.link.settle("done", [1]),
    ):
        with pytest.raises(Failure) as caught:
            async with asyncio.timeout(60):
                await asked
        assert caught.value.code == "timeout"
    assert len(host.said) == 1  # its registration
    monkeypatch.setattr(linking, "ANSWER_S", 60.0)
    host.link.resume()
    asking = asyncio.ensure_future(host.link.settle("done", [1]))
    await host.turn()
    host.say(Envelope("ACK", sender="hub", payload={"stage": "settled", "seqs": [1]}))
    assert await asking == ([1], [])


async def test_streams_are_counted_by_namespace_as_well_as_by_name() -> None:
    host = Everybody()
    links = Links(cast(Driver, host))
    async with AsyncExitStack() as open_:
        for space in ("one", "two"):
            caller = Caller(space, "dc", None, "peer")
            for _ in range(MOST_OF_ONE):
                await open_.enter_async_context(links.stream(caller))
            with pytest.raises(Failure, match="yours"):
                await open_.enter_async_context(links.stream(caller))
    links.close()


class Everybody(Host):
    """Registers whoever comes."""

    def __init__(self) -> None:
        pass

    def connect(self, namespace: str, connection: Link, *_: Any) -> None:
        connection.link = 1

        def register() -> None:
            answer = Envelope("RESULT", sender="hub", reply_to="register", payload=REGISTERED)
            connection.send(JSON.encode(answer), False)

        asyncio.get_running_loop().call_soon(register)

    def receive(self, connection: Link, items: list[Item], size: int) -> None:
        pass


async def test_what_many_are_told_alike_is_taken_apart_once() -> None:
    memo = Memo()
    hosts = [Host(memo), Host(memo)]
    heard = []
    for host in hosts:
        for n in (1, 2):
            host.say(news(n))
            await host.turn()
        heard.append([await host.link.news(), *host.link.all_news()])
    assert [[len(each.envelope.payload["x"]) for each in told] for told in heard] == [[1, 2]] * 2
    host = Host(memo)
    host.say(news(2))
    await host.turn()
    assert await host.link.news() is heard[1][1]
