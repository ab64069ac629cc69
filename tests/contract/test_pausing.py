"""An agent whose deliveries an operator has stopped."""

from __future__ import annotations

import pytest

from tests.contract.world import World
from trishula_broker.store import base


@pytest.fixture(autouse=True)
async def everybody(world: World) -> None:
    await world.come("ada", caps=("plan",))
    await world.come("bob", caps=("plan",))
    await world.come("zoe")


NOTHING = base.Fetched((), False, None, paused=True)


async def goes_on(world: World, agent: str, limit: int = 200, again: bool = False) -> base.Paused:
    return await world.get(base.Paused, base.Pause(agent, False, "", limit, again))


def taken(outcome: base.Paused) -> list[tuple[str, int]]:
    return [(name, copy.message.seq) for name, copy in outcome.copies]


async def test_nothing_of_a_paused_agent_is_handed_out_and_all_of_it_afterwards(
    world: World,
) -> None:
    first = await world.send("zoe", "ada", "m1")
    assert await world.do(base.Pause("ada", True, "audit")) == [base.Paused(True)]
    second = await world.send("zoe", "ada", "m2", priority=1)
    assert await world.fetch("ada") == NOTHING
    assert (await world.agent("ada")).unsettled == 2
    assert await world.do(base.Pause("ada", False)) == [base.Paused(True)]
    assert await world.waiting("ada") == [second.seq, first.seq]


async def test_the_directory_tells_why_an_agent_is_paused(world: World) -> None:
    assert (await world.agent("ada")).paused is None
    await world.do(base.Pause("ada", True))
    assert (await world.agent("ada")).paused == ""
    await world.do(base.Pause("ada", True, "höchste Zeit"))
    assert (await world.agent("ada")).paused == "höchste Zeit"
    assert (await world.agent("bob")).paused is None
    await world.do(base.Pause("ada", False))
    assert (await world.agent("ada")).paused is None


async def test_a_paused_agent_is_found_by_what_it_offers(world: World) -> None:
    await world.do(base.Pause("ada", True))
    for online in (None, True):
        found = await world.ask(base.Agents(capability="plan", online=online))
        assert [record.id for record in found] == ["ada", "bob"]


async def test_it_lasts_over_sessions_and_restarts(world: World) -> None:
    await world.send("zoe", "ada", "m1")
    await world.do(base.Pause("ada", True, "why"))
    await world.come("ada", node="n2")
    assert await world.fetch("ada") == NOTHING
    await world.go("ada")
    await world.restart()
    await world.come("ada", caps=("plan",))
    assert await world.fetch("ada") == NOTHING
    assert (await world.agent("ada")).paused == "why"


async def test_pausing_or_going_on_twice_is_a_success(world: World) -> None:
    for on in (True, True, False, False):
        assert await world.do(base.Pause("ada", on)) == [base.Paused(True)]
    assert await world.waiting("ada") == []


async def test_who_is_not_known_is_not_paused(world: World) -> None:
    for name in ("nobody", "@plan", "hub"):
        assert await world.do(base.Pause(name, True)) == [base.Paused(False)]
    assert await world.ask(base.Agents(id="nobody")) == ()


async def test_what_it_holds_is_read_settled_and_ended_as_ever(world: World) -> None:
    seqs = [(await world.send("zoe", "ada", f"m{n}")).seq for n in range(3)]
    await world.do(base.Pause("ada", True))
    assert await world.do(world.read("ada", *seqs)) == [base.Marked(tuple(seqs), ())]
    assert await world.do(world.settle("ada", seqs[0])) == [base.Marked((seqs[0],), ())]
    answer = await world.send("ada", "zoe", "r1", settles=seqs[1])
    assert answer.recipients == ("zoe",)
    (requeued,) = await world.do(world.requeue("ada", seqs[2]))
    assert [seq for seq, _, _ in requeued.copies] == [seqs[2]]
    assert (await world.agent("ada")).unsettled == 1


async def test_its_mail_expires_as_ever(world: World) -> None:
    sent = await world.send("zoe", "ada", "m1", ttl=10)
    await world.do(base.Pause("ada", True))
    world.now += 10
    swept = await world.get(base.Swept, base.Sweep(10))
    assert [(name, copy.message.seq) for name, copy in swept.expired] == [("ada", sent.seq)]


async def test_mail_for_a_capability_goes_to_others(world: World) -> None:
    await world.do(base.Pause("ada", True))
    for n in range(3):
        assert (await world.send("zoe", "@plan", f"m{n}")).recipients == ("bob",)


async def test_mail_for_a_capability_waits_for_who_goes_on(world: World) -> None:
    await world.go("bob")
    await world.do(base.Pause("ada", True))
    sent = await world.send("zoe", "@plan", "m1")
    assert (sent.recipients, sent.pool, sent.behind) == ((), "plan", False)
    assert await world.do(base.Assign("plan", 9)) == [base.Assigned((), False)]
    assert (await world.get(base.Swept, base.Sweep(10))).pools == ()
    later = await world.send("zoe", "ada", "m2")
    assert await world.fetch("ada") == NOTHING
    assert taken(await goes_on(world, "ada")) == [("ada", sent.seq)]
    assert await world.waiting("ada") == [sent.seq, later.seq]
    assert (await world.get(base.Swept, base.Sweep(10))).pools == ()


