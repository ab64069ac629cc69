"""Accepting: dedup, recipients, limits, answers that settle."""

from __future__ import annotations

import pytest

from tests.contract.world import World, body
from trishula_broker.store import base


@pytest.fixture(autouse=True)
async def everybody(world: World) -> None:
    for name in ("ada", "bob", "cyd"):
        await world.come(name, groups=("ops",))


async def test_an_accepted_message_is_in_the_log_as_it_was_sent(world: World) -> None:
    accepted = await world.send("ada", "bob", "m1", priority=2, thread="talk", ttl=50)
    assert accepted == base.Accepted(accepted.seq, world.now, ("bob",))
    (copy,) = (await world.fetch("bob")).copies
    assert copy == base.Copy(
        base.Message(
            seq=accepted.seq,
            id="m1",
            sender="ada",
            type="COMMAND",
            to="bob",
            priority=2,
            thread="talk",
            receipt=False,
            accepted_at=world.now,
            expires_at=world.now + 50,
            body=body(),
        ),
        attempts=0,
        deliveries=0,
        via=None,
    )


async def test_seqs_grow_in_the_order_of_acceptance(world: World) -> None:
    outcomes = await world.do(*(world.mail("ada", "bob", f"m{n}") for n in range(5)))
    seqs = [outcome.seq for outcome in outcomes]
    assert seqs == sorted(set(seqs))


async def test_a_thread_that_is_the_own_id_is_none(world: World) -> None:
    await world.send("ada", "bob", "m1", thread="m1")
    (copy,) = (await world.fetch("bob")).copies
    assert copy.message.thread is None


async def test_the_same_id_of_the_same_sender_is_a_duplicate(world: World) -> None:
    first = await world.send("ada", "bob", "m1", size=20)
    assert await world.do(world.mail("ada", "cyd", "m1", size=30)) == [
        base.Duplicate(first.seq, body(20))
    ]
    assert await world.waiting("cyd") == []
    await world.send("bob", "cyd", "m1")  # another sender's id


async def test_a_duplicate_may_come_in_the_same_batch(world: World) -> None:
    mail = world.mail("ada", "bob", "m1")
    first, second, other = await world.do(mail, mail, world.mail("ada", "bob", "m0"))
    assert second == base.Duplicate(first.seq, body())
    assert isinstance(other, base.Accepted)
    assert await world.waiting("bob") == [first.seq, other.seq]


async def test_many_duplicates_among_many_new_ones_are_told_apart(world: World) -> None:
    await world.come("zoe", receive=False)
    seqs: list[int] = []
    for n in range(0, 600, 3):
        outcome = (await world.do(world.mail("ada", "broadcast", f"m{n:04}", size=14)))[0]
        if isinstance(outcome, base.Accepted):
            seqs.append(outcome.seq)
        await world.do(*(world.settle(name, outcome.seq) for name in ("bob", "cyd", "zoe")))
    ops = [world.mail("ada", "ada", f"m{n:04}", size=14) for n in reversed(range(600))]
    outcomes = await world.do(*ops)
    told = {o.seq for o in outcomes if isinstance(o, base.Duplicate)}
    assert told == set(seqs)
    assert sum(isinstance(o, base.Accepted) for o in outcomes) == 5  # the mailbox's limit
    assert sum(isinstance(o, base.Refused) for o in outcomes) == 395


async def test_a_namespace_knows_nothing_of_another(world: World) -> None:
    await world.send("ada", "bob", "m1")
    world.namespace = "other"
    world.epochs.clear()
    assert await world.do(world.mail("ada", "bob", "m1")) == [base.Refused("unknown_recipient")]
    await world.come("bob")
    await world.send("ada", "bob", "m1")
    assert len(await world.waiting("bob")) == 1


async def test_an_unknown_agent_is_refused_and_the_id_is_free(world: World) -> None:
    refused = base.Refused("unknown_recipient")
    assert await world.do(world.mail("ada", "zoe", "m1")) == [refused]
    await world.send("ada", "bob", "m1")


