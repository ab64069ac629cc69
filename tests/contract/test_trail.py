"""The trail: what commits did, in their order and without gaps, until every archiver has it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.contract.world import World, body
from trishula_broker.store import base
from trishula_broker.store.op import CODES
from trishula_broker.store.recorded import RECORDED, decode_done, encode_done, recorded
from trishula_broker.store.redis.trail import Packed
from trishula_protocol.address import parse_address

RETENTION = base.Retention()
HOUR = 3_600_000


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest, make: Callable[[], base.Store]) -> object:
    return make


async def archive(world: World, node: str = "n1", upto: int = 0, **more: object) -> base.Archived:
    """Say that ``node`` has the trail up to ``upto``."""
    op = msgspec.structs.replace(base.Archive(node, upto), **more)
    return await world.get(base.Archived, op)


async def trail(world: World, after: int = 0, limit: int = 1_000) -> tuple[base.Entry, ...]:
    """The entries behind ``after``."""
    found: tuple[base.Entry, ...] = await world.ask(base.Trail(after, limit))
    return found


async def kinds(world: World) -> list[list[str]]:
    """The names of the operations of each entry."""
    return [[type(op).__name__ for op, _ in entry.done] for entry in await trail(world)]


@pytest.fixture
async def archived(world: World) -> World:
    """ada and bob are there, and an archiver has all that was before."""
    for name in ("ada", "bob"):
        await world.come(name, caps=("plan",))
    await archive(world)
    return world


async def test_without_an_archiver_nothing_is_kept(world: World) -> None:
    await world.come("ada")
    await world.send("ada", "ada", "m1")
    assert await trail(world) == ()
    assert await world.ask(base.Archives()) == ()
    assert await archive(world) == base.Archived(first=1, last=0)
    assert await trail(world) == ()


async def test_an_entry_tells_what_a_commit_did(archived: World) -> None:
    world = archived
    ops = (world.mail("ada", "bob", "m1"), world.mail("bob", "ada", "m2", thread="m1"))
    outcomes = await world.do(*ops)
    (entry,) = await trail(world)
    assert entry == base.Entry(1, world.now, entry.node, tuple(zip(ops, outcomes, strict=True)))
    world.now += 5
    settle = world.settle("bob", outcomes[0].seq, at=7)
    (marked,) = await world.do(settle)
    assert (await trail(world))[1] == base.Entry(2, world.now, entry.node, ((settle, marked),))


async def test_every_recorded_kind_is_there_and_what_changes_nothing_is_not(
    archived: World,
) -> None:
    world = archived
    one, two, three, four = [(await world.send("ada", "bob", f"m{n}")).seq for n in range(4)]
    epoch = world.epochs["bob"]
    before = len(await trail(world))

    async def done(*ops: base.Operation) -> None:
        """Once it is in the trail, and said again it is not."""
        count = len(await trail(world))
        await world.do(*ops)
        assert len(await trail(world)) == count + 1, ops
        await world.do(*ops)
        assert len(await trail(world)) == count + 1, ops

    await done(base.Delivered("bob", epoch, ((one, 5), (two, 5))))
    await done(world.read("bob", one, two))
    await done(world.requeue("bob", one))
    await done(world.settle("bob", two, at=5))
    await done(world.discard("bob", three, "dead", base.Notice("ada", "told", None, b"{}")))
    await done(base.Retry("bob", three))
    await done(world.mail("ada", "@plan", "m9"))
    await world.go("bob")
    await done(base.Leave("ada", world.epochs["ada"], ()))
    await world.send("bob", "@plan", "pooled")
    await world.come("ada")
    await done(base.Assign("plan", 9))
    await world.go("ada")
    await done(base.Unassign("ada"))
    await world.come("dee")
    await world.go("dee")
    await done(base.Forget("dee", 0))
    await done(base.Introduce("eve"))
    await done(base.Revoke(base.Revocation("jti", "", 5, None)))
    await done(base.OrderFolder(True, "why"))
    await world.do(base.Pause("eve", True, "why"))

    count = len(await trail(world))
    await world.come("bob")
    nothing: list[base.Operation] = [
        world.mail("ada", "nobody", "m77"),
        base.Update("bob", world.epochs["bob"], '{"text":"busy"}', None, None),
        base.Fetch("bob", world.epochs["bob"], None, 9, 999),
        base.Sweep(9),
        world.settle("bob", 999),
        base.Settle("bob", 1, (one,), (None,)),
        base.Discard("bob", 0, 999, "dead", "", None),
        base.Retry("bob", four),
        base.Pause("nobody", True),
        base.OrderFolder(True, "why"),
        base.Beat("n1", "life", "primary", "", 5_000),
        base.Tell(None, base.Missed()),
    ]
    await world.do(*nothing)
    assert len(await trail(world)) == count + 1  # that bob came
    found = await kinds(world)
    assert {name for names in found[before:] for name in names} == {
        kind.__name__ for kind in RECORDED
    } - {"EndNode"}


async def test_an_entry_has_only_what_its_commit_changed(archived: World) -> None:
    world = archived
    one, two = [(await world.send("ada", "bob", f"m{n}")).seq for n in range(2)]
    await world.do(world.settle("bob", one))
    await world.do(
        world.mail("ada", "bob", "m0"), world.settle("bob", one, two, two, 999), base.Sweep(9)
    )
    (*_, last) = await trail(world)
    assert [outcome for _, outcome in last.done] == [base.Marked((two,), ())]


async def test_copies_in_the_trail_have_no_body_but_notices_do(archived: World) -> None:
    world = archived
    await world.go("bob")
    await world.go("ada")
    pooled = await world.send("bob", "@plan", "m1")
    await world.come("ada", caps=("plan",))
    await world.do(base.Assign("plan", 9))
    notice = base.Notice("bob", "told", "m1", b'{"why":1}')
    await world.do(world.discard("ada", pooled.seq, "dead", notice))
    await world.do(base.Retry("ada", pooled.seq))
    *_, assigned, discarded, retried = [entry.done[0][1] for entry in await trail(world)]
    assert isinstance(assigned, base.Assigned)
    assert isinstance(discarded, base.Discarded)
    assert isinstance(retried, base.Retried)
    assert [(name, copy.message.id, copy.message.body) for name, copy in assigned.copies] == [
        ("ada", "m1", b"")
    ]
    assert discarded.notice is not None
    assert discarded.notice.body == notice.body
    assert retried.copy is not None
    assert (retried.copy.message.seq, retried.copy.message.body) == (pooled.seq, b"")


async def test_positions_have_no_gaps_and_entries_are_read_in_pieces(archived: World) -> None:
    world = archived
    for n in range(20):
        await world.do(world.mail("ada", "nobody", f"x{n}"))
        await world.send("ada", f"{('bob', '@plan')[n % 2]}", f"m{n}", size=14)
        await world.do(world.settle("bob", *await world.waiting("bob")))
        await world.do(world.settle("bob", 1), base.Sweep(1))
    found = await trail(world)
    assert [entry.pos for entry in found] == list(range(1, len(found) + 1))
    assert [entry.pos for entry in await trail(world, 3, 4)] == [4, 5, 6, 7]
    assert await trail(world, len(found)) == ()
    (one,) = await world.ask(base.Trail(5, 100, limit_bytes=1))
    assert one == found[5]
    some = await world.ask(base.Trail(0, 100, limit_bytes=600))
    assert some == found[: len(some)]
    assert 1 < len(some) < len(found)


async def test_namespaces_have_trails_of_their_own(archived: World) -> None:
    world = archived
    other = World(world.make, "other")
    other.store = world.store
    await other.come("zoe")
    await other.send("zoe", "zoe", "m1")
    assert await trail(other) == ()
    await archive(other)
    await other.send("zoe", "zoe", "m2")
    await world.send("ada", "bob", "m1")
    await world.do(world.mail("ada", "bob", "m2"))
    assert [entry.pos for entry in await trail(other)] == [1]
    assert [entry.pos for entry in await trail(world)] == [1, 2]


async def test_entries_go_once_every_archiver_has_them(archived: World) -> None:
    world = archived
    await archive(world, "n2")
    for n in range(4):
        await world.send("ada", "bob", f"m{n}", size=14)
    everything = await trail(world)
    assert await archive(world, "n1", 3) == base.Archived(first=1, last=4)
    assert await trail(world) == everything
    assert await archive(world, "n2", 2) == base.Archived(first=3, last=4)
    assert await trail(world) == everything[2:]
    assert await archive(world, "n2", 1) == base.Archived(first=3, last=4)  # never back
    assert await archive(world, "n2", 4) == base.Archived(first=4, last=4)
    assert await archive(world, "n1", 4) == base.Archived(first=5, last=4)
    assert await trail(world) == ()
    await world.send("ada", "bob", "m9", size=14)
    assert [entry.pos for entry in await trail(world)] == [5]


async def test_what_is_claimed_to_be_archived_before_it_is_there_is_kept(archived: World) -> None:
    world = archived
    assert await archive(world, upto=50) == base.Archived(first=1, last=0)
    await world.send("ada", "bob", "m1")
    assert [entry.pos for entry in await trail(world)] == [1]
    (record,) = await world.ask(base.Archives())
    assert record.upto == 0


async def test_an_archiver_that_ends_is_not_waited_for(archived: World) -> None:
    world = archived
    await archive(world, "n2")
    await world.send("ada", "bob", "m1")
    assert await archive(world, "n2", 1) == base.Archived(first=1, last=1)
    assert await archive(world, "n1", 0, ends=True) == base.Archived(first=2, last=1)
    assert [record.node for record in await world.ask(base.Archives())] == ["n2"]
    await archive(world, "n2", ends=True)
    await world.send("ada", "bob", "m2")
    assert await trail(world) == ()
    assert await archive(world) == base.Archived(first=2, last=1)


async def test_heads_and_digests_of_archivers_are_kept(archived: World) -> None:
    world = archived
    old = base.Head("trail", 1, "aa", 5, "kid", "sig")
    new = msgspec.structs.replace(old, number=2, hash="bb")
    local = msgspec.structs.replace(old, chain="local")
    await archive(world, "n2", heads=(old, local), digests=((1, "d1"), (2, "d2")))
    world.now += 9
    await archive(world, "n2", heads=(new,), digests=((3, "d3"),))
    first, second = await world.ask(base.Archives())
    assert first.node == "n1"
    digests = ((1, "d1"), (2, "d2"), (3, "d3"))
    assert second == base.ArchiveRecord("n2", 0, world.now, (local, new), digests)
    _, second = await world.ask(base.Archives(since=3))
    assert second.digests == ((3, "d3"),)
    await archive(world, "n2", digests=tuple((n, f"d{n}") for n in range(4, 10_004)))
    _, second = await world.ask(base.Archives())
    assert (len(second.digests), second.digests[0]) == (10_000, (4, "d4"))


async def test_an_archiver_silent_for_a_day_is_dropped_and_the_operator_told(
    archived: World,
) -> None:
    world = archived
    await archive(world, "n2")
    await world.send("ada", "bob", "m1")
    world.now += 23 * HOUR
    await archive(world, "n2", 1)
    await world.store.trim(world.now, RETENTION)
    assert len(await trail(world)) == 1
    assert (await world.store.health())["warnings"] == []
    world.now += HOUR
    await world.store.trim(world.now, RETENTION)
    assert await trail(world) == ()
    (warning,) = (await world.store.health())["warnings"]
    assert "n1" in warning
    assert "default" in warning
    dropped, heard = await world.ask(base.Archives())
    assert (dropped.dropped, heard.dropped) == (True, False)
    await world.send("ada", "bob", "m2")
    # It comes back, and sees that something is missing.
    assert await archive(world, "n1", 0) == base.Archived(first=2, last=2)
    assert (await world.store.health())["warnings"] == []
    await archive(world, "n2", 2)
    assert [entry.pos for entry in await trail(world)] == [2]


async def test_when_the_only_archiver_is_dropped_nothing_more_is_kept(archived: World) -> None:
    world = archived
    await world.send("ada", "bob", "m1")
    world.now += 24 * HOUR
    await world.store.trim(world.now, RETENTION)
    await world.send("ada", "bob", "m2")
    assert await trail(world) == ()
    assert await archive(world) == base.Archived(first=2, last=1)


async def test_a_large_trail_waits_half_an_hour_for_an_archiver(archived: World) -> None:
    world = archived
    await archive(world, "n2")
    await world.send("ada", "bob", "m1", size=300)
    await archive(world, "n2", 1)
    large = msgspec.structs.replace(RETENTION, trail_bytes=300)
    world.now += RETENTION.archiver_away_ms
    await archive(world, "n2", 1)
    await world.store.trim(world.now, RETENTION)
    assert len(await trail(world)) == 1
    await world.store.trim(world.now, large)
    assert await trail(world) == ()
    assert [record.dropped for record in await world.ask(base.Archives())] == [True, False]


async def test_the_trail_outlives_a_restart(archived: World) -> None:
    world = archived
    for n in range(3):
        await world.send("ada", "bob", f"m{n}", size=14)
    head = base.Head("trail", 1, "aa", 5, "kid", "sig")
    await archive(world, upto=1, heads=(head,), digests=((1, "d1"),))
    before = await trail(world), await world.ask(base.Archives())
    await world.restart()
    assert (await trail(world), await world.ask(base.Archives())) == before
    await world.do(world.mail("ada", "bob", "m9", size=14, epoch=0))
    assert [entry.pos for entry in await trail(world)] == [2, 3, 4]
    await archive(world, upto=4)
    await world.restart()
    assert await archive(world, upto=4) == base.Archived(first=5, last=4)


def test_all_that_is_recorded_has_a_number_and_comes_back_as_it_was() -> None:
    for op, (outcome, _) in RECORDED.items():
        assert isinstance(CODES[op.__name__], int)
        assert isinstance(CODES[outcome.__name__], int)
    assert len(set(CODES.values())) == len(CODES)
    message = base.Message(
        7, "m1", "ada", "RESULT", "@plan", 3, "t", True, 5, None, b'{"payload":"\xc3\xa4"}'
    )
    copy = base.Copy(message, 1, 2, "plan")
    told = base.FullNotice("told", b'{"full":', b"}", "t")
    accept = base.Accept(
        "ada", 3, parse_address("#ops"), "m1", "COMMAND", 3, "t", "m0", True, 99, body(), 4, told
    )
    pairs: list[tuple[base.Operation, base.Outcome]] = [
        (accept, base.Accepted(7, 5, ("bob",), ("cyd",), None, message, True)),
        (base.Settle("bob", 2, (1, 2), (None, 5)), base.Marked((1, 2), ())),
        (base.Read("bob", 2, (1,), 5, want=True), base.Marked((1,), (), (copy,))),
        (base.Delivered("bob", 2, ((1, 5),)), base.Marked((1,), ())),
        (base.Requeue("bob", 2, (1,)), base.Requeued(((1, 2, 3),), ())),
        (
            base.Discard("bob", 2, 1, "dead", "why", base.Notice("a", "b", None, b"{}"), True, "n"),
            base.Discarded(True, "dead", message),
        ),
        (base.Assign("plan", 5), base.Assigned((("bob", copy),), False)),
        (base.Unassign("bob"), base.Unassigned(("plan",), (1,))),
        (
            base.Register("bob", "n", "s", True, False, 5, ("b", "a", "a"), None, 4, (1,)),
            base.Registered(5, ("a", "b"), (), ("a",)),
        ),
        (base.Leave("bob", 5, (1,)), base.Left(None)),
        (base.Retry("bob", 5), base.Retried(copy)),
        (base.Forget("bob", 5), base.Forgotten(0)),
        (base.EndNode("n", 5, 6), base.NodeEnded(("bob",), False, 5)),
        (base.Pause("bob", True, "why"), base.Paused(True, ("plan",))),
        (base.Pause("eve", False), base.Paused(True, (), (("bob", copy),), True)),
        (base.OrderFolder(True, "why"), base.FolderOrdered(True, base.FolderOrder("why", 5))),
        (base.Introduce("bob"), base.Noted(True)),
        (base.Revoke(base.Revocation("jti", "", 5, None)), base.Noted(True)),
    ]
    assert {type(op) for op, _ in pairs} == set(RECORDED)
    done = recorded([op for op, _ in pairs], [outcome for _, outcome in pairs])
    assert len(done) == len(pairs)
    assert decode_done(encode_done(done)) == tuple(done)


def test_a_resume_that_a_node_of_an_earlier_version_committed_is_understood() -> None:
    packed = msgspec.msgpack.encode((5, "n1", [("pause", "bob", False, "")], [(0, 1, ["plan"])]))
    [done] = Packed(1, packed).entry({}).done
    assert done == (base.Pause("bob", False, "", 0), base.Paused(True, ("plan",)))