async def test_more_than_its_limit_is_handed_out_before_it_goes_on(world: World) -> None:
    await world.come("ada", caps=("plan", "test"))
    await world.go("bob")
    await world.do(base.Pause("ada", True, "why"))
    seqs = [
        (await world.send("zoe", to, f"m{n}")).seq
        for n, to in enumerate(("@test", "@plan", "ada", "@plan", "@test"))
    ]
    first = await goes_on(world, "ada", limit=3)
    assert taken(first) == [("ada", seqs[n]) for n in (1, 3, 0)]
    assert (first.more, (await world.agent("ada")).paused) == (True, "why")
    assert await world.fetch("ada") == NOTHING
    late = await world.send("zoe", "@plan", "late")
    assert late.pool == "plan"
    second = await goes_on(world, "ada", limit=3, again=True)
    assert (taken(second), second.more) == ([("ada", late.seq), ("ada", seqs[4])], False)
    assert await world.waiting("ada") == [*seqs, late.seq]
    assert (await world.agent("ada")).paused is None


async def test_who_goes_on_little_by_little_is_overtaken_by_a_pause(world: World) -> None:
    await world.go("bob")
    await world.do(base.Pause("ada", True))
    seqs = [(await world.send("zoe", "@plan", f"m{n}")).seq for n in range(3)]
    assert (await goes_on(world, "ada", limit=1)).more
    await world.do(base.Pause("ada", True, "no"))
    overtaken = base.Paused(True, overtaken=True)
    assert await goes_on(world, "ada", limit=9, again=True) == overtaken
    assert await world.fetch("ada") == NOTHING
    assert (await world.agent("ada")).paused == "no"
    assert taken(await goes_on(world, "ada", limit=9)) == [("ada", seq) for seq in seqs[1:]]
    assert await goes_on(world, "ada", again=True) == base.Paused(True)  # it has gone on
    assert await world.waiting("ada") == seqs


async def test_who_was_forgotten_does_not_go_on_little_by_little(world: World) -> None:
    await world.go("bob")
    await world.do(base.Pause("ada", True))
    for n in range(2):
        await world.send("zoe", "@plan", f"m{n}")
    assert (await goes_on(world, "ada", limit=1)).more
    await world.do(world.settle("ada", 1), base.Forget("ada", world.epochs["ada"]))
    await world.come("ada", caps=("plan",))
    await world.do(base.Pause("ada", True))
    assert (await goes_on(world, "ada", again=True)).overtaken


async def test_who_goes_on_little_by_little_begins_again_after_a_restart(world: World) -> None:
    await world.go("bob")
    await world.do(base.Pause("ada", True))
    seqs = [(await world.send("zoe", "@plan", f"m{n}")).seq for n in range(3)]
    assert (await goes_on(world, "ada", limit=1)).more
    await world.restart()
    await world.come("ada")
    assert (await goes_on(world, "ada", again=True)).overtaken
    assert taken(await goes_on(world, "ada")) == [("ada", seq) for seq in seqs[1:]]


async def test_what_others_can_take_goes_to_who_has_the_least_to_do(world: World) -> None:
    for name in ("ada", "bob"):
        await world.do(base.Pause(name, True))
    seqs = [(await world.send("zoe", "@plan", f"m{n}")).seq for n in range(2)]
    own = await world.send("ada", "@plan", "m3")
    await world.send("zoe", "ada", "m4")
    (one,) = await world.do(base.Pause("ada", False, limit=1))
    assert (taken(one), one.more) == ([("ada", seqs[0])], True)
    (two,) = await world.do(base.Pause("bob", False))
    assert taken(two) == [("bob", seqs[1]), ("bob", own.seq)]
    assert await goes_on(world, "ada", again=True) == base.Paused(True)


async def test_what_was_assigned_by_it_is_in_the_trail(world: World) -> None:
    await world.go("bob")
    await world.do(base.Pause("ada", True), base.Archive("n1", 0))
    sent = await world.send("zoe", "@plan", "m1")
    await goes_on(world, "ada")
    (*_, entry) = await world.ask(base.Trail(0, 9))
    ((op, outcome),) = entry.done
    assert op == base.Pause("ada", False)
    assert taken(outcome) == [("ada", sent.seq)]
    assert [copy.message.body for _, copy in outcome.copies] == [b""]


async def test_a_paused_agent_that_comes_back_is_given_nothing_for_its_capability(
    world: World,
) -> None:
    await world.go("bob")
    await world.do(base.Pause("ada", True))
    await world.come("ada", caps=("plan", "test"), node="n2")
    sent = [await world.send("zoe", to, to) for to in ("@plan", "@test")]
    assert [each.pool for each in sent] == ["plan", "test"]
    assert await world.waiting("ada") == []
    assert taken(await goes_on(world, "ada")) == [("ada", each.seq) for each in sent]


async def test_one_that_is_away_goes_on_when_it_comes_back(world: World) -> None:
    await world.do(base.Pause("ada", True))
    await world.go("ada")
    sent = await world.send("zoe", "ada", "m1")
    assert await world.do(base.Pause("ada", False)) == [base.Paused(True)]
    await world.come("ada")
    assert await world.waiting("ada") == [sent.seq]
    assert (await world.send("zoe", "@plan", "m2")).recipients == ("bob",)


async def test_who_was_forgotten_comes_back_unpaused(world: World) -> None:
    await world.do(base.Pause("ada", True))
    await world.do(base.Forget("ada", world.epochs["ada"]))
    await world.come("ada", caps=("plan",))
    assert (await world.agent("ada")).paused is None
    sent = await world.send("zoe", "ada", "m1")
    assert await world.waiting("ada") == [sent.seq]


async def test_pausing_is_of_one_namespace(world: World) -> None:
    await world.do(base.Pause("ada", True))
    world.namespace = "other"
    await world.come("ada")
    await world.come("zoe")
    sent = await world.send("zoe", "ada", "m1")
    assert await world.waiting("ada") == [sent.seq]
