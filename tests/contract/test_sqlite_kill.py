"""A process that commits is killed with SIGKILL: what it was told is durable is there."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.contract.world import World
from trishula_broker.store import base
from trishula_broker.store.sqlite import SqliteStore

CHILD = Path(__file__).with_name("killed.py")
FAN = 5


async def run_and_kill(
    directory: Path,
    lines: int,
    before: Callable[[list[str]], Awaitable[None]] | None = None,
) -> list[str]:
    """What the child was told is durable, until it was killed after so many lines, and after
    ``before``, which is given what it has said until then; it goes on meanwhile."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        str(directory),
        stdout=asyncio.subprocess.PIPE,
        cwd=CHILD.parents[2],
    )
    assert child.stdout is not None
    told = [(await child.stdout.readline()).decode().strip() for _ in range(lines)]
    reading = asyncio.create_task(_read(child.stdout, told))
    if before is not None:
        await before(told)
    child.kill()
    await reading
    await child.wait()
    return told


async def _read(lines: asyncio.StreamReader, told: list[str]) -> None:
    while (line := await lines.readline()).endswith(b"\n"):  # the last may have been cut off
        told.append(line.decode().strip())


@pytest.mark.parametrize("seed", range(4))
async def test_a_killed_process_loses_nothing_it_was_told_is_durable(
    tmp_path: Path, seed: int
) -> None:
    lines = random.Random(seed).randrange(2, 120)
    told = await run_and_kill(tmp_path, lines)
    world = World(lambda: SqliteStore(tmp_path))
    await world.store.open()
    accepted = {line.split()[1] for line in told if line.startswith("accepted")}
    settled = {line.split()[1] for line in told if line.startswith("settled")}
    assert accepted

    sent = await world.ask(base.History("ada", None, 0, 100_000))
    ids = {message.id for message in sent}
    assert accepted <= ids
    last = ""
    for message in sent:
        # Whole or not at all: a message has all its copies, and its body.
        (traced,) = await world.ask(base.Trace("ada", message.id))
        assert len(traced.copies) == FAN
        assert traced.message.body.endswith(b"}")
        assert message.id > last  # in the order of acceptance
        last = message.id
        if message.id in settled:
            assert {copy.outcome for copy in traced.copies} == {"done"}
    # One that is sent again is known.
    outcomes = await world.do(*(world.mail("ada", "#all", message.id) for message in sent))
    assert {type(outcome) for outcome in outcomes} == {base.Duplicate}
    counted = sum(record.unsettled for record in await world.ask(base.Agents()))
    found = [await world.fetch(f"bob{n}", None, 100_000, 1 << 30) for n in range(FAN)]
    waiting = [len(each.copies) for each in found]
    assert not any(each.more for each in found)
    assert counted == sum(waiting)
    await world.store.close()
