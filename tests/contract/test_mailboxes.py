"""What a mailbox hands out, and what its agent says about it."""

from __future__ import annotations

import pytest

from tests.contract.world import LEASE_MS, World
from trishula_broker.store import base
from trishula_protocol.limits import RETRY_DELAYS_MS


@pytest.fixture(autouse=True)
async def everybody(world: World) -> None:
    await world.come("ada")
    await world.come("bob")


async def test_a_mailbox_is_in_order_of_priority_then_seq(world: World) -> None:
    seqs = [
        (await world.send("ada", "bob", f"m{n}", priority=p)).seq
        for n, p in enumerate((3, 1, 5, 1))
    ]
    assert await world.waiting("bob") == [seqs[1], seqs[3], seqs[0], seqs[2]]


async def test_fetching_is_paged_strictly_after_a_place(world: World) -> None:
    seqs = [
        (await world.send("ada", "bob", f"m{n}", priority=p)).seq
        for n, p in enumerate((3, 1, 5, 1))
    ]
    page = await world.fetch("bob", limit=2)
    assert ([c.message.seq for c in page.copies], page.more) == ([seqs[1], seqs[3]], True)
    page = await world.fetch("bob", after=(1, seqs[3]), limit=2)
    assert ([c.message.seq for c in page.copies], page.more) == ([seqs[0], seqs[2]], False)
    page = await world.fetch("bob", after=(5, seqs[2]))
    assert page == base.Fetched((), False, None)


async def test_fetching_is_bounded_in_bytes_but_for_the_first(world: World) -> None:
    for n, size in enumerate((300, 100, 100)):
        await world.send("ada", "bob", f"m{n}", size=size)
    for limit_bytes, expected in ((1, 1), (300, 1), (400, 2), (500, 3)):
        page = await world.fetch("bob", limit_bytes=limit_bytes)
        assert (len(page.copies), page.more) == (expected, expected < 3)


async def test_fetching_changes_nothing(world: World) -> None:
    await world.send("ada", "bob", "m1")
    assert await world.fetch("bob") == await world.fetch("bob")


async def test_a_batch_is_applied_in_order(world: World) -> None:
    fetch = base.Fetch("bob", world.epochs["bob"], None, 9, 999)
    before, sent, after = await world.do(fetch, world.mail("ada", "bob", "m1"), fetch)
    assert before.copies == ()
    assert [c.message.seq for c in after.copies] == [sent.seq]


async def test_settled_mail_is_never_handed_out_again(world: World) -> None:
    one = await world.send("ada", "bob", "m1")
    two = await world.send("ada", "bob", "m2")
    assert await world.do(world.settle("bob", one.seq)) == [base.Marked((one.seq,), ())]
    assert await world.waiting("bob") == [two.seq]
    await world.restart()
    await world.come("bob")
    assert await world.waiting("bob") == [two.seq]


async def test_settling_again_is_a_success_and_changes_nothing(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.settle("bob", sent.seq, at=5))
    before = await world.fate("ada", "m1")
    world.now += 10
    again = base.Marked((sent.seq,), (), again=(sent.seq,))
    assert await world.do(world.settle("bob", sent.seq, at=6)) == [again]
    assert await world.fate("ada", "m1") == before


async def test_what_is_not_ones_own_is_stale(world: World) -> None:
    sent = await world.send("bob", "ada", "m1")
    own = await world.send("ada", "bob", "m2")
    marked = base.Marked((own.seq,), (sent.seq, 999))
    assert await world.do(world.read("bob", own.seq, sent.seq, 999)) == [marked]
    assert await world.do(world.settle("bob", own.seq, sent.seq, 999)) == [marked]
    delivered = base.Delivered("bob", world.epochs["bob"], ((own.seq, 1), (sent.seq, 1), (999, 1)))
    again = base.Marked((own.seq,), (sent.seq, 999), again=(own.seq,))
    assert await world.do(delivered) == [again]
    assert await world.waiting("ada") == [sent.seq]


async def test_a_batch_of_many_settles_is_settled(world: World) -> None:
    await world.come("cyd")
    seqs: dict[str, list[int]] = {"bob": [], "cyd": []}
    for n in range(10):
        name = ("bob", "cyd")[n % 2]
        seqs[name].append((await world.send("ada", name, f"m{n}")).seq)
    await world.do(
        *(world.settle(name, seq, at=seq) for name in seqs for seq in seqs[name]),
        *(world.settle(name, *seqs[name]) for name in seqs),
    )
    assert await world.waiting("bob") == await world.waiting("cyd") == []
    assert (await world.fate("ada", "m3"))["cyd"].delivered_at == seqs["cyd"][1]


