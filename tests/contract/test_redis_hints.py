"""Hints that are lost on the way: noticed within a second, and told as missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.contract.world import World
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore

NOTICED_SECONDS = 60.0


class Hearer(World):
    """A node that notes what it hears."""

    def __init__(self, url: str, node: str) -> None:
        store = RedisStore(url, timeout=60, node=node, own_clock=False)
        super().__init__(lambda: store)
        self.node = node
        self.heard: list[base.Hint] = []
        self.news = asyncio.Event()
        store.on_hints(self._hear)

    def _hear(self, namespace: str, hints: object) -> None:
        assert namespace == self.namespace
        self.heard += hints  # type: ignore[arg-type]
        self.news.set()

    async def next(self) -> list[base.Hint]:
        """What is heard next, without a commit."""
        async with asyncio.timeout(NOTICED_SECONDS):
            await self.news.wait()
        self.news.clear()
        heard, self.heard = self.heard, []
        return heard


Pair = tuple[Hearer, Hearer]


@pytest.fixture
async def pair(redis: RedisServer) -> AsyncIterator[Pair]:
    """Two nodes; ada is at the first, bob at the second."""
    one, two = Hearer(redis.url, "n1"), Hearer(redis.url, "n2")
    for world, agent in ((one, "ada"), (two, "bob")):
        await world.store.open()
        await world.do(base.Beat(world.node, "life", "primary", "", 60_000))
        await world.come(agent, node=world.node)
    yield one, two
    await one.store.close()
    await two.store.close()


def deafen(redis: RedisServer) -> None:
    """Cut all subscriptions off, as the limit of an output buffer does."""
    redis.ask("CLIENT", "KILL", "TYPE", "pubsub")


async def test_mail_is_told_without_a_commit_of_ones_own(pair: Pair) -> None:
    one, two = pair
    sent = await one.send("ada", "bob", "m1")
    (hint,) = await two.next()
    assert isinstance(hint, base.Mail)
    assert hint.copy is not None
    assert (hint.agent, hint.copy.message.seq) == ("bob", sent.seq)
    assert one.heard == []


async def test_messages_that_were_sent_together_are_told_one_by_one(pair: Pair) -> None:
    one, two = pair
    await one.send("ada", "bob", "m1")
    await two.next()
    mails = [one.mail("ada", "bob", f"m{n}", size=20 + n) for n in range(4)]
    outcomes = await one.do(*mails)
    assert outcomes[1] == base.Duplicate(outcomes[0].seq - 1, mails[0].body)
    seqs = [outcome.seq for outcome in outcomes if isinstance(outcome, base.Accepted)]
    heard = await two.next()
    told = (await two.fetch("bob")).copies[1:]
    assert [copy.message.seq for copy in told] == seqs
    assert heard == [base.Mail("bob", copy) for copy in told]


async def test_a_body_that_is_big_is_not_told(pair: Pair) -> None:
    one, two = pair
    await one.send("ada", "bob", "m1", size=9_000)
    assert await two.next() == [base.Mail("bob", None)]


async def test_a_commit_waits_for_what_was_told_before(pair: Pair) -> None:
    one, two = pair
    for n in range(50):
        sent = await one.send("ada", "bob", f"m{n}")
        await two.send("bob", "bob", f"own{n}")
        hint = two.heard[-1]
        assert isinstance(hint, base.Mail)
        assert hint.copy is not None
        assert hint.copy.message.seq == sent.seq


async def test_a_subscription_that_was_cut_off_comes_back(pair: Pair, redis: RedisServer) -> None:
    one, two = pair
    deafen(redis)
    await one.send("ada", "bob", "m1")
    assert await two.next() == [base.Missed()]
    await one.send("ada", "bob", "m2")
    (hint,) = await two.next()
    assert isinstance(hint, base.Mail | base.Missed)


async def test_a_commit_says_what_was_missed_before_it_returns(
    pair: Pair, redis: RedisServer
) -> None:
    one, two = pair
    for n in range(5):
        deafen(redis)
        await one.send("ada", "bob", f"m{n}")
        two.heard.clear()
        await two.do()
        # Whether it heard it, missed it, or had said already that it missed what was there then.
        (last,) = (await two.ask(base.Peek("bob", 9))).heads[-1:]
        assert last.message.id == f"m{n}"
        assert two.heard == [] or isinstance(two.heard[-1], base.Missed | base.Mail)


async def test_a_hint_that_was_lost_is_noticed_when_all_is_quiet(
    pair: Pair, redis: RedisServer
) -> None:
    _, two = pair
    redis.ask("HINCRBY", "trishula:{default}:told", "n2", "1")
    assert await two.next() == [base.Missed()]


async def test_a_hint_that_was_lost_is_noticed_by_the_next(pair: Pair, redis: RedisServer) -> None:
    one, two = pair
    redis.ask("HINCRBY", "trishula:{default}:told", "n2", "1")
    await one.send("ada", "bob", "m1")
    heard = await two.next()
    assert heard[0] == base.Missed()


async def test_numbers_that_a_failover_lost_are_noticed(pair: Pair, redis: RedisServer) -> None:
    one, two = pair
    for n in range(3):
        await one.send("ada", "bob", f"m{n}")
    await two.do()
    two.heard.clear()
    two.news.clear()
    redis.ask("HSET", "trishula:{default}:told", "n2", "1")
    assert await two.next() == [base.Missed()]
    await one.send("ada", "bob", "m4")
    assert await two.next() != []  # what comes now is not taken for an old one


async def test_a_commit_does_not_wait_long_for_what_does_not_come(
    pair: Pair, redis: RedisServer
) -> None:
    _, two = pair
    redis.ask("HINCRBY", "trishula:{default}:told", "n2", "1")
    await two.do()
    assert two.heard == [base.Missed()]
