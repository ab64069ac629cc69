"""Namespaces of a Redis are backed up while somebody commits, and are another one's start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.world import World
from tests.support.redis_server import RedisServer
from trishula_broker.backup import ahead, make, restore
from trishula_broker.backup.errors import BackupError
from trishula_broker.backup.manifest import Manifest
from trishula_broker.backup.redis import Source
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore

LARGE = base.MailboxLimits(messages=100_000, bytes=1 << 30)


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody follows."""


async def back_up(
    server: RedisServer, file: Path, *namespaces: str, longest: float = 60.0
) -> Manifest:
    source = Source(server.url, {}, longest)
    made = await asyncio.to_thread(
        make.from_redis, file, source, namespaces, file.parent, None, quiet
    )
    return made.manifest


async def put_back(server: RedisServer, file: Path, *, force: bool = False) -> Manifest:
    source = Source(server.url, {}, 0.0)
    return await asyncio.to_thread(
        lambda: restore.to_redis(file, source, file.parent, None, quiet, force=force)
    )


@asynccontextmanager
async def a_world(
    server: RedisServer, node: str = "", namespace: str = "default"
) -> AsyncIterator[World]:
    """An open store, whose clock is Redis's own where a node is named."""
    world = World(
        lambda: RedisStore(server.url, LARGE, timeout=60, node=node, own_clock=bool(node)),
        namespace,
    )
    await world.store.open()
    try:
        yield world
    finally:
        await world.store.close()


async def fill(world: World, messages: int) -> None:
    """Mail from ada to bob; every third message is settled, some are threads'."""
    await world.come("ada", groups=("ops",))
    await world.come("bob", caps=("review",), groups=("ops",))
    for n in range(messages):
        thread = None if n % 2 else "t"
        accepted = await world.send("ada", "bob", f"m{n:05}", thread=thread)
        if n % 3 == 0:
            await world.do(world.settle("bob", accepted.seq))


