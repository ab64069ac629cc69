"""The stores under contract, each wrapped in a :class:`World`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.contract.world import World
from trishula_broker.store.base import MailboxLimits, Store
from trishula_broker.store.memory import MemoryStore
from trishula_broker.store.sqlite import SqliteStore

LIMITS = MailboxLimits(messages=5, bytes=1_000)


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes the store, and makes it again as a restarted process would."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "data", LIMITS)
    model = MemoryStore(LIMITS)
    return lambda: model


@pytest.fixture
async def world(make: Callable[[], Store]) -> AsyncIterator[World]:
    """An open store with nobody in it."""
    world = World(make)
    await world.store.open()
    yield world
    await world.store.close()


@pytest.fixture(params=["memory"])
def make_nodes() -> Callable[[str], Store]:
    """Makes the store as the node of that name has it; all of them share what is in it."""
    return MemoryStore(LIMITS).node
