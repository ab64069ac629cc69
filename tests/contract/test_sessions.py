"""Registering, leaving, epochs and fencing, and what the directory says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.world import LEASE_MS, World
from trishula_broker.store import base
from trishula_protocol.address import parse_address
from trishula_protocol.limits import EPHEMERAL_MS


async def test_each_registration_has_a_larger_epoch(world: World) -> None:
    first = await world.come("ada")
    second = await world.come("bob")
    third = await world.come("ada")
    assert 0 < first.epoch < second.epoch < third.epoch


async def test_epochs_grow_over_namespaces_and_restarts(world: World) -> None:
    first = await world.come("ada")
    world.namespace = "other"
    second = await world.come("ada")
    await world.restart()
    third = await world.come("ada")
    assert first.epoch < second.epoch < third.epoch


async def test_a_side_session_changes_nobodys_presence(world: World) -> None:
    await world.come("ada", node="n1")
    before = await world.agent("ada")
    world.now += 5
    side = await world.come("ada", receive=False, ephemeral=True, node="n2", lease_ms=1)
    assert side.epoch == 0
    assert await world.agent("ada") == before


async def test_a_side_session_makes_an_agent_known(world: World) -> None:
    await world.come("ada", receive=False)
    record = await world.agent("ada")
    assert (record.online, record.epoch, record.since) == (False, 0, world.now)


async def test_a_side_session_that_stays_keeps_who_was_ephemeral(world: World) -> None:
    await world.come("ada", receive=False, ephemeral=True)
    await world.come("bob")
    await world.come("ada", receive=False)  # it sends now, and waits for answers
    assert (await world.send("bob", "broadcast", "m1")).recipients == ("ada",)
    await world.restart()
    world.now += EPHEMERAL_MS
    assert (await world.get(base.Swept, base.Sweep(100))).ghosts == ()
    assert not (await world.agent("ada")).ephemeral


async def test_capabilities_and_groups_replace_what_was_known_and_none_keeps_it(
    world: World,
) -> None:
    first = await world.come("ada", caps=("test", "plan"), groups=("web", "ops"))
    assert (first.capabilities, first.groups) == (("plan", "test"), ("ops", "web"))
    kept = await world.come("ada")
    assert (kept.capabilities, kept.groups) == (("plan", "test"), ("ops", "web"))
    replaced = await world.come("ada", caps=("draw",), groups=())
    assert (replaced.capabilities, replaced.groups) == (("draw",), ())
    assert await world.ask(base.Agents(capability="plan")) == ()
    assert [r.id for r in await world.ask(base.Agents(capability="draw"))] == ["ada"]


async def test_a_capability_stays_an_address_when_nobody_offers_it(world: World) -> None:
    await world.come("ada", caps=("plan",))
    await world.come("ada", caps=())
    await world.come("bob")
    assert (await world.send("bob", "@plan", "m1")).pool == "plan"


async def test_registering_tells_which_pools_wait(world: World) -> None:
    await world.come("ada", caps=("plan", "test"))
    await world.go("ada")
    await world.come("bob")
    await world.send("bob", "@plan", "m1")
    assert (await world.come("ada")).pools == ("plan",)


async def test_leaving_makes_an_agent_offline_and_its_epoch_void(world: World) -> None:
    await world.come("ada")
    world.now += 7
    await world.go("ada")
    record = await world.agent("ada")
    assert (record.online, record.epoch, record.since) == (False, 0, world.now)


async def test_leaving_counts_a_delivery_of_what_was_not_read(world: World) -> None:
    await world.come("ada")
    await world.come("bob")
    one = await world.send("bob", "ada", "m1")
    two = await world.send("bob", "ada", "m2")
    await world.go("ada", one.seq, one.seq, 999)
    await world.come("ada")
    found = (await world.fetch("ada")).copies
    assert [(c.message.seq, c.attempts, c.deliveries) for c in found] == [
        (one.seq, 0, 1),
        (two.seq, 0, 0),
    ]


async def test_leaving_and_being_taken_over_end_attempts_that_were_read(world: World) -> None:
    await world.come("ada")
    await world.come("bob")
    sent = await world.send("bob", "ada", "m1")
    await world.do(world.read("ada", sent.seq))
    await world.go("ada", sent.seq)
    fate = (await world.fate("bob", "m1"))["ada"]
    assert (fate.attempts, fate.deliveries, fate.lease_until) == (1, 0, None)
    assert fate.due_at == world.now + 1_000
    await world.come("ada")
    await world.do(world.read("ada", sent.seq))  # taken up again: the attempt had not ended
    await world.come("ada")
    fate = (await world.fate("bob", "m1"))["ada"]
    assert (fate.attempts, fate.lease_until, fate.due_at) == (1, None, world.now + 1_000)


async def test_leaving_tells_when_a_sweep_has_work(world: World) -> None:
    await world.come("ada", caps=("plan",))
    await world.come("bob")
    assert (await world.go("ada")).sweep_at is None
    await world.come("ada")
    await world.send("bob", "@plan", "m1")
    assert (await world.go("ada")).sweep_at == world.now + LEASE_MS
    await world.come("cyd", ephemeral=True)
    assert (await world.go("cyd")).sweep_at == world.now + EPHEMERAL_MS


async def test_updating_changes_what_is_given(world: World) -> None:
    await world.come("ada", groups=("ops",))
    epoch = world.epochs["ada"]
    (joined,) = await world.do(base.Update("ada", epoch, '{"text":"hi"}', "web", None))
    assert joined == base.Updated(("ops", "web"))
    (left,) = await world.do(base.Update("ada", epoch, None, None, "ops"))
    assert left == base.Updated(("web",))
    record = await world.agent("ada")
    assert (record.groups, record.status) == (("web",), '{"text":"hi"}')


async def test_forgetting_is_refused_while_mail_waits(world: World) -> None:
    await world.come("ada")
    await world.come("bob")
    sent = await world.send("bob", "ada", "m1")
    epoch = world.epochs["ada"]
    assert await world.do(base.Forget("ada", epoch)) == [base.Forgotten(1)]
    await world.do(world.settle("ada", sent.seq))
    assert await world.do(base.Forget("ada", epoch)) == [base.Forgotten(0)]
    assert await world.ask(base.Agents(id="ada")) == ()
    assert await world.do(world.mail("bob", "ada", "m2")) == [base.Refused("unknown_recipient")]


async def test_nobody_forgets_an_agent_that_is_online_but_itself(world: World) -> None:
    registered = await world.come("ada")
    assert await world.do(base.Forget("ada", 0)) == [base.Fenced(registered.epoch)]
    await world.go("ada")
    assert await world.do(base.Forget("ada", 0)) == [base.Forgotten(0)]


async def test_the_log_of_a_forgotten_agent_stays_and_nothing_else(world: World) -> None:
    await world.come("ada", caps=("plan",), groups=("ops",))
    await world.come("bob")
    await world.send("ada", "bob", "m1")
    await world.do(base.Forget("ada", world.epochs.pop("ada")))
    assert [m.id for m in await world.ask(base.History("bob", None, 0, 9))] == ["m1"]
    again = await world.come("ada")
    assert (again.capabilities, again.groups) == ((), ())
    assert isinstance((await world.do(world.mail("ada", "bob", "m1")))[0], base.Duplicate)


async def test_the_directory_is_filtered_and_sorted(world: World) -> None:
    await world.come("cyd", caps=("plan",), groups=("ops",))
    await world.come("ada", caps=("plan",))
    await world.come("bob", groups=("ops",))
    await world.go("bob")

    async def names(**filters: object) -> list[str]:
        return [r.id for r in await world.ask(base.Agents(**filters))]  # type: ignore[arg-type]

    assert await names() == ["ada", "bob", "cyd"]
    assert await names(capability="plan") == ["ada", "cyd"]
    assert await names(group="ops") == ["bob", "cyd"]
    assert await names(online=False) == ["bob"]
    assert await names(id="cyd", online=False) == []
    assert await names(id="zoe") == []


async def test_the_directory_counts_what_is_unsettled(world: World) -> None:
    await world.come("ada")
    await world.come("bob")
    one = await world.send("bob", "ada", "m1", size=20)
    await world.send("bob", "ada", "m2", size=30)
    record = await world.agent("ada")
    assert record.unsettled == 2
    await world.do(world.settle("ada", one.seq))
    record = await world.agent("ada")
    assert record.unsettled == 1


async def test_everyone_is_offline_after_opening_and_attempts_have_ended(world: World) -> None:
    await world.come("ada")
    await world.come("bob")
    sent = await world.send("bob", "ada", "m1")
    await world.do(world.read("ada", sent.seq))
    await world.restart()
    assert not (await world.agent("ada")).online
    world.now += 500
    assert await world.do(world.settle("ada", sent.seq)) == [base.Fenced(0)]
    assert (await world.agent("ada")).since == world.now
    fate = (await world.fate("bob", "m1"))["ada"]
    assert (fate.attempts, fate.lease_until) == (1, None)
    assert fate.due_at == world.now + 1_000


async def test_all_is_there_after_a_restart(world: World) -> None:
    await world.come("ada", caps=("plan",), groups=("ops",))
    await world.come("bob")
    sent = await world.send("bob", "ada", "m1", priority=2, ttl=9_000, thread="talk")
    before = await world.fetch("ada")
    await world.restart()
    await world.come("ada")
    assert await world.fetch("ada") == before
    record = await world.agent("ada")
    assert (record.capabilities, record.groups, record.unsettled) == (("plan",), ("ops",), 1)
    assert isinstance((await world.do(world.mail("bob", "ada", "m1", epoch=0)))[0], base.Duplicate)
    assert (await world.send("ada", "bob", "m2")).seq > sent.seq


FENCED: list[tuple[str, Callable[[int], base.Operation]]] = [
    ("leave", lambda epoch: base.Leave("ada", epoch, (1,))),
    ("update", lambda epoch: base.Update("ada", epoch, '{"text":""}', "web", None)),
    ("forget", lambda epoch: base.Forget("ada", epoch)),
    ("fetch", lambda epoch: base.Fetch("ada", epoch, None, 10, 1_000)),
    ("delivered", lambda epoch: base.Delivered("ada", epoch, ((1, 5),))),
    ("read", lambda epoch: base.Read("ada", epoch, (1,), 1_000)),
    ("settle", lambda epoch: base.Settle("ada", epoch, (1,), (None,))),
    ("requeue", lambda epoch: base.Requeue("ada", epoch, (1,))),
    ("discard", lambda epoch: base.Discard("ada", epoch, 1, "rejected", "", None)),
    (
        "accept",
        lambda epoch: base.Accept(
            "ada", epoch, parse_address("bob"), "m9", "STATUS", 3, None, None, False, None, b"{}"
        ),
    ),
]


@pytest.mark.parametrize("op", [op for _, op in FENCED], ids=[name for name, _ in FENCED])
@pytest.mark.parametrize("state", ["taken over", "left", "forgotten", "never known"])
async def test_an_operation_of_an_older_session_changes_nothing(
    world: World, op: Callable[[int], base.Operation], state: str
) -> None:
    await world.come("bob")
    old, current = 77, 0
    if state != "never known":
        old = (await world.come("ada")).epoch
        await world.send("bob", "ada", "m1")
    if state == "taken over":
        current = (await world.come("ada")).epoch
    elif state == "left":
        await world.go("ada")
    elif state == "forgotten":
        (seq,) = await world.waiting("ada")
        await world.do(world.settle("ada", seq), base.Forget("ada", old))

    async def all_there_is() -> list[object]:
        return [
            await world.ask(base.Agents()),
            await world.ask(base.Trace("bob", "m1")),
            await world.ask(base.Peek("ada", 9)),
            await world.ask(base.History("bob", None, 0, 9)),
        ]

    before = await all_there_is()
    assert await world.do(op(old)) == [base.Fenced(current)]
    assert await all_there_is() == before


async def test_being_taken_over_counts_a_delivery_of_what_was_not_read(world: World) -> None:
    first = await world.come("ada")
    await world.come("bob")
    one, two, done = [await world.send("bob", "ada", f"m{n}") for n in range(3)]
    await world.do(world.read("ada", two.seq), world.settle("ada", done.seq))
    takes_over = base.Register(
        "ada", "n1", "s", True, False, LEASE_MS, None, None,
        replaces=first.epoch, unread=(one.seq, one.seq, two.seq, done.seq, 999),
    )  # fmt: skip
    await world.do(takes_over)
    fates = [(await world.fate("bob", f"m{n}"))["ada"] for n in range(3)]
    assert [(fate.deliveries, fate.attempts) for fate in fates] == [(1, 0), (0, 1), (0, 0)]
    await world.do(takes_over)  # that session was replaced before
    assert (await world.fate("bob", "m0"))["ada"].deliveries == 1
