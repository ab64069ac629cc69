"""Copies that end otherwise than by being done, dead letters, and the hub's own mail."""

from __future__ import annotations

import pytest

from tests.contract.world import World
from trishula_broker.store import base


@pytest.fixture(autouse=True)
async def everybody(world: World) -> None:
    await world.come("ada")
    await world.come("bob")


def told(to: str = "ada", id_: str = "told") -> base.Notice:
    return base.Notice(to, id_, "m1", b'{"code":"undeliverable"}')


@pytest.mark.parametrize("outcome", ["rejected", "dead", "recalled"])
async def test_a_copy_ends_and_its_sender_is_told_in_one_step(
    world: World, outcome: base.Settled
) -> None:
    sent = await world.send("ada", "bob", "m1")
    (done,) = await world.do(world.discard("bob", sent.seq, outcome, told()))
    assert (done.done, done.current) == (True, outcome)
    assert await world.waiting("bob") == []
    (copy,) = (await world.fetch("ada")).copies
    assert copy.message == done.notice
    assert copy.message == base.Message(
        seq=copy.message.seq,
        id="told",
        sender="hub",
        type="ERROR",
        to="ada",
        priority=3,
        thread="m1",
        receipt=False,
        accepted_at=world.now,
        expires_at=None,
        body=told().body,
    )
    fate = (await world.fate("ada", "m1"))["bob"]
    assert (fate.outcome, fate.reason, fate.settled_at) == (outcome, "because", world.now)


async def test_ending_again_the_same_way_succeeds_and_tells_nobody(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.discard("bob", sent.seq, "rejected", told()))
    again = world.discard("bob", sent.seq, "rejected", told(id_="told2"))
    assert await world.do(again) == [base.Discarded(True, "rejected", None, again=True)]
    assert len(await world.waiting("ada")) == 1


async def test_what_ended_otherwise_stays_so(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.settle("bob", sent.seq))
    ended = world.discard("bob", sent.seq, "dead", told())
    assert await world.do(ended) == [base.Discarded(False, "done", None)]
    assert await world.waiting("ada") == []


async def test_what_is_not_there_cannot_end(world: World) -> None:
    outcomes = await world.do(
        world.discard("bob", 999, "dead", told()), world.discard("zoe", 1, "dead", told())
    )
    assert outcomes == [base.Discarded(False)] * 2


async def test_what_was_ever_read_can_be_spared(world: World) -> None:
    one = await world.send("ada", "bob", "m1")
    two = await world.send("ada", "bob", "m2")
    await world.do(world.read("bob", one.seq), world.requeue("bob", one.seq))
    outcomes = await world.do(
        world.discard("bob", one.seq, "recalled", unread_only=True),
        world.discard("bob", two.seq, "recalled", unread_only=True),
    )
    assert outcomes == [base.Discarded(False, None), base.Discarded(True, "recalled")]


async def test_expired_spares_what_has_time_left(world: World) -> None:
    one = await world.send("ada", "bob", "m1", ttl=10)
    two = await world.send("ada", "bob", "m2")
    early = base.Discarded(False, None)
    assert await world.do(world.discard("bob", one.seq, "expired")) == [early]
    world.now += 10
    outcomes = await world.do(
        world.discard("bob", one.seq, "expired"), world.discard("bob", two.seq, "expired")
    )
    assert outcomes == [base.Discarded(True, "expired"), early]


async def test_mail_from_the_hub_is_not_posted_twice(world: World) -> None:
    one = await world.send("ada", "bob", "m1")
    two = await world.send("ada", "bob", "m2")
    first, second = await world.do(
        world.discard("bob", one.seq, "dead", told()),
        world.discard("bob", two.seq, "dead", told()),
    )
    assert first.notice is not None
    assert second == base.Discarded(True, "dead", None)


