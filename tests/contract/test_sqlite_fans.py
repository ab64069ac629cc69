"""Messages to many, whose copies a SQLite store keeps together until they are folded."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.contract.test_sqlite_files import Disk, as_killed
from tests.contract.world import World
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_broker.store.sqlite import SqliteStore

MEMBERS = ("bob", "cyd", "dee", "eve")
Step = Callable[[World, int], base.Operation]


async def populate(world: World) -> None:
    await world.store.open()
    await world.come("ada")
    for name in MEMBERS:
        await world.come(name, groups=("ops",))
    await world.send("ada", "bob", "first")  # a session's first commits write to the tables


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def world(tmp_path: Path, disk: Disk) -> AsyncIterator[World]:
    world = World(lambda: SqliteStore(tmp_path / "data", node="n1", connect=disk.connect))
    await populate(world)
    yield world
    await world.store.close()


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit is followed by folding."""
    monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 1)


def rows(world: World, disk: Disk, table: str) -> int:
    """How many rows readers of the file see."""
    (count,) = disk.connections[1].execute(f"SELECT count(*) FROM {table}").fetchone()
    assert isinstance(count, int)
    return count


async def test_copies_that_are_done_before_they_are_folded_have_no_rows(
    world: World, disk: Disk
) -> None:
    sent = [await world.send("ada", "#ops", f"m{n}") for n in range(3)]
    for name in MEMBERS:
        await world.do(world.settle(name, *(each.seq for each in sent), at=world.now))
    world.now += 5
    fates = await world.fate("ada", "m2")
    assert {name: fate.outcome for name, fate in fates.items()} == dict.fromkeys(MEMBERS, "done")
    assert {fate.delivered_at for fate in fates.values()} == {world.now - 5}
    assert rows(world, disk, "copies") == 1  # the first one's


@pytest.mark.usefixtures("folding")
async def test_a_message_that_some_have_not_settled_is_left_for_the_next_folding(
    world: World, disk: Disk, tmp_path: Path
) -> None:
    sent = await world.send("ada", "#ops", "m1")
    await world.do(world.settle("bob", sent.seq))
    await world.send("ada", "bob", "other")
    assert rows(world, disk, "copies") <= 2  # of what went to bob alone
    left = as_killed(world, tmp_path)
    (again,) = await world.do(world.mail("ada", "#ops", "m1"))
    assert again == base.Duplicate(sent.seq, world.mail("ada", "#ops", "m1").body)
    for name in MEMBERS[1:]:
        await world.do(world.settle(name, sent.seq))
    assert {fate.outcome for fate in (await world.fate("ada", "m1")).values()} == {"done"}

    other = World(lambda: SqliteStore(left))
    await other.store.open()
    fates = await other.fate("ada", "m1")
    assert {name for name, fate in fates.items() if fate.outcome is None} == set(MEMBERS[1:])
    (again,) = await other.do(other.mail("ada", "#ops", "m1"))
    assert isinstance(again, base.Duplicate)
    assert await other.waiting("cyd") == [sent.seq]
    await other.store.close()


