"""A SQLite store while one thread writes: what others may ask meanwhile, and are told."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.world import World
from trishula_broker.store import base
from trishula_broker.store.sqlite import SqliteStore

PATIENCE_S = 60


class Gate:
    """What stands between a store and its database: holds a statement back when it is shut."""

    def __init__(self) -> None:
        self.before = ""
        """Statements that begin like this wait; empty: none."""
        self.reached = asyncio.Event()
        self._open = threading.Event()
        self._loop = asyncio.get_running_loop()

    def shut(self, before: str) -> None:
        self.before = before

    def open(self) -> None:
        self.before = ""
        self._open.set()

    def connect(self, path: Path, **settings: Any) -> sqlite3.Connection:
        gate = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if gate.before and sql.startswith(gate.before):
                    gate._loop.call_soon_threadsafe(gate.reached.set)
                    assert gate._open.wait(PATIENCE_S)
                return super().execute(sql, *args)

        return sqlite3.connect(path, factory=Connection, **settings)


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def world(tmp_path: Path, gate: Gate) -> AsyncIterator[World]:
    world = World(lambda: SqliteStore(tmp_path / "data", connect=gate.connect))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    yield world
    gate.open()
    await world.store.close()


async def test_a_question_asked_while_another_folds_sees_what_was_committed(
    world: World, gate: Gate
) -> None:
    sent = await world.send("ada", "bob", "m1")
    gate.shut("COMMIT")
    question = base.History("ada", None, 0, 10)
    first = asyncio.create_task(world.ask(question))
    await asyncio.wait_for(gate.reached.wait(), PATIENCE_S)
    second = asyncio.create_task(world.ask(question))
    await world.ask(base.Agents())  # answered behind whatever the second asked of the reader
    gate.open()
    for asked in (first, second):
        found = await asyncio.wait_for(asked, PATIENCE_S)
        assert [message.seq for message in found] == [sent.seq]


async def test_a_question_asked_before_the_store_is_closed_is_refused_or_answered(
    world: World, gate: Gate
) -> None:
    await world.send("ada", "bob", "m1")
    gate.shut("COMMIT")
    asked = asyncio.create_task(world.ask(base.Trace("ada", "m1")))
    trimmed = asyncio.create_task(world.store.trim(world.now, base.Retention()))
    await asyncio.wait_for(gate.reached.wait(), PATIENCE_S)
    closed = asyncio.create_task(world.store.close())
    await asyncio.sleep(0)
    gate.open()
    for task in (asked, trimmed):
        with pytest.raises(base.StoreUnavailable, match="closed"):
            await asyncio.wait_for(task, PATIENCE_S)
    await asyncio.wait_for(closed, PATIENCE_S)
