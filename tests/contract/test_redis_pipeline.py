"""Requests to Redis that are under way at once, on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.world import World
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore
from trishula_broker.store.redis.link import Link
from trishula_broker.store.redis.space import prefix
from trishula_broker.store.redis.urls import place_of


@pytest.fixture
async def world(redis: RedisServer) -> AsyncIterator[World]:
    """A store in an empty Redis, with two agents."""
    world = World(lambda: RedisStore(redis.url, timeout=60, node="n1", own_clock=False))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    yield world
    await world.store.close()


async def test_a_commit_is_on_its_way_before_anybody_waits_for_it(
    world: World, redis: RedisServer
) -> None:
    op = world.mail("ada", "bob", "m1")
    commit = world.store.commit(world.now, [base.Batch(world.namespace, [op])])
    redis.wait_for(":1", "HEXISTS", f"{prefix(world.namespace)}ids", "m1")
    ((outcome,),) = await commit
    assert isinstance(outcome, base.Accepted)


async def test_commits_that_are_begun_together_are_done_in_their_order(world: World) -> None:
    batches = [base.Batch(world.namespace, [world.mail("ada", "bob", f"m{n}")]) for n in range(20)]
    found = await world.store.commit(world.now, batches)
    seqs = [outcome.seq for (outcome,) in found if isinstance(outcome, base.Accepted)]
    assert seqs == list(range(seqs[0], seqs[0] + 20))


@pytest.mark.parametrize("forgotten", [("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH"), ("PING",)])
async def test_what_redis_forgot_is_given_to_it_again(
    world: World, redis: RedisServer, forgotten: tuple[str, ...]
) -> None:
    redis.ask(*forgotten)
    first, second = await asyncio.gather(
        world.ask(base.Peek("bob", 9)), world.ask(base.Peek("ada", 9))
    )
    assert (first.count, second.count) == (0, 0)
    for n in range(2):
        await world.send("ada", "bob", f"m{n}")
    redis.wait_for("trishula_commit", "FUNCTION", "LIST")


async def test_a_redis_that_takes_no_library_is_given_scripts(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", rename_command='FUNCTION ""')
    server.start()
    try:
        world = World(lambda: RedisStore(server.url, timeout=60, node="n1", own_clock=False))
        await world.store.open()
        await world.come("ada", groups=("all",))
        await world.come("bob", groups=("all",))
        accepted = await world.send("ada", "#all", "m1")
        assert accepted.recipients == ("bob",)
        assert await world.do(world.settle("bob", accepted.seq)) == [
            base.Marked((accepted.seq,), ())
        ]
        await world.store.close()
    finally:
        server.kill()


async def test_a_namespace_knows_nothing_of_the_one_before(redis: RedisServer) -> None:
    """One library serves them all; what a batch found must not be there for the next."""
    worlds = [
        World(lambda: RedisStore(redis.url, timeout=60, own_clock=False), name)
        for name in ("a", "b")
    ]
    for world in worlds:
        world.store = worlds[0].store
    await worlds[0].store.open()
    for world in worlds:
        await world.do(base.Archive("n1", 0))
        await world.come("ada")
    await worlds[0].come("bob")
    first = await worlds[0].send("ada", "bob", "m1")
    (unknown,) = await worlds[1].do(worlds[1].mail("ada", "bob", "m1"))
    assert unknown == base.Refused("unknown_recipient")
    await worlds[1].come("bob")
    assert (await worlds[1].send("ada", "bob", "m1")).seq == first.seq
    assert len(await worlds[1].ask(base.Trail(0, 99))) == 3
    await worlds[0].store.close()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words=st.lists(st.tuples(st.binary(max_size=9_000), st.booleans()), max_size=30))
def test_each_request_has_its_own_answer_whoever_gives_up(
    running_redis: RedisServer, words: list[tuple[bytes, bool]]
) -> None:
    async def run() -> None:
        link = Link(place_of(running_redis.url, None, None, {}, 60.0), "", 60.0)
        await link.ready()
        asked = [asyncio.create_task(link.call(("ECHO", word), ("PING",))) for word, _ in words]
        await asyncio.sleep(0)  # all of them are sent
        for task, (_, gives_up) in zip(asked, words, strict=True):
            if gives_up:
                task.cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        for answers, (word, gives_up) in zip(found, words, strict=True):
            if gives_up:
                assert isinstance(answers, asyncio.CancelledError)
            else:
                assert answers == [word, b"PONG"]
        assert link.is_open
        with pytest.raises(base.StoreUnavailable, match="unknown command"):
            await link.call(("PING",), ("NOSUCH",), ("PING",))
        assert await link.call(("PING",)) == [b"PONG"]
        await link.close()

    asyncio.run(run())


async def test_what_is_under_way_fails_when_the_connection_does(redis: RedisServer) -> None:
    link = Link(place_of(redis.url, None, None, {}, 60.0), "", 60.0)
    await link.ready()
    asked = [asyncio.create_task(link.call(("BLPOP", "nothing", 0))) for _ in range(3)]
    await asyncio.sleep(0)
    redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for task in asked:
        with pytest.raises(base.StoreUnavailable, match="Connection closed by server"):
            await task
    assert await link.call(("PING",)) == [b"PONG"]
    await link.close()
