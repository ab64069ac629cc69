"""A Redis that stops, hangs or refuses: nothing is acknowledged, and it goes on by itself."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from tests.contract.world import World
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore
from trishula_broker.store.redis.link import SCHEMA

TIMEOUT = 5.0
"""Of a store whose Redis never answers; long for one that does."""
WAITING = 200


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    server = RedisServer(tmp_path / "redis", enable_protected_configs="yes")
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def open_world(server: RedisServer, timeout: float) -> AsyncIterator[World]:
    world = World(lambda: RedisStore(server.url, timeout=timeout, node="n1"))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    yield world
    await world.store.close()


@pytest.fixture
async def world(server: RedisServer) -> AsyncIterator[World]:
    """A store in it, with two agents; patient, for a busy machine answers late."""
    async with open_world(server, 60.0) as world:
        yield world


@pytest.fixture
async def hasty(server: RedisServer) -> AsyncIterator[World]:
    """The same, which gives up soon."""
    async with open_world(server, TIMEOUT) as world:
        yield world


async def works_again(world: World, id_: str) -> base.Accepted:
    """The message is accepted as soon as it can be."""
    started = time.monotonic()
    while True:
        try:
            (outcome,) = await world.do(world.mail("ada", "bob", id_))
        except base.StoreUnavailable:
            assert time.monotonic() - started < 60  # instead of hanging
            await asyncio.sleep(0.05)
            continue
        assert isinstance(outcome, base.Accepted), outcome
        return outcome


async def problem(world: World) -> Any:
    return (await world.store.health())["problem"]


async def test_killed_and_started_again(world: World, server: RedisServer) -> None:
    for n in range(3):
        before = await world.send("ada", "bob", f"before{n}")
        server.kill()
        with pytest.raises(base.StoreUnavailable, match=r"cannot reach Redis at 127\.0\.0\.1"):
            await world.send("ada", "bob", "never")
        with pytest.raises(base.StoreUnavailable):
            await world.ask(base.Agents())
        assert "cannot reach Redis" in await problem(world)
        server.start()
        assert (await works_again(world, f"after{n}")).seq == before.seq + 1
        assert await problem(world) is None
    assert len(await world.waiting("bob")) == 6


async def test_a_commit_of_nothing_asks_whether_it_is_well(
    world: World, server: RedisServer
) -> None:
    assert await world.store.commit(0, []) == []
    server.kill()
    for _ in range(2):
        with pytest.raises(base.StoreUnavailable):
            await world.store.commit(0, [])
    assert "cannot reach Redis" in await problem(world)
    server.start()
    assert await world.store.commit(0, []) == []


async def test_an_error_has_the_cause_that_it_came_from(world: World, server: RedisServer) -> None:
    server.kill()
    for failing in (
        world.store.commit(0, []),
        world.ask(base.Agents()),
        world.store.trim(0, base.Retention()),
    ):
        with pytest.raises(base.StoreUnavailable) as caught:
            await failing
        assert isinstance(caught.value.__cause__, RedisError | OSError), caught.value.__cause__


async def test_what_a_frozen_one_finds_when_it_thaws_is_too_late(
    hasty: World, server: RedisServer
) -> None:
    server.signal(signal.SIGSTOP)
    with pytest.raises(base.StoreUnavailable, match="does not answer in time"):
        await hasty.send("ada", "bob", "m1")
    # The command is in the socket, and would be done now.
    server.signal(signal.SIGCONT)
    await works_again(hasty, "m2")
    assert await hasty.ask(base.Trace("ada", "m1")) == ()


async def test_whoever_waits_behind_others_waits_no_longer_than_they(
    hasty: World, server: RedisServer
) -> None:
    await hasty.ask(base.Agents())
    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    asked = (hasty.ask(base.Agents()) for _ in range(WAITING))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, base.StoreUnavailable) for answer in answers)
    assert time.monotonic() - started < WAITING * TIMEOUT / 4
    server.signal(signal.SIGCONT)
    assert len(await hasty.ask(base.Agents())) == 2


async def test_out_of_memory(world: World, server: RedisServer) -> None:
    done = await world.send("ada", "bob", "m0")
    await world.do(world.settle("bob", done.seq))
    server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(base.StoreUnavailable, match="out of memory"):
        await world.send("ada", "bob", "m1")
    assert "out of memory" in await problem(world)
    assert len(await world.ask(base.Agents())) == 2  # questions need none
    # What makes room is done all the same.
    assert await world.store.trim(0, base.Retention(max_bytes=0, dedup_ms=0)) == 1
    server.ask("CONFIG", "SET", "maxmemory", "0")
    await works_again(world, "m1")


async def test_a_script_that_was_forgotten_is_loaded_again(
    world: World, server: RedisServer
) -> None:
    server.ask("SCRIPT", "FLUSH")
    await world.send("ada", "bob", "m1")
    server.ask("SCRIPT", "FLUSH")
    assert len(await world.ask(base.Agents())) == 2


async def test_too_few_replicas_for_the_server_itself(world: World, server: RedisServer) -> None:
    server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(base.StoreUnavailable, match="too few replicas"):
        await world.send("ada", "bob", "m1")
    server.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    await works_again(world, "m1")


async def test_a_master_that_became_a_replica(world: World, server: RedisServer) -> None:
    server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
    with pytest.raises(base.StoreUnavailable):
        await world.send("ada", "bob", "m1")
    with pytest.raises(base.StoreUnavailable, match="is a replica"):
        await world.send("ada", "bob", "m1")
    server.ask("REPLICAOF", "NO", "ONE")
    await works_again(world, "m1")


async def test_a_disk_that_cannot_be_written(world: World, server: RedisServer) -> None:
    server.ask("CONFIG", "SET", "save", "1 1")
    (server.directory / "dump").mkdir()
    server.ask("CONFIG", "SET", "dbfilename", "dump")  # it cannot put a file there
    server.ask("BGSAVE")
    server.wait_for("rdb_last_bgsave_status:err", "INFO", "persistence")
    with pytest.raises(base.StoreUnavailable, match="cannot write to its disk"):
        await world.send("ada", "bob", "m1")
    server.ask("CONFIG", "SET", "dbfilename", "good")
    server.ask("BGSAVE")
    await works_again(world, "m1")


async def test_one_that_still_loads_its_data(world: World, server: RedisServer) -> None:
    before = await world.send("ada", "bob", "m1")
    server.ask("EVAL", "for n = 1, 5000 do redis.call('SET', 'load:' .. n, n) end", "0")
    server.kill()
    starting = asyncio.create_task(asyncio.to_thread(server.start, "--key-load-delay", "1000"))
    said = ""
    async with asyncio.timeout(60):
        while "Redis is loading its data" not in said:
            with pytest.raises(base.StoreUnavailable) as caught:
                await world.send("ada", "bob", "m2")
            said = str(caught.value)
            assert await problem(world) is not None
    server.ask("CONFIG", "SET", "key-load-delay", "0")
    await starting
    assert (await works_again(world, "m2")).seq == before.seq + 1


async def test_a_commit_that_was_cancelled_leaves_no_answer_behind(world: World) -> None:
    for n in range(20):
        sending = asyncio.create_task(world.send("ada", "bob", f"gone{n}"))
        for _ in range(n % 5):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
        accepted = await world.send("ada", "bob", f"m{n}")
        (traced,) = await world.ask(base.Trace("ada", f"m{n}"))
        assert traced.message.seq == accepted.seq


# --- refusals -----------------------------------------------------------------------------------


async def test_a_newer_schema_is_refused_and_a_compatible_one_is_not(server: RedisServer) -> None:
    key = "trishula:{trishula}:schema"
    store = RedisStore(server.url, timeout=60)
    await store.open()
    await store.close()
    assert "version" in server.ask("HGETALL", key)
    server.ask("HSET", key, "version", str(SCHEMA + 1), "oldest", str(SCHEMA))
    await store.open()
    await store.close()
    newer = SCHEMA + 1
    server.ask("HSET", key, "version", str(newer), "oldest", str(newer))
    with pytest.raises(
        base.StoreError, match=rf"made by a newer version.*schema {newer}"
    ) as raised:
        await store.open()
    assert not isinstance(raised.value, base.StoreUnavailable)


async def test_a_password_is_asked_for(server: RedisServer) -> None:
    server.ask("ACL", "SETUSER", "hub", "on", ">a b/c", "~trishula:*", "&trishula:*", "+@all")
    server.ask("CONFIG", "SET", "requirepass", "other")
    with pytest.raises(base.StoreUnavailable, match=r"asks for a password: set TRISHULA_REDIS_PA"):
        await RedisStore(server.url).open()
    with pytest.raises(base.StoreUnavailable, match="does not accept the user or the password"):
        await RedisStore(server.url, username="hub", password="wrong").open()
    url = server.url.replace("//", "//hub:a%20b%2Fc@")
    for store in (
        RedisStore(url, timeout=60),
        RedisStore(server.url, timeout=60, username="hub", password="a b/c"),
    ):
        world = World(lambda store=store: store)  # type: ignore[misc]
        await store.open()
        await world.come("ada")
        await store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://x", "it must be redis://"),
        ("redis+sentinel://h1,h2", "names no master"),
        ("redis+cluster://h1/3", "database 0 only"),
        ("redis://h1:port", "cannot be understood"),
        ("redis://h1/zero", "what follows the host is no number"),
        ("redis://h1/0?color=red", "cannot be understood.*color"),
        ("redis+sentinel://h1,/name", "'' is no host"),
        ("redis+cluster://h1:port", "cannot be understood"),
    ],
)
def test_a_url_that_cannot_be_understood(url: str, said: str) -> None:
    with pytest.raises(base.StoreError, match=said):
        RedisStore(url)


def test_a_password_that_is_not_quoted_is_not_told() -> None:
    for url in ("redis://hub:one/two@h1", "redis://hub:1/two@h1", "redis+cluster://hub:one/two@h1"):
        with pytest.raises(base.StoreError) as raised:
            RedisStore(url)
        told = str(raised.value).partition("It must be")[0]
        assert [word for word in ("one", "two") if word in told.replace("no number", "")] == []


# --- what it says of itself -----------------------------------------------------------------------


async def test_health_warns_of_what_may_lose_messages(server: RedisServer) -> None:
    store = RedisStore(server.url, timeout=60)
    await store.open()
    health = await store.health()
    assert (health["durability"], health["warnings"], health["role"]) == ("always", [], "master")
    server.ask("CONFIG", "SET", "appendfsync", "everysec")
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    warnings = (await store.health())["warnings"]
    assert ["everysec" in warnings[0], "allkeys-lru" in warnings[1]] == [True, True]
    server.ask("CONFIG", "SET", "appendonly", "no")
    health = await store.health()
    assert health["durability"] == "none"
    assert "no append-only file" in health["warnings"][0]
    await store.close()
    assert (await store.health())["problem"] == "the store is closed"
