"""Answers of Redis that are lost on the way: what is said again is done once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from tests.contract.world import LEASE_MS, World
from tests.support.lossy_proxy import LossyProxy
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore


@pytest.fixture
async def proxy(redis: RedisServer) -> AsyncIterator[LossyProxy]:
    """The way to an empty Redis."""
    proxy = LossyProxy(redis.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def world(proxy: LossyProxy) -> AsyncIterator[World]:
    """A store behind it."""
    url = f"redis://127.0.0.1:{proxy.port}"
    world = World(lambda: RedisStore(url, timeout=60, own_clock=False))
    await world.store.open()
    await world.do(base.Archive("n1", 0))
    for name in ("ada", "bob"):
        await world.come(name, caps=("plan",))
    yield world
    await world.store.close()


async def lost(world: World, proxy: LossyProxy, *ops: base.Operation) -> None:
    """Commit ``ops``, whose answer is lost."""
    before = proxy.lost
    proxy.swallow = 0
    with pytest.raises(base.StoreUnavailable):
        await world.do(*ops)
    assert proxy.lost == before + 1


async def all_there_is(world: World) -> list[Any]:
    """What can be asked about the world."""
    names = ("ada", "bob", "@plan")
    return [
        await world.ask(base.Trail(0, 999)),
        await world.ask(base.Agents()),
        await world.ask(base.DeadLetters(None, 0, 99)),
        *[await world.ask(base.Peek(name, 99)) for name in names],
        *[await world.ask(base.History(name, None, 0, 99)) for name in names],
        *[await world.ask(base.Trace("ada", f"m{n}")) for n in range(9)],
    ]


Make = Callable[[World, int], base.Operation]

AGAIN: list[tuple[str, Make]] = [
    ("accept", lambda world, seq: world.mail("ada", "bob", "m8")),
    ("settling answer", lambda world, seq: world.mail("bob", "ada", "m8", settles=seq)),
    ("settle", lambda world, seq: world.settle("bob", seq, at=5)),
    ("read", lambda world, seq: world.read("bob", seq)),
    ("requeue", lambda world, seq: world.requeue("bob", seq)),
    (
        "discard",
        lambda world, seq: world.discard(
            "bob", seq, "dead", base.Notice("ada", "told", None, b"{}")
        ),
    ),
    ("assign", lambda world, seq: base.Assign("plan", 10)),
    ("leave", lambda world, seq: base.Leave("bob", world.epochs["bob"], (seq,))),
    ("forget", lambda world, seq: base.Forget("cyd", 0)),
    ("unassign", lambda world, seq: base.Unassign("cyd")),
]


@pytest.mark.parametrize("make", [make for _, make in AGAIN], ids=[name for name, _ in AGAIN])
async def test_said_again_it_is_done_once(world: World, proxy: LossyProxy, make: Make) -> None:
    sent = await world.send("ada", "bob", "m0")
    for name in ("ada", "bob"):
        await world.go(name)
    await world.send("bob", "@plan", "m1")
    await world.come("cyd")
    await world.go("cyd")
    for name in ("ada", "bob"):
        await world.come(name)
    op = make(world, sent.seq)
    untouched = await all_there_is(world)
    await lost(world, proxy, op)
    once = await all_there_is(world)
    assert (once == untouched) == isinstance(op, base.Unassign)
    world.now += 10
    await world.do(op)
    if isinstance(op, base.Read):  # its lease is renewed, from when it was said again
        before = once[-9][0].copies[0]
        after = msgspec.structs.replace(before, lease_until=before.lease_until + 10)
        assert (await world.fate("ada", "m0"))["bob"] == after
        assert (await all_there_is(world))[0] == once[0]
    else:
        assert await all_there_is(world) == once


async def test_a_registration_said_again_counts_what_it_replaced_once(
    world: World, proxy: LossyProxy
) -> None:
    sent = await world.send("ada", "bob", "m0")
    read = await world.send("ada", "bob", "m1")
    await world.do(world.read("bob", read.seq))
    op = base.Register(
        "bob", "n1", "s", True, False, LEASE_MS, None, None,
        replaces=world.epochs["bob"], unread=(sent.seq,),
    )  # fmt: skip
    await lost(world, proxy, op)
    again = await world.get(base.Registered, op)
    assert (await world.agent("bob")).epoch == again.epoch > world.epochs["bob"] + 1
    assert (await world.fate("ada", "m0"))["bob"].deliveries == 1
    assert (await world.fate("ada", "m1"))["bob"].attempts == 1


async def test_every_third_answer_is_lost_and_no_message_is(
    world: World, proxy: LossyProxy
) -> None:
    for n in range(60):
        if n % 3 == 0:
            await lost(world, proxy, world.mail("ada", "bob", f"m{n}", size=14))
        (outcome,) = await world.do(world.mail("ada", "bob", f"m{n}", size=14))
        assert isinstance(outcome, base.Accepted if n % 3 else base.Duplicate)
    found = (await world.ask(base.Peek("bob", 99))).heads
    assert [copy.message.id for copy in found] == [f"m{n}" for n in range(60)]
    entries = await world.ask(base.Trail(0, 999))
    assert [entry.pos for entry in entries] == list(range(1, len(entries) + 1))
    ops = [op for entry in entries for op, _ in entry.done]
    assert [op.id for op in ops if isinstance(op, base.Accept)] == [f"m{n}" for n in range(60)]


async def test_a_way_that_falls_silent_is_given_up(proxy: LossyProxy) -> None:
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}", timeout=5, own_clock=False)
    world = World(lambda: store)
    await store.open()
    await world.come("ada")
    proxy.silent = True
    with pytest.raises(base.StoreUnavailable, match="does not answer in time"):
        await world.send("ada", "ada", "m1")
    proxy.silent = False
    await world.send("ada", "ada", "m1")
    await store.close()
