"""Batches that are too big for one script, and one operation that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.world import World
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore
from trishula_broker.store.redis.runs import OPERATIONS, arguments
from trishula_broker.store.redis.space import POINTERS, prefix

CROWD = 2 * POINTERS + 500


@pytest.fixture
async def world(redis: RedisServer) -> AsyncIterator[World]:
    """A store with limits that nobody meets."""
    world = World(lambda: RedisStore(redis.url, timeout=60, own_clock=False))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    redis.ask("CONFIG", "RESETSTAT")
    yield world
    await world.store.close()


def scripts(redis: RedisServer) -> int:
    """How many were run."""
    text = redis.ask("INFO", "commandstats")
    return int(text.partition("cmdstat_fcall:calls=")[2].partition(",")[0])


async def test_many_operations_are_done_in_their_order(world: World, redis: RedisServer) -> None:
    ops = [world.mail("ada", "bob", f"m{n}") for n in range(2 * OPERATIONS + 1)]
    outcomes = await world.do(*ops)
    assert scripts(redis) == 3
    seqs = [outcome.seq for outcome in outcomes]
    assert seqs == list(range(seqs[0], seqs[0] + len(ops)))
    assert await world.do(world.settle("bob", *seqs)) == [base.Marked(tuple(seqs), ())]
    assert (await world.agent("bob")).unsettled == 0


async def test_a_crowd_gets_a_broadcast_in_one_step(world: World, redis: RedisServer) -> None:
    names = sorted(f"agent{n}" for n in range(CROWD))
    await world.do(
        *(base.Register(name, "n", "s", False, False, 1_000, None, ("all",)) for name in names)
    )
    redis.ask("CONFIG", "RESETSTAT")
    to_all, to_group, last = await world.do(
        world.mail("ada", "broadcast", "m1"),
        world.mail("ada", "#all", "m2"),
        world.mail("ada", "bob", "m3"),
    )
    assert scripts(redis) == 3
    assert to_all.recipients == (*names, "bob")
    assert to_group.recipients == tuple(names)
    assert last.recipients == ("bob",)
    (traced,) = await world.ask(base.Trace("ada", "m1"))
    assert len(traced.copies) == CROWD + 1
    peeked = await world.ask(base.Peek(names[-1], 5))
    assert [copy.message.seq for copy in peeked.heads] == [to_all.seq, to_group.seq]
    found = await world.fetch(names[0])
    assert len(found.copies) == 2


async def test_hundreds_of_copies_change_hands(world: World) -> None:
    await world.come("cyd", caps=("plan",))
    await world.go("cyd")
    await world.do(*(world.mail("ada", "@plan", f"m{n}") for n in range(700)))
    await world.come("cyd")
    assigned = await world.get(base.Assigned, base.Assign("plan", 600))
    assert (len(assigned.copies), assigned.more) == (600, True)
    await world.go("cyd")
    unassigned = await world.get(base.Unassigned, base.Unassign("cyd"))
    assert (unassigned.pools, len(unassigned.seqs)) == (("plan",), 600)
    assert (await world.ask(base.Peek("@plan", 0))).count == 700


async def test_the_trail_has_each_operation_of_a_batch_in_pieces_once(
    world: World, redis: RedisServer
) -> None:
    names = [f"agent{n}" for n in range(900)]
    await world.do(
        base.Archive("n", 0),
        *(base.Register(name, "n", "s", False, False, 1_000, None, ("all",)) for name in names),
    )
    told = base.FullNotice("told", b"[", b"]")
    size = 20_000
    ops = [
        world.mail("ada", to, f"m{n}", ttl=n or None, size=size, full_notice=told)
        for n, to in enumerate(("#all", "bob", "nobody") * 6)
    ]
    outcomes = await world.do(*ops)
    entries = await world.ask(base.Trail(1, 99))
    assert len(entries) > 2
    done = [pair for entry in entries for pair in entry.done]
    pairs = zip(ops, outcomes, strict=True)
    assert done == [pair for pair in pairs if isinstance(pair[1], base.Accepted)]
    # Each piece has what it did, not what was left to do.
    key = f"{prefix(world.namespace)}trail"
    kept = sum(int(redis.ask("HSTRLEN", key, str(entry.pos))[1:]) for entry in entries)
    assert kept < (len(ops) + 4) * size


async def test_what_is_sent_together_costs_one_operation_of_the_script(
    world: World, redis: RedisServer
) -> None:
    alone = [world.mail("ada", "bob", f"a{n}", thread="talk") for n in range(100)]
    together = [world.mail("ada", "bob", f"b{n}") for n in range(100)]
    counts = []
    for ops in (alone, together):
        counts.append(arguments(ops)[1])
        seqs = [outcome.seq for outcome in await world.do(*ops)]
        assert seqs == list(range(seqs[0], seqs[0] + 100))
    assert counts == [[1] * 100, [100]]


async def test_a_run_ends_where_a_script_does(world: World, redis: RedisServer) -> None:
    ops: list[base.Operation] = [world.settle("bob", 1)]
    ops += [world.mail("ada", "bob", f"m{n}") for n in range(OPERATIONS)]
    assert arguments(ops)[1] == [1, OPERATIONS - 1, 1]
    await world.do(*ops)
    assert scripts(redis) == 2


async def without_runs(world: World, redis: RedisServer) -> None:
    """As if a node of a version before could be there."""
    redis.ask("HSET", "trishula:{trishula}:schema", "oldest", "1")
    await world.restart()
    for name in ("ada", "bob"):
        await world.come(name)


async def history(world: World, agent: str, page: int) -> list[int]:
    """The seqs of all that ``agent`` sent or got, asked for page by page."""
    seqs: list[int] = []
    while True:
        some = await world.ask(base.History(agent, None, seqs[-1] if seqs else 0, page))
        seqs += [message.seq for message in some]
        if len(some) < page:
            return seqs


async def test_a_run_that_is_trimmed_in_pieces_leaves_what_waits_in_the_history(
    world: World, redis: RedisServer
) -> None:
    first, *_ = await world.do(*(world.mail("ada", "bob", f"m{n}") for n in range(500)))
    assert redis.ask("ZCARD", "trishula:{default}:h:bob") == ":1\r\n"
    seqs = range(first.seq, first.seq + 500)
    left = [seq for seq in seqs if seq % 130 == 7 or seq % 190 < 2 or seq in seqs[-3:]]
    await world.do(world.settle("bob", *(seq for seq in seqs if seq not in left)))
    for agent in ("ada", "bob"):
        assert await history(world, agent, 33) == [*seqs]
    world.now += 1_000
    retention = base.Retention(max_age_ms=1, max_bytes=0, dedup_ms=0)
    gone = 0
    while some := await world.store.trim(world.now, retention):
        gone += some
    assert gone == len(seqs) - len(left)
    for agent in ("ada", "bob"):
        assert await history(world, agent, 3) == left
    for seq in (*left, left[0] + 1):
        traced = await world.ask(base.Trace("bob", f"m{seq - first.seq}"))
        assert [each.message.seq for each in traced] == ([seq] if seq in left else [])
    await world.do(world.settle("bob", *left))
    while await world.store.trim(world.now + 1_000, retention):
        pass
    assert redis.ask("EXISTS", "trishula:{default}:h:bob") == ":0\r\n"


async def test_a_history_skips_what_an_earlier_version_trimmed(
    world: World, redis: RedisServer
) -> None:
    await without_runs(world, redis)
    outcomes = await world.do(*(world.mail("ada", "bob", f"m{n}") for n in range(20)))
    seqs = [outcome.seq for outcome in outcomes]
    redis.ask("HDEL", "trishula:{default}:log", *map(str, seqs[:7]), str(seqs[11]))
    assert await history(world, "bob", 4) == [*seqs[7:11], *seqs[12:]]


async def test_the_trail_of_many_operations_has_them_all(world: World) -> None:
    await world.do(base.Archive("n", 0))
    ops = [world.mail("ada", "bob", f"m{n}") for n in range(2 * OPERATIONS + 1)]
    outcomes = await world.do(*ops)
    entries = await world.ask(base.Trail(0, 99))
    assert [entry.pos for entry in entries] == [1, 2, 3]
    done = [pair for entry in entries for pair in entry.done]
    assert done == list(zip(ops, outcomes, strict=True))
    assert await world.get(base.Archived, base.Archive("n", 3)) == base.Archived(4, 3)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.integers(14, 70_000),
    at=st.one_of(st.none(), st.integers(1, 2**44)),
    now=st.integers(1, 2**44),
)
def test_a_copy_is_kept_alike_whether_it_was_done_at_once_or_not(
    redis: RedisServer, size: int, at: int | None, now: int
) -> None:
    """What is done as it came is not unpacked: what it becomes is written as if it had been."""

    async def run() -> None:
        redis.ask("FLUSHALL")
        world = World(lambda: RedisStore(redis.url, timeout=60, own_clock=False))
        await world.store.open()
        try:
            await settle_both(world)
        finally:
            await world.store.close()

    async def settle_both(world: World) -> None:
        await world.come("ada")
        await world.come("bob")
        first = await world.send("ada", "bob", "m1", size=size)
        second = await world.send("ada", "bob", "m2", size=size)
        world.now = now
        if at is not None:
            epoch = world.epochs["bob"]
            await world.do(base.Delivered("bob", epoch, ((first.seq, at),)))
        assert await world.do(world.settle("bob", second.seq, second.seq, at=at)) == [
            base.Marked((second.seq, second.seq), (), (), (second.seq,))
        ]
        await world.do(world.settle("bob", first.seq))
        key = f"{prefix(world.namespace)}copies"
        kept = [redis.ask("HSTRLEN", key, f"{one.seq}:bob") for one in (first, second)]
        assert kept[0] == kept[1] != ":0"
        fates = [(await world.ask(base.Trace("ada", id_)))[0].copies for id_ in ("m1", "m2")]
        assert fates[0] == fates[1]
        assert (fates[1][0].settled_at, fates[1][0].delivered_at) == (now, at)
        assert (await world.agent("bob")).unsettled == 0

    asyncio.run(run())
