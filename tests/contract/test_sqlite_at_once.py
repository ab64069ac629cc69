"""Commits that a SQLite store writes down before it returns: which, and what they promise."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from tests.contract.world import World
from trishula_broker.store import base
from trishula_broker.store.sqlite import SqliteStore, pace
from trishula_broker.store.sqlite.schema import FILE, JOURNAL

Begun = asyncio.Future[list[list[base.Outcome]]]
Ops = Callable[[World], list[base.Operation]]


class Writes:
    """What stands between a store and its journal."""

    def __init__(self) -> None:
        self.failure: OSError | None = None
        """What the next write is told."""
        self.reaches = False
        """Whether its record is on the disk all the same."""
        self.threads: list[str] = []
        """Who wrote each record."""
        self._write = os.pwritev

    def __call__(self, file: int, parts: Sequence[bytes], at: int) -> int:
        self.threads.append(threading.current_thread().name)
        failure, self.failure = self.failure, None
        if failure is None:
            return self._write(file, parts, at)
        if self.reaches:
            self._write(file, parts, at)
        raise failure


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    writes = Writes()
    monkeypatch.setattr(os, "pwritev", writes)
    return writes


@pytest.fixture
async def world(
    tmp_path: Path, writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A store on a quick disk; of the messages 1 to 4 the first is settled."""
    monkeypatch.setattr(pace, "QUICK_S", math.inf)
    world = World(lambda: SqliteStore(tmp_path / "data"))
    await world.store.open()
    for agent in ("ada", "bob"):
        await world.come(agent, groups=("all",), caps=("review",))
    for n in range(1, 5):
        await world.send("ada", "bob", f"m{n}")
    await world.do(world.settle("bob", 1))
    writes.threads.clear()
    yield world
    await world.store.close()


def begin(world: World, *ops: base.Operation) -> Begun:
    begun = world.store.commit(world.now, [base.Batch(world.namespace, ops)])
    assert isinstance(begun, asyncio.Future)
    return begun


FEW: dict[str, Ops] = {
    "a message": lambda world: [world.mail("ada", "bob", "n1")],
    "both ways": lambda world: [world.mail("ada", "bob", "n1"), world.mail("bob", "ada", "n1")],
    "sent before": lambda world: [world.mail("ada", "bob", "m2")],
    "a settlement": lambda world: [world.settle("bob", 2, 3)],
    "an answer": lambda world: [world.mail("bob", "ada", "n1", settles=2)],
    "read": lambda world: [world.read("bob", 2)],
    "fenced": lambda world: [world.settle("bob", 2), world.mail("ada", "bob", "n1", epoch=99)],
    "a beat": lambda world: [base.Beat("n1", "life", "primary", "", 5_000)],
}
OTHERS: dict[str, Ops] = {
    "many": lambda world: [world.mail("ada", "bob", f"n{n:02}") for n in range(40)],
    "many settled": lambda world: [world.settle("bob", *[1, 2, 3, 4] * 10)],
    "large": lambda world: [world.mail("ada", "bob", "n1", size=100_000)],
    "a fan-out": lambda world: [world.mail("ada", "#all", "n1")],
    "a pool": lambda world: [world.mail("ada", "@review", "n1")],
    "a fetch": lambda world: [base.Fetch("bob", world.epochs["bob"], None, 10, 1 << 20)],
    "somebody new": lambda world: [base.Introduce("dan")],
    "an archiver": lambda world: [base.Archive("n1", 0)],
}


def as_killed(tmp_path: Path) -> World:
    """The store as it would be found, were this process killed now."""
    left = tmp_path / "left"
    left.mkdir()
    for name in (FILE, f"{FILE}-wal", JOURNAL):
        shutil.copy(tmp_path / "data" / name, left)
    return World(lambda: SqliteStore(left))


@pytest.mark.parametrize("what", FEW)
async def test_what_is_little_and_at_hand_is_over_when_commit_returns(
    world: World, what: str
) -> None:
    assert begin(world, *FEW[what](world)).done()


@pytest.mark.parametrize("what", OTHERS)
async def test_what_is_more_or_needs_a_table_is_left_to_a_thread(world: World, what: str) -> None:
    begun = begin(world, *OTHERS[what](world))
    assert not begun.done()
    await begun