async def test_an_agent_may_write_to_itself(world: World) -> None:
    assert (await world.send("ada", "ada", "m1")).recipients == ("ada",)


async def test_a_broadcast_goes_to_all_but_the_sender_and_ephemeral_agents(world: World) -> None:
    await world.come("eph", ephemeral=True)
    await world.come("off", receive=False)
    assert (await world.send("ada", "broadcast", "m1")).recipients == ("bob", "cyd", "off")


async def test_a_broadcast_that_nobody_hears_is_accepted(world: World) -> None:
    world.namespace = "other"
    await world.come("ada")
    assert (await world.send("ada", "broadcast", "m1")).recipients == ()


async def test_a_group_is_its_members_but_the_sender(world: World) -> None:
    await world.come("eph", ephemeral=True, groups=("ops",))
    await world.come("web", groups=("web",))
    assert (await world.send("ada", "#ops", "m1")).recipients == ("bob", "cyd", "eph")
    refused = base.Refused("unknown_recipient")
    assert await world.do(world.mail("web", "#web", "m2")) == [refused]
    assert await world.do(world.mail("web", "#none", "m2")) == [refused]


async def test_recipients_are_fixed_by_the_accepting_commit(world: World) -> None:
    await world.send("ada", "#ops", "m1")
    await world.come("late", groups=("ops",))
    assert isinstance((await world.do(world.mail("ada", "#ops", "m1")))[0], base.Duplicate)
    assert await world.waiting("late") == []


async def test_the_only_recipient_being_full_refuses_the_message(world: World) -> None:
    for n in range(5):
        await world.send("ada", "bob", f"m{n}")
    refused = base.Refused("mailbox_full", ("bob",))
    assert await world.do(world.mail("ada", "bob", "m5")) == [refused]
    (first, *_) = await world.waiting("bob")
    await world.do(world.settle("bob", first))
    await world.send("ada", "bob", "m5")


async def test_a_mailbox_is_full_by_bytes_too(world: World) -> None:
    await world.send("ada", "bob", "m1", size=600)
    refused = base.Refused("mailbox_full", ("bob",))
    assert await world.do(world.mail("ada", "bob", "m2", size=401)) == [refused]
    await world.send("ada", "bob", "m2", size=400)


async def test_limits_hold_within_a_batch(world: World) -> None:
    outcomes = await world.do(*(world.mail("ada", "bob", f"m{n}") for n in range(7)))
    assert [type(o) for o in outcomes] == [base.Accepted] * 5 + [base.Refused] * 2


async def test_a_full_mailbox_costs_its_own_copy_alone_and_the_sender_is_told(
    world: World,
) -> None:
    for n in range(5):
        await world.send("ada", "bob", f"m{n}")
    told = base.FullNotice("told", b'{"agents":', b"}")
    accepted = await world.send("ada", "#ops", "m5", full_notice=told)
    assert (accepted.recipients, accepted.full) == (("cyd",), ("bob",))
    assert accepted.notice is not None
    (copy,) = (await world.fetch("ada")).copies
    assert copy.message == accepted.notice
    assert copy.message.body == b'{"agents":["bob"]}'
    assert (copy.message.sender, copy.message.id, copy.message.to) == ("hub", "told", "ada")
    assert (copy.message.type, copy.message.priority) == ("ERROR", 3)


async def test_a_fan_out_to_full_mailboxes_alone_is_refused(world: World) -> None:
    for n in range(5):
        await world.send("ada", "#ops", f"m{n}")
    refused = base.Refused("mailbox_full", ("bob", "cyd"))
    assert await world.do(world.mail("ada", "#ops", "m5")) == [refused]


async def test_the_hubs_own_mail_is_outside_limits(world: World) -> None:
    for n in range(6):
        await world.send("hub", "bob", f"h{n}", size=200)
    for n in range(5):
        await world.send("ada", "bob", f"m{n}")
    await world.send("hub", "bob", "h6")
    first, *_ = await world.waiting("bob")
    await world.do(world.settle("bob", first))
    refused = base.Refused("mailbox_full", ("bob",))
    assert await world.do(world.mail("ada", "bob", "m5")) == [refused]


