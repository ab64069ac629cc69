"""A message that came to its end leaves nothing that only the collector would find."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from tests.unit.client.hub_link import Link, delivery, make_link
from trishula import events
from trishula.sending import Sending
from trishula.settling import Settling

MESSAGES = 50


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def registered() -> tuple[Link, Sending]:
    link = make_link()
    link.register()
    sending = Sending(link.core)
    sending.failure = None
    sending.make_waiter = asyncio.get_running_loop().create_future
    return link, sending


def say_accepted(link: Link, sending: Sending) -> None:
    ids = [envelope.id for envelope in link.flush() if envelope.id is not None]
    for event in link.ack("accepted", ids=ids):
        assert isinstance(event, events.Accepted)
        sending.accepted(event.outs)


async def test_what_was_sent_and_accepted() -> None:
    link, sending = registered()

    async def one() -> None:
        waiting = asyncio.ensure_future(sending.send("STATUS", "agni", {"n": 1}))
        await asyncio.sleep(0)
        say_accepted(link, sending)
        await waiting

    await one()
    gc.collect()
    for _ in range(MESSAGES):
        await one()
    assert gc.collect() < MESSAGES


async def test_what_came_and_was_settled_or_answered() -> None:
    link, sending = registered()
    settling = Settling(sending)

    async def one(seq: int, type: str) -> None:
        [event] = link.say(delivery(seq, type=type))
        assert isinstance(event, events.NewMail)
        [came] = event.deliveries
        settling.take(came)
        if type == "STATUS":
            await settling.done(came)
        else:
            waiting = asyncio.ensure_future(settling.answer(came, "RESULT", {"n": seq}))
            await asyncio.sleep(0)
            say_accepted(link, sending)
            await waiting
        link.flush()
        link.ack("settled", seqs=[seq])

    await one(1, "STATUS")
    await one(2, "COMMAND")
    gc.collect()
    for seq in range(3, 3 + MESSAGES):
        await one(seq, "STATUS" if seq % 2 else "COMMAND")
    assert gc.collect() < MESSAGES // 2
