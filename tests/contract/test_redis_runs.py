"""Runs in Redis: one until anything but settling is done to one of their messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from tests.contract.test_redis_hints import Pair, pair
from tests.contract.world import World
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_broker.store.redis import RedisStore
from trishula_broker.store.redis.link import SCHEMA
from trishula_broker.store.redis.page import AtHand, Page
from trishula_broker.store.redis.space import prefix

__all__ = ["pair"]
SCHEMA_KEY = "trishula:{trishula}:schema"
BEAT = base.Beat("new", "life", "primary", "", 600_000)
FOREVER = base.Retention(max_age_ms=1 << 50, max_bytes=1 << 50)


@pytest.fixture
async def world(redis: RedisServer) -> AsyncIterator[World]:
    """A store with two agents, whose clock is the test's."""
    world = World(lambda: RedisStore(redis.url, timeout=60, own_clock=False))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    yield world
    await world.store.close()


def count(redis: RedisServer, key: str) -> int:
    """Fields of a hash."""
    return int(redis.ask("HLEN", f"{prefix('default')}{key}")[1:])


async def send(world: World, name: str, messages: int = 5) -> list[int]:
    """The seqs of as many from ada to bob."""
    mails = (world.mail("ada", "bob", f"{name}{n}") for n in range(messages))
    return [outcome.seq for outcome in await world.do(*mails)]


async def test_what_was_sent_together_is_kept_as_one(world: World, redis: RedisServer) -> None:
    seqs = await send(world, "m")
    await world.do(world.settle("bob", *seqs[1:3]))
    assert (count(redis, "runs"), count(redis, "log"), count(redis, "copies")) == (1, 0, 0)
    assert await world.waiting("bob") == [seqs[0], *seqs[3:]]
    await world.do(world.settle("bob", *seqs))
    assert await world.waiting("bob") == []
    assert redis.ask("EXISTS", f"{prefix('default')}q:bob") == ":0\r\n"
    assert (count(redis, "runs"), count(redis, "log")) == (1, 0)


async def test_a_run_that_ends_one_by_one_is_taken_apart(world: World, redis: RedisServer) -> None:
    seqs = await send(world, "m", 40)
    for n, seq in enumerate(seqs):
        world.now += 1
        assert await world.do(world.settle("bob", seq)) == [base.Marked((seq,), ())]
        assert count(redis, "runs") == (n < 16)
        assert await world.waiting("bob") == seqs[n + 1 :]
    again = await world.do(world.settle("bob", *seqs))
    assert again == [base.Marked(tuple(seqs), (), (), tuple(seqs))]
    for n in (0, 16, 39):
        assert (await world.fate("ada", f"m{n}"))["bob"].settled_at == world.now - 39 + n


@pytest.mark.parametrize(
    "change",
    [
        lambda world, seq: world.read("bob", seq),
        lambda world, seq: world.requeue("bob", seq),
        lambda world, seq: world.discard("bob", seq, "rejected"),
        lambda world, seq: base.Delivered("bob", world.epochs["bob"], ((seq, 7),)),
        lambda world, seq: base.Leave("bob", world.epochs["bob"], (seq,)),
        lambda world, seq: base.Accept(
            "bob", world.epochs["bob"], world.mail("bob", "ada", "x").address, "answer", "RESULT",
            3, None, "m3", False, None, b"{}", seq,
        ),
    ],
)  # fmt: skip
async def test_a_message_of_a_run_is_as_any_other(
    world: World, redis: RedisServer, change: Callable[[World, int], base.Operation]
) -> None:
    model = World(lambda: MemoryStore(base.MailboxLimits()))
    await model.store.open()
    await model.come("ada")
    await model.come("bob")
    model.epochs, model.now = world.epochs, world.now
    found = []
    for each in (world, model):
        seqs = await send(each, "m")
        await each.do(each.settle("bob", seqs[1], at=3))
        outcome = await each.do(change(each, seqs[3]))
        assert not isinstance(outcome[0], base.Fenced)
        traced = [await each.ask(base.Trace("ada", f"m{n}")) for n in range(5)]
        peeked = await each.ask(base.Peek("bob", 9))
        found.append((outcome, traced, peeked, await each.ask(base.History("bob", None, 0, 9))))
    assert found[0] == found[1]
    assert (count(redis, "runs"), count(redis, "log") >= 5) == (0, True)
    await model.store.close()