async def test_on_a_disk_that_was_slow_all_is_left_to_a_thread(
    world: World, writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "QUICK_S", -1.0)
    await begin(world, world.mail("ada", "bob", "n1"))
    for n in range(2, 10):
        begun = begin(world, world.mail("ada", "bob", f"n{n}"))
        assert not begun.done()
        await begun
    assert writes.threads == [threading.current_thread().name] + ["store-writer"] * 8


async def test_what_is_over_at_once_would_survive_a_crash(world: World, tmp_path: Path) -> None:
    begun = begin(world, world.mail("ada", "bob", "n1"), world.settle("bob", 2))
    assert begun.done()
    other = as_killed(tmp_path)
    await other.store.open()
    assert await other.waiting("bob") == [3, 4, 5]
    await other.store.close()
    assert await world.waiting("bob") == [3, 4, 5]


async def test_behind_what_a_thread_does_all_waits_in_order(world: World, writes: Writes) -> None:
    first = begin(world, world.mail("ada", "#all", "n1"))
    second = begin(world, world.mail("ada", "bob", "n2"))
    assert not second.done()
    ((one,),), ((two,),) = await first, await second
    assert isinstance(one, base.Accepted)
    assert isinstance(two, base.Accepted)
    assert (one.seq, two.seq) == (5, 6)
    assert set(writes.threads) <= {"store-writer"}


@pytest.mark.parametrize("reaches", [False, True])
async def test_a_record_that_failed_is_not_promised_and_read_again(
    world: World, writes: Writes, reaches: bool
) -> None:
    """``reaches``: it is on the disk although its write is said to have failed."""
    writes.failure, writes.reaches = OSError(errno.EIO, "it fails"), reaches
    failed = begin(world, world.mail("ada", "bob", "n1"), world.settle("bob", 2))
    behind = begin(world, world.mail("ada", "bob", "n2"))
    with pytest.raises(base.StoreUnavailable, match="it fails"):
        await failed
    await behind
    expected = [3, 4, 5, 6] if reaches else [2, 3, 4, 5]
    assert await world.waiting("bob") == expected
    again = begin(world, world.mail("ada", "bob", "n1"))
    assert isinstance((await again)[0][0], base.Duplicate if reaches else base.Accepted)


async def test_a_full_disk_is_told_and_works_again_once_there_is_room(
    world: World, writes: Writes
) -> None:
    writes.failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(base.StoreUnavailable, match="No space"):
        await begin(world, world.mail("ada", "bob", "n1"))
    assert "No space" in (await world.store.health())["problem"]
    await begin(world, world.mail("ada", "bob", "n1"))
    assert (await world.store.health())["problem"] is None
    assert begin(world, world.mail("ada", "bob", "n2")).done()
    assert await world.waiting("bob") == [2, 3, 4, 5, 6]


async def test_a_store_that_is_closed_right_after_a_failure_forgets_what_failed(
    world: World, writes: Writes
) -> None:
    writes.failure = OSError(errno.EIO, "it fails")
    failed = begin(world, world.mail("ada", "bob", "n1"))
    await world.store.close()
    with pytest.raises(base.StoreUnavailable, match="it fails"):
        await failed
    await world.store.open()
    await world.come("bob")
    assert await world.waiting("bob") == [2, 3, 4]


async def test_what_is_over_at_once_is_in_the_trail_and_in_answers(world: World) -> None:
    await world.do(base.Archive("n1", 0))
    assert begin(world, world.mail("ada", "bob", "n1")).done()
    (entry,) = await world.ask(base.Trail(0, 9))
    assert [op.id for op, _ in entry.done if isinstance(op, base.Accept)] == ["n1"]
    (agent,) = await world.ask(base.Agents(id="bob"))
    assert agent.unsettled == 4


async def test_records_of_both_threads_are_folded_in_their_order(
    world: World, writes: Writes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 7)
    for n in range(60):
        await begin(world, world.mail("ada", "bob", f"n{n:02}"))
        await begin(world, world.settle("bob", n + 2))
    assert len(set(writes.threads)) == 2
    other = as_killed(tmp_path)
    await other.store.open()
    assert await other.waiting("bob") == [62, 63, 64]
    await other.store.close()