@pytest.mark.usefixtures("folding")
async def test_copies_that_nobody_settles_get_rows_in_the_end(world: World, disk: Disk) -> None:
    sent = await world.send("ada", "#ops", "m1")
    for n in range(5):
        other = await world.send("ada", "bob", f"n{n}")
        await world.do(world.settle("bob", other.seq))
    await world.waiting("ada")
    assert rows(world, disk, f"copies WHERE seq = {sent.seq}") == len(MEMBERS)
    assert await world.waiting("eve") == [sent.seq]
    await world.do(*(world.settle(name, sent.seq) for name in MEMBERS))
    assert await world.waiting("eve") == []


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("torn", [False, True])
async def test_whatever_of_the_folding_reached_the_disk_all_is_there_after_a_crash(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, kept: int, torn: bool
) -> None:
    """``kept`` says how many commits follow the one that folds; ``torn``: the tables lack what
    was folded, for the crash came before."""
    world = World(lambda: SqliteStore(tmp_path / "data", connect=disk.connect))
    await populate(world)
    sent = [await world.send("ada", "#ops", f"m{n}") for n in range(4)]
    await world.do(world.settle("bob", *(each.seq for each in sent)))
    await world.do(*(world.settle(name, sent[0].seq) for name in MEMBERS[1:]))
    await world.do(world.read("dee", sent[1].seq))
    before = tmp_path / "before"
    before.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / "data" / name, before)
    monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 1)
    await world.do(world.settle("cyd", sent[2].seq))  # and folds
    monkeypatch.undo()
    for seq in [sent[3].seq, sent[1].seq][:kept]:
        await world.do(world.settle("dee", seq, at=world.now))
    left = as_killed(world, tmp_path)
    if torn:
        for name in ("store.db", "store.db-wal"):
            shutil.copy(before / name, left)
    expected = [await world.fate("ada", f"m{n}") for n in range(4)]
    await world.store.close()
    other = World(lambda: SqliteStore(left))
    await other.store.open()
    assert [await other.fate("ada", f"m{n}") for n in range(4)] == expected
    unsettled = {record.id: record.unsettled for record in await other.ask(base.Agents())}
    assert unsettled["eve"] == 3
    assert unsettled["dee"] == 3 - kept
    await other.store.close()


STEPS: dict[str, Step] = {
    "settled": lambda world, seq: world.settle("bob", seq, at=7),
    "settled again": lambda world, seq: world.settle("bob", seq, at=9),
    "settled by a stranger": lambda world, seq: world.settle("ada", seq),
    "settled twice at once": lambda world, seq: world.settle("cyd", seq, seq),
    "settled with others": lambda world, seq: world.settle("bob", seq, seq + 1, seq - 1),
    "read": lambda world, seq: world.read("bob", seq),
    "read by one": lambda world, seq: world.read("dee", seq, want=True),
    "noted": lambda world, seq: base.Delivered("cyd", world.epochs["cyd"], ((seq, 5),)),
    "requeued": lambda world, seq: world.requeue("dee", seq),
    "recalled": lambda world, seq: world.discard("eve", seq, "recalled", unread_only=True),
    "rejected": lambda world, seq: world.discard("cyd", seq, "rejected"),
    "answered": lambda world, seq: world.mail("bob", "ada", f"answer{seq}", settles=seq),
    "dropped": lambda world, seq: world.discard("eve", seq, "dropped"),
    "retried": lambda world, seq: base.Retry("cyd", seq),
    "sent again": lambda world, seq: world.mail("ada", "#ops", "m0"),
    "expired": lambda world, seq: world.discard("dee", seq, "expired"),
}


@pytest.mark.parametrize("folds", [False, True])
async def test_a_copy_goes_its_own_way_as_if_it_were_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool
) -> None:
    """Everything that can happen to it, in pairs; the model says what comes of it."""
    if folds:
        monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 1)
    store = World(lambda: SqliteStore(tmp_path / "data"))
    model = World(MemoryStore)
    answers: list[list[object]] = []
    for world in (store, model):
        await populate(world)
        found: list[object] = []
        pairs = [(first, second) for first in STEPS.values() for second in STEPS.values()]
        for n, (first, second) in enumerate(pairs):
            sent = await world.send("ada", "#ops", f"m{n}", ttl=1_000)
            await world.send("ada", "#ops", f"n{n}")
            world.now += 1
            found += await world.do(first(world, sent.seq), second(world, sent.seq))
            found += await world.do(second(world, sent.seq))
        found += [await world.fate("ada", f"m{n}") for n in range(len(pairs))]
        found += [await world.waiting(name) for name in MEMBERS]
        found.append(await world.ask(base.Agents()))
        answers.append(found)
    assert answers[0] == answers[1]
    await store.store.close()


async def test_a_message_to_many_asks_no_table(world: World, disk: Disk) -> None:
    disk.error = "no statement may run"
    for to in ("#ops", "broadcast"):
        sent = await world.send("ada", to, to[1:])
        await world.do(
            *(world.settle(name, sent.seq) for name in MEMBERS[1:]),
            world.mail("bob", "ada", f"re-{to[1:]}", settles=sent.seq),
        )
    disk.error = None
    assert {fate.outcome for fate in (await world.fate("ada", "ops")).values()} == {"done"}