async def test_a_run_with_an_id_used_before_is_accepted_one_by_one(
    world: World, redis: RedisServer
) -> None:
    seqs = await send(world, "m", 3)
    again = await world.do(*(world.mail("ada", "bob", f"m{n}") for n in (2, 7, 0)))
    assert [type(outcome) for outcome in again] == [base.Duplicate, base.Accepted, base.Duplicate]
    assert (again[0].seq, again[2].seq) == (seqs[2], seqs[0])
    assert (count(redis, "runs"), count(redis, "log")) == (1, 1)
    other = await world.do(*(world.mail("bob", "ada", f"m{n}") for n in range(3)))
    assert [type(outcome) for outcome in other] == [base.Accepted] * 3
    assert count(redis, "runs") == 2
    traced = await world.ask(base.Trace("ada", "m1"))
    assert [each.message.seq for each in traced] == [seqs[1], other[1].seq]


async def test_the_trail_has_what_was_trimmed_before_anybody_archived_it(
    world: World, redis: RedisServer
) -> None:
    await world.do(base.Archive("n", 0))
    mails = [world.mail("ada", "bob", f"m{n}") for n in range(4)]
    sent = await world.do(*mails)
    done = await world.do(world.settle("bob", *(outcome.seq for outcome in sent)))
    world.now += 10
    assert await world.store.trim(world.now, base.Retention(1, 0, 1, 0)) == 4
    assert [count(redis, key) for key in ("ids", "runs", "runs:heads", "runs:bodies")] == [0] * 4
    entries = await world.ask(base.Trail(0, 9))
    pairs = [pair for entry in entries for pair in entry.done]
    assert pairs[:4] == list(zip(mails, sent, strict=True))
    assert pairs[4][1] == done[0]
    await world.do(base.Archive("n", entries[-1].pos))
    assert (count(redis, "trail"), count(redis, "runs:kept")) == (0, 0)
    assert redis.ask("HGET", f"{prefix('default')}state", "trail_bytes").split()[1] == "0"


async def test_bodies_go_first_and_ids_when_they_are_old(world: World, redis: RedisServer) -> None:
    await send(world, "m")
    await world.do(world.settle("bob", *range(1, 6)))
    world.now += 10
    assert await world.store.trim(world.now, base.Retention(1, 0, 1_000)) == 5
    assert (count(redis, "runs"), count(redis, "runs:bodies")) == (1, 0)
    (again,) = await world.do(world.mail("ada", "bob", "m3"))
    assert again == base.Duplicate(4, b"")
    assert await world.store.trim(world.now, base.Retention(1, 0, 1_000)) == 0
    world.now += 1_000
    assert await world.store.trim(world.now, base.Retention(1, 0, 1_000)) == 5
    assert (count(redis, "runs"), count(redis, "runs:heads"), count(redis, "ids")) == (0, 0, 0)


# --- nodes --------------------------------------------------------------------------------------


async def test_a_run_comes_with_its_hint(pair: Pair, redis: RedisServer) -> None:
    one, two = pair
    mails = [one.mail("ada", "bob", f"m{n}", size=20 + n) for n in range(5)]
    sent = await one.do(*mails)
    heard = [hint.copy for hint in await two.next() if isinstance(hint, base.Mail) and hint.copy]
    assert [copy.message.seq for copy in heard] == [outcome.seq for outcome in sent]
    assert heard == list((await two.fetch("bob")).copies)
    assert [copy.message.body for copy in heard] == [mail.body for mail in mails]