async def test_limits_are_known_after_a_restart(world: World) -> None:
    for n in range(4):
        await world.send("hub", "bob", f"h{n}")
        await world.send("ada", "bob", f"m{n}")
    await world.restart()
    await world.send("ada", "bob", "m4", epoch=0)
    refused = base.Refused("mailbox_full", ("bob",))
    assert await world.do(world.mail("ada", "bob", "m5", epoch=0)) == [refused]


async def test_an_answer_settles_in_the_same_step(world: World) -> None:
    asked = await world.send("ada", "bob", "m1")
    await world.send("bob", "ada", "a1", settles=asked.seq)
    assert await world.waiting("bob") == []
    fate = (await world.fate("ada", "m1"))["bob"]
    assert (fate.outcome, fate.settled_at) == ("done", world.now)


@pytest.mark.parametrize("noted", [False, True], ids=["not noted", "noted before"])
@pytest.mark.parametrize("known", [False, True], ids=["not known", "known"])
@pytest.mark.parametrize("read", [False, True], ids=["not read", "read"])
async def test_an_answer_tells_when_what_it_settles_went_out(
    world: World, noted: bool, known: bool, read: bool
) -> None:
    asked = await world.send("ada", "bob", "m1")
    went_out = world.now + 1
    if noted:
        await world.do(base.Delivered("bob", world.epochs["bob"], ((asked.seq, went_out),)))
    if read:
        await world.do(world.read("bob", asked.seq))
    at = went_out + 1 if known else None
    read_at = world.now if read else None
    world.now += 10
    await world.send("bob", "ada", "a1", settles=asked.seq, delivered_at=at)
    for _ in range(2):
        fate = (await world.fate("ada", "m1"))["bob"]
        assert fate.delivered_at == (at or (went_out if noted else None))
        assert (fate.read_at, fate.outcome, fate.settled_at) == (read_at, "done", world.now)
        await world.restart()


async def test_a_late_answer_does_not_change_when_it_went_out(world: World) -> None:
    asked = await world.send("ada", "bob", "m1")
    await world.do(world.settle("bob", asked.seq, at=world.now + 1))
    await world.send("bob", "ada", "a1", settles=asked.seq, delivered_at=world.now + 2)
    assert (await world.fate("ada", "m1"))["bob"].delivered_at == world.now + 1


async def test_an_answer_may_settle_what_is_done_already(world: World) -> None:
    asked = await world.send("ada", "bob", "m1")
    await world.do(world.settle("bob", asked.seq))
    await world.send("bob", "ada", "a1", settles=asked.seq)


async def test_an_answer_that_cannot_settle_is_not_stored(world: World) -> None:
    other = await world.send("ada", "cyd", "m1")
    ended = await world.send("ada", "bob", "m2")
    await world.do(world.discard("bob", ended.seq, "dead"))
    for seq in (other.seq, ended.seq, 999):
        refused = base.Refused("stale_ack")
        assert await world.do(world.mail("bob", "ada", "a1", settles=seq)) == [refused]
    assert await world.waiting("ada") == []
    await world.send("bob", "ada", "a1")


async def test_an_answer_that_is_refused_settles_nothing(world: World) -> None:
    asked = await world.send("ada", "bob", "m1")
    await world.do(world.mail("bob", "zoe", "a1", settles=asked.seq))
    assert await world.waiting("bob") == [asked.seq]


async def test_a_duplicate_that_settles_changes_nothing(world: World) -> None:
    await world.send("bob", "ada", "a1")
    asked = await world.send("ada", "bob", "m1")
    again = world.mail("bob", "ada", "a1", settles=asked.seq)
    assert isinstance((await world.do(again))[0], base.Duplicate)
    assert await world.waiting("bob") == [asked.seq]


