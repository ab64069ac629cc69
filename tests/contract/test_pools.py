"""Mail for a capability: who gets it, where it waits, how it moves."""

from __future__ import annotations

import pytest

from tests.contract.world import LEASE_MS, World
from trishula_broker.store import base


@pytest.fixture(autouse=True)
async def everybody(world: World) -> None:
    await world.come("ada", caps=("plan",))
    await world.come("bob", caps=("plan",))
    await world.come("zoe")


async def test_it_goes_to_the_one_with_the_least_to_do_by_name_when_equal(world: World) -> None:
    takers = [(await world.send("zoe", "@plan", f"m{n}")).recipients for n in range(4)]
    assert takers == [("ada",), ("bob",), ("ada",), ("bob",)]
    (seq, _) = await world.waiting("bob")
    await world.do(world.settle("bob", seq))
    assert (await world.send("zoe", "@plan", "m4")).recipients == ("bob",)
    (copy, *_) = (await world.fetch("ada")).copies
    assert (copy.via, copy.message.to) == ("plan", "@plan")


async def test_it_never_goes_to_its_sender(world: World) -> None:
    for n in range(3):
        assert (await world.send("ada", "@plan", f"m{n}")).recipients == ("bob",)
    await world.go("bob")
    assert (await world.send("ada", "@plan", "m3")).pool == "plan"


async def test_it_goes_to_agents_that_are_online_only(world: World) -> None:
    await world.go("ada")
    for n in range(3):
        assert (await world.send("zoe", "@plan", f"m{n}")).recipients == ("bob",)


async def test_nobody_online_means_the_pool(world: World) -> None:
    await world.go("ada")
    await world.go("bob")
    accepted = await world.send("zoe", "@plan", "m1")
    assert accepted == base.Accepted(accepted.seq, world.now, (), (), "plan")
    assert list(await world.fate("zoe", "m1")) == ["@plan"]
    peeked = await world.ask(base.Peek("@plan", 5))
    assert (peeked.count, [c.message.id for c in peeked.heads]) == (1, ["m1"])


async def test_a_capability_nobody_ever_offered_is_unknown(world: World) -> None:
    refused = base.Refused("unknown_recipient")
    assert await world.do(world.mail("zoe", "@draw", "m1")) == [refused]


async def test_a_full_taker_refuses_it(world: World) -> None:
    await world.go("bob")
    for n in range(5):
        await world.send("zoe", "@plan", f"m{n}")
    refused = base.Refused("mailbox_full", ("ada",))
    assert await world.do(world.mail("zoe", "@plan", "m5")) == [refused]


async def test_a_pool_is_a_mailbox_with_limits(world: World) -> None:
    await world.go("ada")
    await world.go("bob")
    for n in range(5):
        await world.send("zoe", "@plan", f"m{n}")
    refused = base.Refused("mailbox_full", ("@plan",))
    assert await world.do(world.mail("zoe", "@plan", "m5")) == [refused]


async def test_a_pool_is_handed_out_in_its_order_as_it_would_have_been(world: World) -> None:
    await world.go("ada")
    await world.go("bob")
    seqs = [
        (await world.send("zoe", "@plan", f"m{n}", priority=p)).seq
        for n, p in enumerate((3, 3, 1, 3))
    ]
    await world.come("ada")
    await world.come("bob")
    (assigned,) = await world.do(base.Assign("plan", 3))
    assert [(name, copy.message.seq) for name, copy in assigned.copies] == [
        ("ada", seqs[2]),
        ("bob", seqs[0]),
        ("ada", seqs[1]),
    ]
    assert assigned.more
    assert {copy.via for _, copy in assigned.copies} == {"plan"}
    (assigned,) = await world.do(base.Assign("plan", 3))
    assert [(name, c.message.seq) for name, c in assigned.copies] == [("bob", seqs[3])]
    assert not assigned.more
    assert await world.waiting("ada") == [seqs[2], seqs[1]]
    assert (await world.ask(base.Peek("@plan", 5))).count == 0


async def test_what_only_its_own_sender_could_take_stays(world: World) -> None:
    await world.go("bob")
    await world.send("ada", "@plan", "m1")
    await world.go("ada")
    other = await world.send("zoe", "@plan", "m2")
    await world.come("ada")
    (assigned,) = await world.do(base.Assign("plan", 1))
    assert [copy.message.seq for _, copy in assigned.copies] == [other.seq]
    assert not assigned.more
    assert (await world.ask(base.Peek("@plan", 5))).count == 1


async def test_a_full_mailbox_takes_what_a_pool_had_accepted(world: World) -> None:
    await world.go("ada")
    await world.go("bob")
    for n in range(3):
        await world.send("zoe", "@plan", f"p{n}")
        await world.send("zoe", "ada", f"m{n}")
    await world.come("ada")
    (assigned,) = await world.do(base.Assign("plan", 9))
    assert (len(assigned.copies), assigned.more) == (3, False)
    refused = base.Refused("mailbox_full", ("ada",))
    assert await world.do(world.mail("zoe", "ada", "m3")) == [refused]


