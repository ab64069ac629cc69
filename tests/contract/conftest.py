"""The stores under contract, each wrapped in a :class:`World`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.world import World
from tests.support.redis_server import RedisServer
from trishula_broker.store.base import MailboxLimits, Store
from trishula_broker.store.memory import MemoryStore
from trishula_broker.store.redis import RedisStore
from trishula_broker.store.sqlite import SqliteStore

LIMITS = MailboxLimits(messages=5, bytes=1_000)


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """A busy machine connects late, and that is no failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trishula_broker.store.redis.store.CONNECT_TIMEOUT", 60.0)
        yield


@pytest.fixture(scope="session")
def running_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis(running_redis: RedisServer) -> RedisServer:
    """A Redis with nothing in it."""
    running_redis.ask("FLUSHALL")
    return running_redis


MakeRedis = Callable[[str], Store]


@pytest.fixture
async def make_redis(request: pytest.FixtureRequest) -> AsyncIterator[MakeRedis]:
    """Makes stores of nodes in a Redis with nothing else in it; the clock is the test's."""
    made: list[Store] = []

    def make(node: str) -> Store:
        # Asked for only now, so that tests of other stores need no server.
        url = request.getfixturevalue("redis").url
        made.append(RedisStore(url, LIMITS, timeout=60, node=node, own_clock=False))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(
    request: pytest.FixtureRequest, tmp_path: Path, make_redis: MakeRedis
) -> Callable[[], Store]:
    """Makes the store, and makes it again as a restarted process would."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "data", LIMITS)
    if request.param == "redis":
        return lambda: make_redis("")
    model = MemoryStore(LIMITS)
    return lambda: model


@pytest.fixture
async def world(make: Callable[[], Store]) -> AsyncIterator[World]:
    """An open store with nobody in it."""
    world = World(make)
    await world.store.open()
    yield world
    await world.store.close()


@pytest.fixture(params=["memory", "redis"])
def make_nodes(request: pytest.FixtureRequest, make_redis: MakeRedis) -> Callable[[str], Store]:
    """Makes the store as the node of that name has it; all of them share what is in it."""
    return make_redis if request.param == "redis" else MemoryStore(LIMITS).node