async def test_an_answer_cannot_settle_what_the_same_batch_brings(world: World) -> None:
    """A seq can be guessed; the operations still see one another in their order."""
    last = (await world.send("ada", "cyd", "m0")).seq
    sent, answered = await world.do(
        world.mail("ada", "bob", "m1"), world.mail("bob", "ada", "a1", settles=last + 1)
    )
    assert sent.seq == last + 1
    assert isinstance(answered, base.Accepted)
    assert await world.waiting("bob") == []


async def test_a_seq_named_before_it_was_there_is_found_once_it_is(world: World) -> None:
    last = (await world.send("ada", "cyd", "m0")).seq
    stale, sent, settled = await world.do(
        world.mail("bob", "ada", "a1", settles=last + 1),
        world.mail("ada", "broadcast", "m1"),
        world.settle("bob", last + 1),
    )
    assert stale == base.Refused("stale_ack")
    assert (sent.seq, settled) == (last + 1, base.Marked((last + 1,), ()))
    assert await world.waiting("bob") == []


async def test_a_duplicate_is_known_whatever_the_batch_did_before(world: World) -> None:
    first = await world.send("ada", "bob", "m1")
    read, again = await world.do(
        world.read("bob", first.seq, want=True), world.mail("ada", "bob", "m1")
    )
    assert (len(read.copies), again) == (1, base.Duplicate(first.seq, body()))


async def test_an_answer_finds_room_with_whoever_asked(world: World) -> None:
    asked = [(await world.send("ada", "bob", f"q{n}")).seq for n in range(2)]
    for n in range(5):
        await world.send("cyd", "ada", f"m{n}")
    refused = base.Refused("mailbox_full", ("ada",))
    assert await world.do(world.mail("bob", "ada", "x1")) == [refused]
    assert (await world.send("bob", "ada", "a1", settles=asked[0])).recipients == ("ada",)
    # What was answered makes no more room, nor what somebody else asked.
    assert await world.do(world.mail("bob", "ada", "a2", settles=asked[0])) == [refused]
    other = await world.send("cyd", "bob", "q2")
    assert await world.do(world.mail("bob", "ada", "a3", settles=other.seq)) == [refused]
    assert await world.waiting("bob") == [asked[1], other.seq]
    # Asked and answered in one batch.
    _, answered = await world.do(
        world.mail("ada", "bob", "q3"), world.mail("bob", "ada", "a4", settles=other.seq + 1)
    )
    assert isinstance(answered, base.Accepted)


async def test_two_that_wait_for_each_others_answers_are_not_stuck(world: World) -> None:
    to_bob = [(await world.send("ada", "bob", f"m{n}")).seq for n in range(5)]
    to_ada = [(await world.send("bob", "ada", f"m{n}")).seq for n in range(5)]
    for one, two in zip(to_bob, to_ada, strict=True):
        await world.send("bob", "ada", f"a{one}", settles=one)
        await world.send("ada", "bob", f"a{two}", settles=two)
    assert len(await world.waiting("ada")) == len(await world.waiting("bob")) == 5


async def test_the_hub_itself_may_send_to_an_agent_or_a_group(world: World) -> None:
    await world.come("ada", groups=("duty",))
    await world.come("bob", groups=("duty",))
    one = await world.send("hub", "ada", "alert.1", epoch=0)
    both = await world.send("hub", "#duty", "alert.2", epoch=0)
    assert (one.recipients, set(both.recipients)) == (("ada",), {"ada", "bob"})
    assert await world.waiting("ada") == [one.seq, both.seq]
    [again] = await world.do(world.mail("hub", "ada", "alert.1", epoch=0))
    assert isinstance(again, base.Duplicate)
    assert again.seq == one.seq
    for to in ("nobody", "#none"):
        assert await world.do(world.mail("hub", to, "alert.3", epoch=0)) == [
            base.Refused("unknown_recipient")
        ]
    assert await world.do(world.settle("ada", one.seq)) == [base.Marked((one.seq,), ())]
    for n in range(10):  # no limit of a mailbox is for it
        await world.send("hub", "bob", f"more.{n}", epoch=0, size=500)