async def test_a_pool_nobody_serves_or_knows_hands_out_nothing(world: World) -> None:
    await world.go("ada")
    await world.go("bob")
    await world.send("zoe", "@plan", "m1")
    nothing = base.Assigned((), False)
    assert await world.do(base.Assign("plan", 5), base.Assign("none", 5)) == [nothing, nothing]


async def test_mail_of_an_agent_that_stayed_away_goes_back(world: World) -> None:
    await world.go("bob")
    read = await world.send("zoe", "@plan", "m1")
    unread = await world.send("zoe", "@plan", "m2")
    own = await world.send("zoe", "ada", "m3")
    await world.do(world.read("ada", read.seq))
    await world.go("ada")
    assert await world.do(base.Unassign("ada")) == [
        base.Unassigned(("plan",), (read.seq, unread.seq))
    ]
    await world.come("bob")
    (assigned,) = await world.do(base.Assign("plan", 5))
    assert {(c.message.seq, c.attempts) for _, c in assigned.copies} == {
        (read.seq, 1),
        (unread.seq, 0),
    }
    assert await world.waiting("bob") == [unread.seq]  # the other waits for its next attempt
    assert list(await world.fate("zoe", "m1")) == ["bob"]
    await world.come("ada")
    assert await world.waiting("ada") == [own.seq]
    assert await world.do(world.settle("ada", read.seq)) == [base.Marked((), (read.seq,))]


async def test_an_attempt_that_still_runs_counts_when_its_mail_goes_back(world: World) -> None:
    await world.go("bob")
    sent = await world.send("zoe", "@plan", "m1")
    await world.go("ada")
    await world.do(base.Read("ada", 0, (sent.seq,), LEASE_MS))
    await world.do(base.Unassign("ada"))
    fate = (await world.fate("zoe", "m1"))["@plan"]
    assert (fate.attempts, fate.lease_until, fate.due_at) == (1, None, world.now + 1_000)


async def test_mail_of_an_agent_that_came_back_stays(world: World) -> None:
    sent = await world.send("zoe", "@plan", "m1")
    await world.go("ada")
    await world.come("ada")
    assert await world.do(base.Unassign("ada")) == [base.Unassigned(())]
    assert await world.waiting("ada") == [sent.seq]


async def test_moved_mail_is_seen_by_what_follows_in_the_same_batch(world: World) -> None:
    await world.go("bob")
    sent = await world.send("zoe", "@plan", "m1")
    await world.go("ada")
    _, ended, again = await world.do(
        base.Unassign("ada"),
        world.discard("@plan", sent.seq, "dead"),
        world.discard("ada", sent.seq, "dead"),
    )
    assert (ended, again) == (base.Discarded(True, "dead"), base.Discarded(False))


async def test_mail_in_a_pool_can_end_and_be_retried_there(world: World) -> None:
    await world.go("ada")
    await world.go("bob")
    sent = await world.send("zoe", "@plan", "m1")
    await world.do(world.discard("@plan", sent.seq, "dead"))
    (letter,) = await world.ask(base.DeadLetters("@plan", 0, 5))
    assert letter.agent == "@plan"
    (retried,) = await world.do(base.Retry("@plan", sent.seq))
    assert retried.copy.via == "plan"
    assert (await world.come("ada")).pools == ("plan",)


async def test_nothing_overtakes_what_a_pool_still_holds(world: World) -> None:
    await world.go("ada")
    await world.go("bob")
    seqs = [(await world.send("zoe", "@plan", f"m{n}")).seq for n in range(3)]
    await world.come("ada")
    assigned, accepted = await world.do(
        base.Assign("plan", 2), world.mail("zoe", "@plan", "m3", epoch=0)
    )
    assert assigned.more
    assert (accepted.recipients, accepted.pool, accepted.behind) == ((), "plan", True)
    await world.do(base.Assign("plan", 2))
    assert await world.waiting("ada") == [*seqs, accepted.seq]
    assert (await world.send("zoe", "@plan", "m4")).recipients == ("ada",)


async def test_what_waits_in_a_pool_for_somebody_else_holds_up_nobody(world: World) -> None:
    await world.go("bob")
    await world.go("ada")
    await world.send("ada", "@plan", "m1")
    await world.come("ada")
    assert (await world.send("zoe", "@plan", "m2")).recipients == ("ada",)
    accepted = await world.send("ada", "@plan", "m3")
    assert (accepted.pool, accepted.behind) == ("plan", False)
    await world.come("bob")
    accepted = await world.send("zoe", "@plan", "m4")  # for bob, who has less to do
    assert (accepted.recipients, accepted.behind) == ((), True)
