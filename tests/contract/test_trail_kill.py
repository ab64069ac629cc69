"""A process that commits and archives is killed with SIGKILL, or Redis is: no entry is missing or
there twice."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.killed_archiver import ids, make
from tests.contract.world import World
from tests.support.redis_server import RedisServer
from trishula_broker.store import base

CHILD = Path(__file__).with_name("killed_archiver.py")


async def run_and_kill(where: str, lines: int, kill: Callable[[], None] | None = None) -> list[str]:
    """What the child printed until it, or what ``kill`` kills, was killed after so many lines."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        where,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=CHILD.parents[2],
    )
    assert child.stdout is not None
    told = [(await child.stdout.readline()).decode().strip() for _ in range(lines)]
    if kill is not None:
        kill()  # the child ends by itself: its commit failed
    else:
        child.kill()
    rest, _ = await child.communicate()
    return told + rest.decode().split("\n")[:-1]


async def nothing_is_missing_or_doubled(where: str, told: list[str]) -> None:
    """What the child read and what is in the store now are one trail, of all that it was told."""
    world = World(lambda: make(where))
    await world.store.open()
    words = [line.split() for line in told]
    read = {int(line[1]): line[2:] for line in words if line[0] == "entry"}
    archived = max((int(line[1]) for line in words if line[0] == "archived"), default=0)
    entries = await world.ask(base.Trail(0, 100_000))
    kept = {entry.pos: ids(entry) for entry in entries}
    assert len(kept) == len(entries)
    assert {pos: kept[pos] for pos in kept if pos in read} == {
        pos: read[pos] for pos in kept if pos in read
    }
    whole = read | kept
    assert sorted(whole) == list(range(1, len(whole) + 1))
    assert min(kept, default=archived + 1) <= archived + 1
    accepted = [id_ for pos in sorted(whole) for id_ in whole[pos]]
    assert len(set(accepted)) == len(accepted)
    assert accepted == sorted(accepted)
    assert {line[1] for line in words if line[0] == "accepted"} <= set(accepted)
    # It agrees with the log, of which nothing was removed, and goes on where it was.
    sent = await world.ask(base.History("ada", None, 0, 100_000))
    assert [message.id for message in sent] == accepted
    settled = {
        seq
        for entry in entries
        for op, outcome in entry.done
        if isinstance(op, base.Settle) and isinstance(outcome, base.Marked)
        for seq in outcome.seqs
    }
    seqs = {message.id: message.seq for message in sent}
    kept_ids = {id_ for names in kept.values() for id_ in names}
    told_settled = {line[1] for line in words if line[0] == "settled"} & kept_ids
    assert {seqs[id_] for id_ in told_settled} <= settled
    outcome = await world.get(base.Archived, base.Archive("n1", len(whole)))
    assert outcome == base.Archived(first=len(whole) + 1, last=len(whole))
    await world.come("zoe")
    assert [entry.pos for entry in await world.ask(base.Trail(0, 9))] == [len(whole) + 1]
    await world.store.close()


@pytest.mark.parametrize("seed", range(4))
async def test_a_killed_process_leaves_a_whole_trail_in_sqlite(tmp_path: Path, seed: int) -> None:
    lines = random.Random(seed).randrange(2, 300)
    told = await run_and_kill(str(tmp_path), lines)
    await nothing_is_missing_or_doubled(str(tmp_path), told)


@pytest.mark.parametrize("seed", range(2))
async def test_a_killed_process_leaves_a_whole_trail_in_redis(
    redis: RedisServer, seed: int
) -> None:
    lines = random.Random(seed).randrange(2, 300)
    told = await run_and_kill(redis.url, lines)
    await nothing_is_missing_or_doubled(redis.url, told)


@pytest.mark.parametrize("seed", range(2))
async def test_a_killed_redis_has_a_whole_trail(tmp_path: Path, seed: int) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        lines = random.Random(seed).randrange(2, 300)
        told = await run_and_kill(server.url, lines, server.kill)
        server.start()
        await nothing_is_missing_or_doubled(server.url, told)
    finally:
        server.kill()