async def test_a_run_that_did_not_come_with_its_hint_is_looked_for(
    pair: Pair, redis: RedisServer
) -> None:
    one, two = pair
    listener = two.store._space("default")._listener  # type: ignore[attr-defined]
    listener._runs = b"nothing that is published"
    await send(one, "m")
    assert base.Missed() in await two.next()
    assert len((await two.fetch("bob")).copies) == 5


async def test_a_node_reads_runs_of_others_in_the_trail(pair: Pair, redis: RedisServer) -> None:
    one, two = pair
    await two.do(base.Archive("n2", 0))
    assert await two.ask(base.Trail(0, 99)) == ()
    mails = [one.mail("ada", "bob", f"m{n}") for n in range(5)]
    sent = await one.do(*mails)
    await two.next()
    redis.ask("CONFIG", "RESETSTAT")
    (entry,) = await two.ask(base.Trail(0, 99))
    assert list(entry.done) == list(zip(mails, sent, strict=True))
    calls = redis.ask("INFO", "commandstats").partition("cmdstat_hmget:calls=")[2]
    assert calls.partition(",")[0] == "2"  # the state and the entry: its page was hinted
    two.store._space("default")._hinted.clear()  # type: ignore[attr-defined]
    assert await two.ask(base.Trail(0, 99)) == (entry,)


def test_pages_at_hand_are_few() -> None:
    at_hand, page = AtHand(), Page(b"head", bytes(1 << 20))
    for first in range(9):
        at_hand.add(first, page)
        at_hand.add(first, page)
    found = [first for first in range(9) if at_hand.take(first)]
    assert found == [6, 7, 8]
    assert at_hand.take(8) is None
    assert repr(at_hand) == "<AtHand 0 pages, 0 bytes>"


# --- an upgrade ---------------------------------------------------------------------------------


def of_before(redis: RedisServer, alive: bool) -> None:
    """A node of a version without runs serves, or has ended."""
    node = ("life", "failover", "", 600_000, 1, 1, alive)
    packed = msgspec.msgpack.encode(node)
    words = (b"HSET", prefix("default").encode() + b"nodes", b"old", packed)
    redis.send(*words)


@pytest.fixture
async def upgraded(redis: RedisServer) -> AsyncIterator[World]:
    """A store of a node of this version, in what one of a version before has made and serves."""
    redis.ask("HSET", SCHEMA_KEY, "version", "3", "oldest", "1")
    of_before(redis, True)
    store = RedisStore(redis.url, timeout=60, node="new", own_clock=False)
    world = World(lambda: store)
    await store.open()
    await world.do(BEAT)
    await world.come("ada")
    await world.come("bob")
    yield world
    await store.close()


async def runs_made(world: World, redis: RedisServer, name: str) -> bool:
    """Whether what is sent now is one; it is done at once."""
    before = count(redis, "runs")
    seqs = await send(world, name)
    await world.do(world.settle("bob", *seqs))
    return count(redis, "runs") > before


async def test_runs_are_made_once_no_node_that_cannot_read_them_is_there_or_comes(
    upgraded: World, redis: RedisServer
) -> None:
    world = upgraded
    assert SCHEMA == 4
    assert not await runs_made(world, redis, "beside")
    of_before(redis, False)
    await world.do(BEAT)
    assert not await runs_made(world, redis, "alone")
    world.now += 10_000
    assert "1" in redis.ask("HGET", SCHEMA_KEY, "oldest")
    await world.do(BEAT)
    assert "4" in redis.ask("HGET", SCHEMA_KEY, "oldest")  # it is let in no more
    assert not await runs_made(world, redis, "shut")
    world.now += 10_000
    assert await runs_made(world, redis, "after")


async def test_a_node_that_comes_back_as_it_was_puts_runs_off(
    upgraded: World, redis: RedisServer
) -> None:
    world = upgraded
    of_before(redis, False)
    await world.do(BEAT)
    world.now += 9_000
    of_before(redis, True)
    await world.do(BEAT)
    world.now += 30_000
    assert not await runs_made(world, redis, "beside")
    assert "1" in redis.ask("HGET", SCHEMA_KEY, "oldest")
