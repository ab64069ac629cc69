"""What time makes due."""

from __future__ import annotations

import pytest

from tests.contract.world import LEASE_MS, World
from trishula_broker.store import base
from trishula_protocol.limits import EPHEMERAL_MS

NOTHING = base.Swept((), (), (), None)


@pytest.fixture(autouse=True)
async def everybody(world: World) -> None:
    await world.come("ada", caps=("plan",))
    await world.come("bob")


async def sweep(world: World, limit: int = 10) -> base.Swept:
    return await world.get(base.Swept, base.Sweep(limit))


async def test_nothing_is_due_when_nothing_will_be(world: World) -> None:
    await world.send("bob", "ada", "m1")
    assert await sweep(world) == NOTHING


async def test_mail_expires_when_its_time_has_come_held_or_not(world: World) -> None:
    one = await world.send("bob", "ada", "m1", ttl=100)
    two = await world.send("bob", "ada", "m2", ttl=50)
    later = await world.send("bob", "ada", "m3", ttl=500)
    await world.do(world.read("ada", one.seq))
    start = world.now
    assert await sweep(world) == base.Swept((), (), (), start + 50)
    world.now = start + 100
    swept = await sweep(world)
    assert [(name, c.message.seq) for name, c in swept.expired] == [
        ("ada", two.seq),
        ("ada", one.seq),
    ]
    assert swept.next_at == later.accepted_at + 500


async def test_settled_mail_does_not_expire(world: World) -> None:
    sent = await world.send("bob", "ada", "m1", ttl=100)
    await world.do(world.settle("ada", sent.seq))
    world.now += 200
    assert await sweep(world) == NOTHING


async def test_mail_in_a_pool_expires(world: World) -> None:
    await world.go("ada")
    sent = await world.send("bob", "@plan", "m1", ttl=100)
    world.now += 100
    assert [(n, c.message.seq) for n, c in (await sweep(world)).expired] == [("@plan", sent.seq)]


async def test_agents_that_left_longer_ago_than_their_lease_orphan_their_mail(
    world: World,
) -> None:
    await world.send("bob", "@plan", "m1")
    await world.go("ada")
    left = world.now
    world.now += LEASE_MS - 1
    assert await sweep(world) == base.Swept((), (), (), left + LEASE_MS)
    world.now += 1
    assert await sweep(world) == base.Swept((), ("ada",), (), None)
    await world.do(base.Unassign("ada"))
    assert await sweep(world) == NOTHING


async def test_ephemeral_agents_are_ghosts_a_minute_after_they_left(world: World) -> None:
    await world.come("eph", ephemeral=True)
    assert await sweep(world) == NOTHING
    await world.go("eph")
    left = world.now
    assert await sweep(world) == base.Swept((), (), (), left + EPHEMERAL_MS)
    world.now += EPHEMERAL_MS
    assert await sweep(world) == base.Swept((), (), ("eph",), None)
    await world.do(base.Forget("eph", 0))
    assert await sweep(world) == NOTHING


async def test_a_restart_counts_as_leaving(world: World) -> None:
    await world.come("eph", ephemeral=True)
    await world.send("bob", "@plan", "m1")
    await world.restart()
    world.now += 1_000_000  # however long the hub was down
    assert await sweep(world) == base.Swept((), (), (), world.now + LEASE_MS)
    world.now += EPHEMERAL_MS
    assert await sweep(world) == base.Swept((), ("ada",), ("eph",), None)


async def test_no_more_than_the_limit_of_each_kind_and_again_at_once(world: World) -> None:
    for n in range(3):
        await world.send("bob", "ada", f"m{n}", ttl=10)
        await world.come(f"eph{n}", receive=False, ephemeral=True)
    world.now += EPHEMERAL_MS
    swept = await sweep(world, 2)
    assert (len(swept.expired), swept.ghosts) == (2, ("eph0", "eph1"))
    assert swept.next_at == world.now
    assert (await sweep(world, 3)).next_at is None


async def test_pools_that_somebody_online_could_serve_are_named(world: World) -> None:
    await world.go("ada")
    await world.send("bob", "@plan", "m1")
    assert (await sweep(world)).pools == ()
    await world.come("ada")
    assert (await sweep(world)).pools == ("plan",)
    await world.do(base.Assign("plan", 5))
    assert (await sweep(world)).pools == ()


async def test_a_sweep_changes_nothing(world: World) -> None:
    await world.send("bob", "ada", "m1", ttl=10)
    world.now += 10
    assert await sweep(world) == await sweep(world)


async def test_a_sweep_goes_on_behind_what_the_last_one_named(world: World) -> None:
    for n, ttl in enumerate((30, 10, 10, 20, 500)):
        await world.send("bob", "ada", f"m{n}", ttl=ttl)
    world.now += 100
    found: list[str] = []
    after: base.Due | None = None
    pages = 0
    while not pages or after is not None:
        swept = await world.get(base.Swept, base.Sweep(2, after=after))
        found += [copy.message.id for _, copy in swept.expired]
        after = swept.more
        pages += 1
        assert after in (None, (world.now - 90, swept.expired[-1][1].message.seq, "ada"))
    assert (pages, found) == (2, ["m1", "m2", "m3", "m0"])
    assert swept.next_at == world.now + 400
