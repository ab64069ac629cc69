"""What retention removes, and what it must leave."""

from __future__ import annotations

import pytest

from tests.contract.world import World, body
from trishula_broker.store import base

DAY = 24 * 3600 * 1000
AGED = base.Retention(max_age_ms=10 * DAY, max_bytes=1 << 40, dedup_ms=DAY, dedup_ids=1_000)
"""Limits by age alone."""


@pytest.fixture(autouse=True)
async def everybody(world: World) -> None:
    for name in ("ada", "bob", "cyd"):
        await world.come(name, groups=("ops",))


async def done(world: World, id_: str, to: str = "bob", size: int = 20) -> int:
    """Send a message and settle all copies."""
    sent = await world.send("ada", to, id_, size=size)
    await world.do(*(world.settle(name, sent.seq) for name in sent.recipients))
    return sent.seq


async def trim(world: World, retention: base.Retention) -> int:
    return await world.store.trim(world.now, retention)


async def bodies(world: World, agent: str = "ada") -> dict[str, bytes]:
    return {m.id: m.body for m in await world.ask(base.History(agent, None, 0, 999))}


async def held(world: World) -> int:
    size = (await world.store.health())["log_bytes"]
    assert isinstance(size, int)
    return size


async def test_nothing_goes_before_its_time(world: World) -> None:
    await done(world, "m1")
    assert await trim(world, AGED) == 0
    assert await bodies(world) == {"m1": body()}


async def test_what_is_old_enough_goes_with_its_copies(world: World) -> None:
    await done(world, "m1")
    await done(world, "m2", "#ops")
    await world.go("cyd")
    await world.come("cyd", caps=("plan",))
    await done(world, "m3", "@plan")
    world.now += 10 * DAY
    await done(world, "m4")
    assert await trim(world, AGED) == 3
    assert await bodies(world) == {"m4": body()}
    assert await bodies(world, "cyd") == {}
    assert await held(world) == 20
    await world.send("ada", "bob", "m1")  # the id is free


async def test_mail_that_waits_stays(world: World) -> None:
    await world.send("ada", "bob", "m1")
    part = await world.send("ada", "#ops", "m2")
    await world.do(world.settle("cyd", part.seq))
    world.now += 10 * DAY
    assert await trim(world, AGED) == 0
    await world.do(world.settle("bob", *await world.waiting("bob")))
    assert await trim(world, AGED) == 2


async def test_dead_letters_stay_until_dropped(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.discard("bob", sent.seq, "dead"))
    world.now += 10 * DAY
    assert await trim(world, AGED) == 0
    await world.do(world.discard("bob", sent.seq, "dropped"))
    assert await trim(world, AGED) == 1


async def test_what_waits_does_not_keep_what_is_younger(world: World) -> None:
    await world.send("ada", "bob", "m1")
    await done(world, "m2")
    world.now += 10 * DAY
    assert await trim(world, AGED) == 1
    assert list(await bodies(world)) == ["m1"]


async def test_the_oldest_go_first_when_the_log_is_too_big(world: World) -> None:
    for n in range(5):
        await done(world, f"m{n}", size=100)
    world.now += DAY  # outside the dedup window
    small = base.Retention(max_age_ms=10 * DAY, max_bytes=250, dedup_ms=DAY)
    assert await trim(world, small) == 3
    assert list(await bodies(world)) == ["m3", "m4"]
    assert await held(world) == 200
    assert await trim(world, small) == 0


async def test_what_waits_counts_for_the_size(world: World) -> None:
    await world.send("ada", "cyd", "w1", size=400)
    await done(world, "m1", size=100)
    world.now += DAY
    small = base.Retention(max_age_ms=10 * DAY, max_bytes=450, dedup_ms=DAY)
    assert await trim(world, small) == 1


async def test_a_body_goes_before_its_id_does(world: World) -> None:
    seq = await done(world, "m1")
    small = base.Retention(max_age_ms=10 * DAY, max_bytes=0, dedup_ms=DAY)
    assert await trim(world, small) == 1
    assert await trim(world, small) == 0
    assert await bodies(world) == {"m1": b""}
    assert await held(world) == 0
    assert await world.do(world.mail("ada", "bob", "m1")) == [base.Duplicate(seq, b"")]
    assert (await world.fate("ada", "m1"))["bob"].outcome == "done"
    world.now += DAY
    assert await trim(world, small) == 1
    await world.send("ada", "bob", "m1")


async def test_only_a_senders_last_ids_are_kept(world: World) -> None:
    for n in range(5):
        await done(world, f"m{n}")
    few = base.Retention(max_age_ms=10 * DAY, max_bytes=0, dedup_ms=DAY, dedup_ids=2)
    assert await trim(world, few) == 5
    assert await bodies(world) == {"m3": b"", "m4": b""}


async def test_seqs_and_ids_of_what_was_trimmed_survive_a_restart(world: World) -> None:
    first = await done(world, "m1")
    world.now += 10 * DAY
    assert await trim(world, AGED) == 1
    await world.restart()
    await world.come("ada")
    assert (await world.send("ada", "bob", "m2")).seq > first


async def test_the_size_is_known_after_a_restart(world: World) -> None:
    await done(world, "m1", size=100)
    await done(world, "m2", size=50)
    small = base.Retention(max_age_ms=10 * DAY, max_bytes=60, dedup_ms=DAY)
    await trim(world, small)
    await world.come("ada")
    await world.send("ada", "bob", "m3", size=70)
    await world.restart()
    assert await held(world) == 120


async def test_settling_what_was_trimmed_is_stale(world: World) -> None:
    seq = await done(world, "m1")
    world.now += 10 * DAY
    await trim(world, AGED)
    assert await world.do(world.settle("bob", seq)) == [base.Marked((), (seq,))]


async def test_a_name_that_nothing_points_to_can_come_back(world: World) -> None:
    await world.come("eph", ephemeral=True)
    await world.send("eph", "bob", "m1")
    await world.do(world.settle("bob", *await world.waiting("bob")))
    await world.do(base.Forget("eph", world.epochs.pop("eph")))
    world.now += 10 * DAY
    assert await trim(world, AGED) == 1
    assert await trim(world, AGED) == 0
    await world.come("eph")
    await world.send("eph", "bob", "m1")
    assert await world.waiting("bob") != []


async def test_a_call_removes_a_bounded_piece(world: World) -> None:
    ops = [world.mail("ada", "broadcast", f"m{n}") for n in range(5)]
    world.namespace, world.epochs = "empty", {}
    await world.come("ada")
    for chunk in range(0, 6_000, 1_000):
        ops = [
            world.mail("ada", "broadcast", f"m{n}", size=14) for n in range(chunk, chunk + 1_000)
        ]
        await world.do(*ops)
    world.now += 10 * DAY
    assert await trim(world, AGED) == 5_000
    assert await trim(world, AGED) == 1_000