async def test_the_record_tells_when_it_went_out_was_read_and_done(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(base.Delivered("bob", world.epochs["bob"], ((sent.seq, world.now + 1),)))
    fate = (await world.fate("ada", "m1"))["bob"]
    assert (fate.delivered_at, fate.read_at) == (world.now + 1, None)
    world.now += 2
    await world.do(world.read("bob", sent.seq))
    first_read = world.now
    world.now += 3
    await world.do(world.read("bob", sent.seq))
    fate = (await world.fate("ada", "m1"))["bob"]
    assert (fate.read_at, fate.lease_until) == (first_read, world.now + LEASE_MS)
    await world.do(world.settle("bob", sent.seq))
    fate = (await world.fate("ada", "m1"))["bob"]
    assert fate == base.Fate(
        agent="bob",
        attempts=0,
        deliveries=0,
        delivered_at=first_read - 1,
        read_at=first_read,
        settled_at=world.now,
        outcome="done",
        reason=None,
        due_at=None,
        lease_until=None,
    )


async def test_reading_what_is_settled_changes_nothing(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.settle("bob", sent.seq))
    before = await world.fate("ada", "m1")
    marked = await world.do(world.read("bob", sent.seq, want=True))
    assert marked == [base.Marked((sent.seq,), (), again=(sent.seq,))]
    assert await world.fate("ada", "m1") == before


async def test_reading_can_ask_for_the_copies(world: World) -> None:
    one = await world.send("ada", "bob", "m1")
    two = await world.send("ada", "bob", "m2")
    await world.do(world.settle("bob", one.seq))
    (marked,) = await world.do(world.read("bob", two.seq, one.seq, 999, want=True))
    assert (marked.seqs, marked.stale) == ((two.seq, one.seq), (999,))
    assert [c.message.seq for c in marked.copies] == [two.seq]


async def test_an_attempt_that_ended_counts_and_delays_the_next(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    for n, delay in enumerate((*RETRY_DELAYS_MS, RETRY_DELAYS_MS[-1]), start=1):
        due_at = world.now + delay
        (requeued,) = await world.do(world.requeue("bob", sent.seq))
        assert requeued == base.Requeued(((sent.seq, n, due_at),), ())
        assert await world.fetch("bob") == base.Fetched((), False, due_at)
        world.now = due_at - 1
        assert await world.waiting("bob") == []
        world.now = due_at
        found = await world.fetch("bob")
        assert [(c.message.seq, c.attempts) for c in found.copies] == [(sent.seq, n)]
        assert found.due_at is None


async def test_the_first_delay_that_ends_is_told(world: World) -> None:
    seqs = [(await world.send("ada", "bob", f"m{n}")).seq for n in range(3)]
    await world.do(world.requeue("bob", seqs[1]))
    world.now += 100
    await world.do(world.requeue("bob", seqs[0]))
    found = await world.fetch("bob")
    assert [c.message.seq for c in found.copies] == [seqs[2]]
    assert found.due_at == world.now - 100 + RETRY_DELAYS_MS[0]


async def test_requeue_spares_what_is_settled_or_not_ones_own(world: World) -> None:
    own = await world.send("ada", "bob", "m1")
    done = await world.send("ada", "bob", "m2")
    other = await world.send("bob", "ada", "m3")
    await world.do(world.settle("bob", done.seq))
    (requeued,) = await world.do(world.requeue("bob", done.seq, own.seq, other.seq, own.seq))
    assert [seq for seq, _, _ in requeued.copies] == [own.seq]
    assert requeued.stale == (done.seq, other.seq)


async def test_requeue_of_what_waits_for_its_next_attempt_counts_nothing(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    (first,) = await world.do(world.requeue("bob", sent.seq))
    world.now += 500
    (again,) = await world.do(world.requeue("bob", sent.seq))
    assert again.copies == first.copies
    world.now += RETRY_DELAYS_MS[0]
    (later,) = await world.do(world.requeue("bob", sent.seq))
    assert [attempts for _, attempts, _ in later.copies] == [2]


async def test_a_clock_that_was_set_back_does_not_make_an_attempt_wait(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.requeue("bob", sent.seq))
    world.now -= 3_600_000
    assert await world.waiting("bob") == [sent.seq]


async def test_requeue_voids_the_lease(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.read("bob", sent.seq), world.requeue("bob", sent.seq))
    assert (await world.fate("ada", "m1"))["bob"].lease_until is None
    await world.go("bob")  # nothing read is left that could end once more
    assert (await world.fate("ada", "m1"))["bob"].attempts == 1


async def test_reading_in_the_delay_takes_the_attempt_up_again(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.requeue("bob", sent.seq))
    await world.do(world.read("bob", sent.seq))
    fate = (await world.fate("ada", "m1"))["bob"]
    assert (fate.attempts, fate.due_at) == (0, None)
    assert await world.waiting("bob") == [sent.seq]


async def test_reading_after_the_delay_is_a_new_attempt(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.requeue("bob", sent.seq))
    world.now += RETRY_DELAYS_MS[0]
    await world.do(world.read("bob", sent.seq))
    fate = (await world.fate("ada", "m1"))["bob"]
    assert (fate.attempts, fate.due_at) == (1, None)


async def test_an_agent_nobody_knows_has_nothing(world: World) -> None:
    assert await world.fetch("zoe") == base.Fetched((), False, None)
    assert await world.do(world.settle("zoe", 1), world.requeue("zoe", 1)) == [
        base.Marked((), (1,)),
        base.Requeued((), (1,)),
    ]
    outcomes = await world.do(
        base.Leave("zoe", 0, (1,)), base.Update("zoe", 0, None, "g", None), base.Forget("zoe", 0)
    )
    assert outcomes == [base.Left(None), base.Updated(()), base.Forgotten(0, again=True)]