async def test_a_namespace_is_as_it_was(redis: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    async with a_world(redis) as world:
        await fill(world, 140)  # more than a piece of each large key
        await world.send("ada", "@review", "by-capability", ttl=1_000_000_000)
        before = [await world.fate("ada", f"m{n:05}") for n in range(140)]
        waiting = await world.waiting("bob")
        thread = await world.ask(base.History("ada", "t", 0, 1_000))
    manifest = await back_up(redis, file)
    (space,) = manifest.namespaces
    assert (space.name, space.agents, space.messages) == ("default", 2, 141)
    assert (space.waiting, space.seq) == (len(waiting), 141)
    redis.ask("FLUSHALL")
    await put_back(redis, file)
    async with a_world(redis) as world:
        after = [await world.fate("ada", f"m{n:05}") for n in range(140)]
        assert after == before
        assert await world.ask(base.History("ada", "t", 0, 1_000)) == thread
        await world.come("bob")
        await world.come("ada")
        assert await world.waiting("bob") == waiting
        outcome = await world.do(world.mail("ada", "bob", "m00007"))
        assert isinstance(outcome[0], base.Duplicate)
        later = await world.send("ada", "#ops", "later")
        assert later.seq == 141 + ahead.SEQS + 1
        assert world.epochs["bob"] > ahead.EPOCHS
        assert await world.waiting("bob") == [*waiting, later.seq]
        assert [m.id for m in await world.ask(base.History("ada", None, 140, 9))] == [
            "by-capability",
            "later",
        ]


async def test_a_backup_has_the_runs_of_a_namespace(redis: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    async with a_world(redis) as world:
        await world.come("ada")
        await world.come("bob")
        await world.do(base.Archive("n", 0))
        seqs: list[int] = []
        for run in range(60):  # more than a piece of each key
            mails = (world.mail("ada", "bob", f"m{run:02}-{n}") for n in range(3))
            seqs += [outcome.seq for outcome in await world.do(*mails)]
        await world.do(world.settle("bob", *seqs[:100]))
        before = await world.ask(base.History("bob", None, 0, 1_000))
        trail = await world.ask(base.Trail(0, 1_000))
    manifest = await back_up(redis, file)
    (space,) = manifest.namespaces
    assert (space.messages, space.waiting) == (180, 80)
    redis.ask("FLUSHALL")
    await put_back(redis, file)
    async with a_world(redis) as world:
        assert await world.ask(base.History("bob", None, 0, 1_000)) == before
        await world.come("ada")
        await world.come("bob")
        assert await world.waiting("bob") == seqs[100:]
        await world.do(world.settle("bob", *seqs[100:]))
        assert await world.waiting("bob") == []
        # What the trail tells of outlives the messages, as long as somebody wants to know it.
        await world.do(base.Archive("n", ahead.ENTRIES))
        world.now += 1_000
        while await world.store.trim(world.now, base.Retention(1, 0, 1, 0)):
            pass
        assert await world.ask(base.History("bob", None, 0, 1_000)) == ()
        again = await world.ask(base.Trail(ahead.ENTRIES, 1_000))
        assert [entry.done for entry in again[: len(trail)]] == [entry.done for entry in trail]


async def test_a_backup_beside_commits_is_one_moment(redis: RedisServer, tmp_path: Path) -> None:
    told: list[str] = []
    settled: list[str] = []
    files: list[tuple[int, int, Path]] = []
    done = asyncio.Event()
    news = asyncio.Condition()

    async def commit(world: World) -> None:
        n = 0
        while not done.is_set():
            ids = [f"m{n + i:06}" for i in range(5)]
            outcomes = await world.do(*(world.mail("ada", "#all", each, size=300) for each in ids))
            told.extend(ids)
            seqs = [outcome.seq for outcome in outcomes[::2]]
            for name in ("bob", "cid"):
                await world.do(world.settle(name, *seqs))
            settled.extend(ids[::2])
            n += 5
            async with news:
                news.notify()

    async with a_world(redis, "n1") as world:
        await world.come("ada")
        for name in ("bob", "cid"):
            await world.come(name, groups=("all",))
        committing = asyncio.create_task(commit(world))
        for n in range(3):
            goal = len(told) + 100
            async with news:
                await news.wait_for(lambda goal=goal: len(told) >= goal)  # type: ignore[misc]
            counts = len(told), len(settled)
            await back_up(redis, tmp_path / f"file{n}")
            files.append((*counts, tmp_path / f"file{n}"))
        done.set()
        await committing
    for accepted, ended, file in files:
        redis.ask("FLUSHALL")
        await put_back(redis, file)
        async with a_world(redis, "n2") as world:
            sent = [m.id for m in await world.ask(base.History("ada", None, 0, 100_000))]
            assert sent == [f"m{n:06}" for n in range(len(sent))]
            assert set(sent) >= set(told[:accepted])
            waiting = 0
            for id_ in sent:
                fates = await world.fate("ada", id_)
                assert set(fates) == {"bob", "cid"}
                if id_ in settled[:ended]:
                    assert {fate.outcome for fate in fates.values()} == {"done"}
                waiting += sum(fate.outcome is None for fate in fates.values())
            agents = await world.ask(base.Agents())
            assert sum(agent.unsettled for agent in agents) == waiting


async def test_trimming_passes_over_the_numbers_that_were_left_out(
    redis: RedisServer, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    async with a_world(redis) as world:
        await fill(world, 6)
    for n in range(2):
        await back_up(redis, file.with_name(f"file{n}"))
        await put_back(redis, file.with_name(f"file{n}"), force=True)
    async with a_world(redis) as world:
        await world.come("ada")
        await world.come("bob")
        last = await world.send("ada", "bob", "last")
        assert last.seq > 2 * ahead.SEQS
        await world.do(world.settle("bob", *await world.waiting("bob")))
        world.now += 10_000_000
        gone = await world.store.trim(world.now, base.Retention(1, 0, 1, 0))
        assert gone == 7
        assert await world.ask(base.History("ada", None, 0, 99)) == ()
        assert await world.store.trim(world.now, base.Retention(1, 0, 1, 0)) == 0


async def test_the_trail_goes_on_under_new_positions(redis: RedisServer, tmp_path: Path) -> None:
    async with a_world(redis) as world:
        await world.come("ada")
        await world.do(base.Archive("n1", 0))
        await world.come("bob")
        await world.send("ada", "bob", "first")
        before = await world.ask(base.Trail(0, 100))
        assert len(before) == 2
    await back_up(redis, tmp_path / "file")
    await put_back(redis, tmp_path / "file", force=True)
    async with a_world(redis) as world:
        assert await world.ask(base.Archives()) == ()
        await world.do(base.Archive("n1", before[-1].pos))
        await world.come("ada")
        entries = await world.ask(base.Trail(before[-1].pos, 100))
        assert [each.pos - ahead.ENTRIES for each in entries[:2]] == [each.pos for each in before]
        assert [each.done for each in entries[:2]] == [each.done for each in before]
        assert len(entries) == 3


async def test_only_what_is_named_is_backed_up_and_replaced(
    redis: RedisServer, tmp_path: Path
) -> None:
    for name in ("one", "two", "a*b[c]"):
        async with a_world(redis, namespace=name) as world:
            await fill(world, 3)
    redis.ask("SET", "somebody's", "else")
    manifest = await back_up(redis, tmp_path / "file", "two", "a*b[c]")
    assert [each.name for each in manifest.namespaces] == ["a*b[c]", "two"]
    async with a_world(redis, namespace="one") as world:
        await world.come("ada")
        await world.send("ada", "bob", "kept")
    await put_back(redis, tmp_path / "file", force=True)
    async with a_world(redis, namespace="one") as world:
        assert (await world.ask(base.History("ada", None, 0, 99)))[-1].id == "kept"
    assert "else" in redis.ask("GET", "somebody's")
    with pytest.raises(BackupError, match=r"has no namespace 'three': a.*one, two is there"):
        await back_up(redis, tmp_path / "other", "three")
    assert not (tmp_path / "other").exists()


async def test_a_namespace_that_is_not_empty_is_refused_and_left_alone(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with a_world(redis) as world:
        await fill(world, 3)
    await back_up(redis, tmp_path / "file")
    async with a_world(redis) as world:
        await world.come("ada")
        await world.send("ada", "bob", "later")
    with pytest.raises(BackupError, match=r"namespace 'default' is not empty: .*--force"):
        await put_back(redis, tmp_path / "file")
    async with a_world(redis) as world:
        assert (await world.ask(base.History("ada", None, 0, 99)))[-1].id == "later"


async def test_a_namespace_that_a_hub_serves_is_refused(redis: RedisServer, tmp_path: Path) -> None:
    async with a_world(redis, "hub-1") as world:
        await world.do(base.Beat("hub-1", "life", "primary", "ws://x", 60_000, True))
        await back_up(redis, tmp_path / "file")
        with pytest.raises(BackupError, match="hub-1 serves namespace 'default' there: stop every"):
            await put_back(redis, tmp_path / "file", force=True)


async def test_a_restore_that_was_cut_short_lets_no_hub_start(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(redis) as world:
        await fill(world, 30)
    await back_up(redis, tmp_path / "file")
    redis.ask("FLUSHALL")
    with monkeypatch.context() as patch:
        patch.setattr("trishula_broker.backup.redis_reading.SMALL", 1)

        async def fail(*_: object) -> None:
            raise OSError("the line is dead")

        patch.setattr("trishula_broker.backup.redis.Source._compare", fail)
        with pytest.raises(BackupError, match="the line is dead"):
            await put_back(redis, tmp_path / "file")
    with pytest.raises(base.StoreError, match="`broker restore --force`"):
        async with a_world(redis):
            pass
    with pytest.raises(BackupError, match="from a restore that was cut short"):
        await put_back(redis, tmp_path / "file")
    await put_back(redis, tmp_path / "file", force=True)
    async with a_world(redis) as world:
        assert len(await world.ask(base.History("ada", None, 0, 99))) == 30


async def test_what_takes_longer_than_the_pause_is_no_backup(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with a_world(redis) as world:
        await fill(world, 3)
        with pytest.raises(BackupError, match=r"was not read within 1e-05 s.*--longest-pause"):
            await back_up(redis, tmp_path / "file", longest=0.000_01)
        assert not (tmp_path / "file").exists()
        await world.send("ada", "bob", "commits-go-on")
        await back_up(redis, tmp_path / "file")


async def test_two_backups_at_once_are_refused(redis: RedisServer, tmp_path: Path) -> None:
    async with a_world(redis) as world:
        await fill(world, 3)
    redis.ask("SET", "trishula:{trishula}:backup", "1", "PX", "60000")
    with pytest.raises(BackupError, match="another backup of it is being made"):
        await back_up(redis, tmp_path / "file")


async def test_a_flipped_byte_is_refused(redis: RedisServer, tmp_path: Path) -> None:
    async with a_world(redis) as world:
        await fill(world, 3)
    await back_up(redis, tmp_path / "file")
    content = bytearray((tmp_path / "file").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "file").write_bytes(content)
    redis.ask("FLUSHALL")
    with pytest.raises(BackupError, match="it is no whole backup"):
        await put_back(redis, tmp_path / "file")
    assert redis.ask("DBSIZE").startswith(":0")