async def test_mail_from_the_hub_to_nobody_is_nothing(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    ended = world.discard("bob", sent.seq, "dead", told("zoe"))
    assert await world.do(ended) == [base.Discarded(True, "dead", None)]


async def test_mail_from_the_hub_is_kept_until_settled(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.discard("bob", sent.seq, "dead", told()))
    await world.restart()
    await world.come("ada")
    (seq,) = await world.waiting("ada")
    assert await world.do(world.settle("ada", seq)) == [base.Marked((seq,), ())]


async def test_dead_letters_are_listed_by_seq(world: World) -> None:
    await world.come("cyd")
    one = await world.send("ada", "bob", "m1")
    two = await world.send("ada", "cyd", "m2")
    three = await world.send("ada", "bob", "m3")
    four = await world.send("ada", "bob", "m4")
    await world.do(
        world.requeue("bob", three.seq),
        world.discard("bob", three.seq, "dead"),
        world.discard("cyd", two.seq, "rejected"),
        world.discard("bob", one.seq, "rejected"),
        world.discard("bob", four.seq, "recalled"),
    )

    async def letters(agent: str | None, after: int = 0, limit: int = 9) -> list[int]:
        found = await world.ask(base.DeadLetters(agent, after, limit))
        return [letter.copy.message.seq for letter in found]

    assert await letters(None) == [one.seq, two.seq, three.seq]
    assert await letters(None, after=one.seq, limit=1) == [two.seq]
    assert await letters("bob") == [one.seq, three.seq]
    assert await letters("bob", after=one.seq) == [three.seq]
    assert await letters("zoe") == []
    world.namespace = "other"
    assert await letters(None) == []
    world.namespace = "default"
    (letter,) = await world.ask(base.DeadLetters("bob", one.seq, 9))
    assert (letter.agent, letter.outcome, letter.reason) == ("bob", "dead", "because")
    assert (letter.settled_at, letter.copy.attempts) == (world.now, 1)


async def test_a_retried_dead_letter_waits_as_if_it_were_new(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.go("bob", sent.seq)
    await world.come("bob")
    await world.do(world.requeue("bob", sent.seq), world.discard("bob", sent.seq, "dead"))
    (retried,) = await world.do(base.Retry("bob", sent.seq))
    assert (retried.copy.attempts, retried.copy.deliveries) == (0, 0)
    assert (await world.fetch("bob")).copies == (retried.copy,)
    assert await world.ask(base.DeadLetters(None, 0, 9)) == ()
    assert (await world.agent("bob")).unsettled == 1
    fate = (await world.fate("ada", "m1"))["bob"]
    assert (fate.outcome, fate.reason, fate.settled_at, fate.due_at) == (None, None, None, None)


async def test_only_a_dead_letter_of_a_known_agent_can_be_retried(world: World) -> None:
    done = await world.send("ada", "bob", "m1")
    waits = await world.send("ada", "bob", "m2")
    dead = await world.send("ada", "bob", "m3")
    await world.do(world.settle("bob", done.seq), world.discard("bob", dead.seq, "dead"))
    ops = [base.Retry(name, s) for name, s in (("bob", done.seq), ("bob", waits.seq), ("zoe", 1))]
    assert await world.do(*ops) == [base.Retried(None)] * 3
    await world.do(world.settle("bob", waits.seq), base.Forget("bob", world.epochs["bob"]))
    assert await world.do(base.Retry("bob", dead.seq)) == [base.Retried(None)]


async def test_dropped_ends_a_dead_letter_and_nothing_else(world: World) -> None:
    dead = await world.send("ada", "bob", "m1")
    waits = await world.send("ada", "bob", "m2")
    done = await world.send("ada", "bob", "m3")
    await world.do(world.discard("bob", dead.seq, "dead"), world.settle("bob", done.seq))
    drop = [world.discard("bob", sent.seq, "dropped") for sent in (dead, waits, done)]
    assert await world.do(*drop) == [
        base.Discarded(True, "dropped"),
        base.Discarded(False, None),
        base.Discarded(False, "done"),
    ]
    assert await world.ask(base.DeadLetters(None, 0, 9)) == ()
    assert await world.waiting("bob") == [waits.seq]


async def test_a_retried_dead_letter_has_no_attempt_that_could_end(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.read("bob", sent.seq), world.discard("bob", sent.seq, "dead"))
    await world.do(base.Retry("bob", sent.seq))
    await world.go("bob")
    assert (await world.fate("ada", "m1"))["bob"].attempts == 0


async def test_the_time_to_live_of_a_retried_dead_letter_is_over(world: World) -> None:
    await world.come("cyd", groups=("ops",))
    await world.come("dee", groups=("ops",))
    sent = await world.send("ada", "#ops", "m1", ttl=100)
    await world.do(world.discard("cyd", sent.seq, "dead"))
    world.now += 500
    (retried,) = await world.do(base.Retry("cyd", sent.seq))
    assert retried.copy.message.expires_at is None
    assert (await world.fetch("cyd")).copies == (retried.copy,)
    assert (await world.ask(base.Peek("cyd", 9))).heads == (retried.copy,)
    (early,) = await world.do(world.discard("cyd", sent.seq, "expired"))
    assert not early.done
    # What others have of it expires as ever.
    swept = await world.get(base.Swept, base.Sweep(9))
    assert [(name, copy.message.expires_at) for name, copy in swept.expired] == [
        ("dee", sent.accepted_at + 100)
    ]
    await world.restart()
    await world.come("cyd")
    assert (await world.fetch("cyd")).copies == (retried.copy,)
    (read,) = await world.do(world.read("cyd", sent.seq, want=True))
    assert read.copies == (retried.copy,)
    await world.do(world.discard("cyd", sent.seq, "dead"))
    for agent in ("cyd", None):
        (letter,) = await world.ask(base.DeadLetters(agent, 0, 9))
        assert letter.copy.message.expires_at is None


async def test_a_retried_dead_letter_of_a_pool_does_not_expire_either(world: World) -> None:
    await world.come("cyd", caps=("plan",))
    await world.go("cyd")
    sent = await world.send("ada", "@plan", "m1", ttl=100)
    await world.do(world.discard("@plan", sent.seq, "dead"))
    await world.do(base.Retry("@plan", sent.seq))
    world.now += 500
    await world.come("cyd")
    (assigned,) = await world.do(base.Assign("plan", 5))
    assert [copy.message.expires_at for _, copy in assigned.copies] == [None]
    assert (await world.get(base.Swept, base.Sweep(9))).expired == ()
