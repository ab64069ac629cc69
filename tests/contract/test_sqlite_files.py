"""What a SQLite store does with files: who may have them, and what happens when they fail."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import stat
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.world import World, body
from trishula_broker.store import base
from trishula_broker.store.sqlite import SqliteStore, answers, pages


class Disk:
    """What stands between a store and its database: fails when it is told to."""

    def __init__(self) -> None:
        self.error: str | None = None
        self.code = sqlite3.SQLITE_IOERR
        self.fails_at: str | tuple[str, ...] = ""
        self.waits_at: str | None = None
        self.waits_for = threading.Event()
        self.connections: list[sqlite3.Connection] = []

    def connect(self, path: Path, **settings: Any) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if disk.error and sql.startswith(disk.fails_at):
                    error = sqlite3.OperationalError(disk.error)
                    error.sqlite_errorcode = disk.code
                    raise error
                if disk.waits_at and sql.startswith(disk.waits_at):
                    disk.waits_for.wait()
                return super().execute(sql, *args)

        db = sqlite3.connect(path, factory=Connection, **settings)
        self.connections.append(db)
        return db


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def world(tmp_path: Path, disk: Disk) -> AsyncIterator[World]:
    world = World(lambda: SqliteStore(tmp_path / "data", node="n1", connect=disk.connect))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    yield world
    await world.store.close()


async def problem(world: World) -> str:
    return str((await world.store.health())["problem"])


@pytest.mark.parametrize("fails_at", ["BEGIN", "INSERT INTO pages", "INSERT INTO copies", "COMMIT"])
async def test_what_cannot_be_written_is_not_promised_and_works_again_by_itself(
    world: World, disk: Disk, fails_at: str
) -> None:
    kept = await world.send("ada", "bob", "m1")
    disk.error, disk.fails_at = "disk I/O error", fails_at
    for n in range(3):
        with pytest.raises(base.StoreUnavailable, match="disk I/O error"):
            await world.do(
                world.settle("bob", kept.seq),
                world.mail("ada", "bob", f"n{n}"),
                base.Update("ada", 0, None, "ops", None),
            )
    assert "disk I/O error" in await problem(world)
    record = await world.agent("bob")
    assert (record.unsettled, record.online) == (1, True)
    disk.error = None
    assert (await world.agent("ada")).groups == ()
    assert await world.waiting("bob") == [kept.seq]
    assert (await world.send("ada", "bob", "n0")).seq > kept.seq
    assert await problem(world) == "None"
    assert (await world.agent("bob")).unsettled == 2


@pytest.mark.parametrize("fails_at", ["INSERT INTO pages", "INSERT INTO copies", "UPDATE counters"])
async def test_what_cannot_be_folded_stays_in_the_journal(
    world: World, disk: Disk, fails_at: str
) -> None:
    first = await world.send("ada", "bob", "m1")
    second = await world.send("ada", "bob", "m2")
    await world.do(world.settle("bob", first.seq))
    disk.error, disk.fails_at = "disk I/O error", fails_at
    with pytest.raises(base.StoreUnavailable, match="disk I/O error"):
        await world.ask(base.Trace("ada", "m1"))  # a question about copies needs the tables
    with pytest.raises(base.StoreUnavailable, match="disk I/O error"):
        await world.send("ada", "bob", "m3")
    disk.error = None
    (traced,) = await world.ask(base.Trace("ada", "m1"))
    assert [copy.outcome for copy in traced.copies] == ["done"]
    assert await world.waiting("bob") == [second.seq]
    assert (await world.agent("bob")).unsettled == 1


@pytest.mark.parametrize("errno_", [errno.EIO, errno.ENOSPC])
async def test_what_cannot_be_journalled_is_not_promised(
    world: World, monkeypatch: pytest.MonkeyPatch, errno_: int
) -> None:
    kept = await world.send("ada", "bob", "m1")

    def fail(*_: Any) -> int:
        raise OSError(errno_, os.strerror(errno_))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", fail)
        with pytest.raises(base.StoreUnavailable, match=os.strerror(errno_)):
            await world.send("ada", "bob", "m2")
        assert (await world.agent("bob")).unsettled == 1
    assert await world.waiting("bob") == [kept.seq]
    await world.send("ada", "bob", "m2")
    assert (await world.agent("bob")).unsettled == 2


async def test_a_record_that_was_written_but_not_confirmed_counts_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwritev

    def fail_late(*args: Any) -> int:
        write(*args)
        raise OSError(errno.EIO, "the disk went away")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", fail_late)
        with pytest.raises(base.StoreUnavailable):
            await world.send("ada", "bob", "m1")
    (again,) = await world.do(world.mail("ada", "bob", "m1"))
    assert isinstance(again, base.Duplicate)
    assert await world.waiting("bob") == [again.seq]


async def test_half_a_transaction_that_cannot_be_rolled_back_is_not_gone_on_with(
    world: World, disk: Disk
) -> None:
    disk.error, disk.fails_at = "disk I/O error", ("INSERT INTO copies", "ROLLBACK")
    op = base.Update("ada", 0, None, "ops", None)
    with pytest.raises(base.StoreUnavailable):
        await world.do(op, world.mail("ada", "bob", "m1"))
    disk.fails_at = "ROLLBACK"
    with pytest.raises(base.StoreUnavailable):
        await world.do(world.mail("ada", "bob", "m1"))
    disk.error = None
    sent = await world.send("ada", "bob", "m1")
    assert await world.waiting("bob") == [sent.seq]
    assert (await world.agent("ada")).groups == ()


async def test_ids_that_do_not_sort_are_looked_up_or_refused(world: World, disk: Disk) -> None:
    await world.send("ada", "bob", "b")
    await world.waiting("bob")
    mails = [world.mail("ada", "bob", id_) for id_ in ("d", "c")]
    disk.error, disk.fails_at = "disk I/O error", ("SELECT", "-- Where")
    with pytest.raises(base.StoreUnavailable, match="disk I/O error"):
        await world.do(*mails)
    assert "disk I/O error" in await problem(world)
    disk.error = None
    accepted = await world.do(*mails)
    assert [type(outcome) for outcome in accepted] == [base.Accepted] * 2
    again = await world.do(*reversed(mails), world.mail("ada", "bob", "b"))
    assert [type(outcome) for outcome in again] == [base.Duplicate] * 3


async def test_repetitions_do_not_pile_up_in_memory(world: World) -> None:
    size = 1 << 20
    for n in range(12):
        await world.send("ada", "bob", f"m{n}", size=size)
    await world.waiting("bob")
    tracemalloc.start()
    try:
        for n in range(12):
            (again,) = await world.do(world.mail("ada", "bob", f"m{n}"))
            assert isinstance(again, base.Duplicate)
        del again
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 * size


async def test_what_is_at_hand_asks_no_table(world: World, disk: Disk) -> None:
    await world.send("ada", "bob", "m1")  # the session's first commit has written to the tables
    disk.error = "no statement may run"
    sent = await world.send("ada", "bob", "m2")
    await world.do(world.settle("bob", sent.seq), world.mail("ada", "bob", "m3"))
    disk.error = None
    assert (await world.fate("ada", "m2"))["bob"].outcome == "done"


async def test_many_small_commits_are_folded(
    world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 50)
    reader = disk.connections[1]
    folded = 0
    for n in range(200):
        sent = await world.send("ada", "bob", f"m{n}")
        if n % 2:
            await world.do(world.settle("bob", sent.seq))
        (folded,) = reader.execute("SELECT ifnull(max(last), 0) FROM pages").fetchone()
    assert 0 < folded < 200
    found = await world.ask(base.History("ada", None, 0, 1_000))
    assert [message.id for message in found] == [f"m{n}" for n in range(200)]


async def test_who_folds_little_behind_commits_rests_and_who_is_waited_for_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[str] = []
    monkeypatch.setattr(
        "trishula_broker.store.sqlite.fold._rest",
        lambda: rests.append(threading.current_thread().name),
    )
    monkeypatch.setattr("trishula_broker.store.sqlite.pages.RESTS", 8)
    await world.do(*(world.mail("ada", "bob", f"m{n:02}") for n in range(40)))
    await world.waiting("bob")
    assert rests == []
    monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 40)
    await world.do(*(world.mail("ada", "bob", f"n{n:02}") for n in range(40)))
    assert len(await world.waiting("bob")) == 80
    assert rests == ["store-folder_0"] * 5
    monkeypatch.setattr("trishula_broker.store.sqlite.fold.LEISURE", 39)
    await world.do(*(world.mail("ada", "bob", f"o{n:02}") for n in range(40)))
    await world.waiting("bob")  # which waits for what is being folded
    assert len(rests) == 5


@pytest.fixture
def held(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Folding begins with each commit, and goes on once this is set."""
    monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 1)
    go_on = threading.Event()
    disk.waits_at, disk.waits_for = "INSERT INTO pages", go_on
    yield go_on
    go_on.set()


async def test_commits_go_on_while_others_are_folded(
    world: World, disk: Disk, held: threading.Event
) -> None:
    first = await world.send("ada", "bob", "m00")
    for n in range(1, 50):
        await world.send("ada", "bob", f"m{n:02}")
    await world.send("ada", "broadcast", "m50")
    settled = await world.do(world.settle("bob", first.seq), world.mail("ada", "bob", "m49"))
    assert settled[0] == base.Marked((first.seq,), ())
    assert isinstance(settled[1], base.Duplicate)
    asked = asyncio.ensure_future(world.ask(base.History("ada", None, 0, 100)))
    done, _ = await asyncio.wait([asked], timeout=0.05)
    assert not done
    held.set()
    assert [message.id for message in await asked] == [f"m{n:02}" for n in range(51)]
    assert len(await world.waiting("bob")) == 50


async def test_what_was_being_folded_is_there_after_a_kill(
    world: World, tmp_path: Path, held: threading.Event
) -> None:
    sent = [await world.send("ada", "bob", f"m{n:02}") for n in range(20)]
    await world.do(world.settle("bob", sent[0].seq))
    left = as_killed(world, tmp_path)
    other = World(lambda: SqliteStore(left))
    await other.store.open()
    assert await other.waiting("bob") == [each.seq for each in sent[1:]]
    await other.store.close()


async def test_beats_and_archivers_wait_for_no_table(
    world: World, tmp_path: Path, held: threading.Event
) -> None:
    await world.do(base.Archive("n1", 0))
    sent = await world.send("ada", "bob", "m1")
    marked = await world.do(
        base.Beat("n1", "life", "primary", "", 5_000),
        base.Delivered("bob", world.epochs["bob"], ((sent.seq, world.now),)),
        base.Archive("n1", 1, digests=((0, "d"),)),
    )
    assert marked[1:] == [base.Marked((sent.seq,), ()), base.Archived(2, 1)]
    left = as_killed(world, tmp_path)
    other = World(lambda: SqliteStore(left))
    await other.store.open()
    (archive,) = await other.ask(base.Archives())
    assert (archive.upto, archive.digests) == (1, ((0, "d"),))
    assert [entry.pos for entry in await other.ask(base.Trail(0, 9))] == [2]
    assert (await other.fate("ada", "m1"))["bob"].delivered_at == world.now
    await other.store.close()


async def test_what_all_archivers_have_by_the_time_it_is_folded_is_in_no_table(
    world: World, disk: Disk
) -> None:
    await world.do(base.Archive("n1", 0))
    sent = [await world.send("ada", "bob", f"m{n}") for n in range(3)]
    found = await world.ask(base.Trail(0, 9))
    disk.error, disk.fails_at = "it is written", "INSERT INTO trail "
    await world.do(base.Archive("n1", found[-1].pos))
    assert await world.waiting("bob") == [each.seq for each in sent]  # which folds
    await world.send("ada", "bob", "m3")
    with pytest.raises(base.StoreUnavailable, match="it is written"):
        await world.waiting("bob")
    disk.error = None


async def test_what_cannot_be_folded_is_told_and_kept(
    world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 1)
    disk.error, disk.fails_at = "disk I/O error", "INSERT INTO pages"
    kept = await world.send("ada", "bob", "m1")
    with pytest.raises(base.StoreUnavailable, match="disk I/O error"):
        await world.waiting("bob")
    assert "disk I/O error" in await problem(world)
    disk.error = None
    assert await world.waiting("bob") == [kept.seq]
    assert await problem(world) == "None"


async def test_what_is_in_the_journal_is_known_before_it_is_folded(world: World) -> None:
    first = await world.send("ada", "bob", "m1")
    await world.do(world.settle("bob", first.seq))
    (again, settled) = await world.do(
        world.mail("ada", "bob", "m1"), world.settle("bob", first.seq)
    )
    assert isinstance(again, base.Duplicate)
    assert again.seq == first.seq
    assert settled == base.Marked((first.seq,), (), again=(first.seq,))


async def test_sessions_stay_live_through_a_failure(world: World, disk: Disk) -> None:
    disk.error = "disk I/O error"
    with pytest.raises(base.StoreUnavailable):
        await world.come("cyd")
    disk.error = None
    await world.send("ada", "bob", "m1", epoch=world.epochs["ada"])


async def test_a_session_that_was_not_begun_for_sure_is_not_live(world: World, disk: Disk) -> None:
    disk.error, disk.fails_at = "disk I/O error", "COMMIT"
    with pytest.raises(base.StoreUnavailable):
        await world.come("cyd")
    disk.error = None
    assert await world.ask(base.Agents(id="cyd")) == ()
    assert (await world.come("cyd")).epoch > world.epochs["bob"]


async def test_a_full_disk_stops_accepting_until_there_is_room(world: World, disk: Disk) -> None:
    writer = disk.connections[0]
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 10}")
    accepted: list[int] = []

    async def fill() -> None:
        while True:
            sent = await world.send("ada", "bob", f"m{len(accepted)}", size=5_000)
            accepted.append(sent.seq)

    with pytest.raises(base.StoreUnavailable, match="free some space"):
        await fill()
    assert accepted
    assert "free some space" in await problem(world)
    writer.execute("PRAGMA max_page_count = 1000000")
    more = await world.send("ada", "bob", "more", size=5_000)
    sent = await world.ask(base.History("ada", None, 0, 10_000))  # what was promised is there
    assert [message.seq for message in sent] == [*accepted, more.seq]
    assert await problem(world) == "None"


async def test_a_question_that_cannot_be_answered_is_unavailable(world: World, disk: Disk) -> None:
    disk.error, disk.fails_at = "disk I/O error", "SELECT"
    with pytest.raises(base.StoreUnavailable, match="disk I/O error"):
        await world.ask(base.Trace("ada", "m1"))
    disk.error = None
    assert await world.ask(base.Trace("ada", "m1")) == ()


async def test_another_programs_lock_is_told(world: World, disk: Disk) -> None:
    disk.error, disk.code = "database is locked", sqlite3.SQLITE_BUSY
    with pytest.raises(base.StoreUnavailable, match="another program"):
        await world.come("cyd")


async def test_files_are_for_their_owner_only(world: World, tmp_path: Path) -> None:
    await world.send("ada", "bob", "m1")
    directory = tmp_path / "data"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}
    assert set(modes) == {"store.db", "store.db-wal", "store.db-shm", "store.journal", "store.lock"}
    assert set(modes.values()) == {0o600}


async def test_each_commit_is_synced(world: World, disk: Disk) -> None:
    writer = disk.connections[0]
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_held_store_says_who_holds_it(world: World, tmp_path: Path) -> None:
    other = SqliteStore(tmp_path / "data", node="n2")
    told = rf"process {os.getpid()} \(node n1\) .* stop that .* --data .* --port"
    with pytest.raises(base.StoreHeld, match=told):
        await other.open()
    await world.store.close()
    await other.open()
    await other.close()
    await world.store.open()


async def test_another_process_cannot_have_it(world: World, tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from trishula_broker.store.sqlite import SqliteStore\n"
        "asyncio.run(SqliteStore(pathlib.Path(sys.argv[1])).open())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "data"), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert b"StoreHeld" in errors
    assert str(os.getpid()).encode() in errors


async def test_a_closed_store_promises_nothing(world: World) -> None:
    await world.store.close()
    with pytest.raises(base.StoreUnavailable, match="closed"):
        await world.send("ada", "bob", "m1")
    with pytest.raises(base.StoreUnavailable, match="closed"):
        await world.ask(base.Agents())
    await world.store.open()


async def test_a_newer_versions_store_is_refused(world: World, tmp_path: Path) -> None:
    await world.store.close()
    path = tmp_path / "data" / "store.db"
    db = sqlite3.connect(path)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute("PRAGMA user_version = 9999")
    db.close()
    with pytest.raises(base.StoreError, match="newer version"):
        await world.store.open()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    await world.store.open()  # the refusal left no lock behind


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(base.StoreError, match="damaged"):
        await SqliteStore(tmp_path).open()


async def test_a_damaged_database_is_refused(world: World, tmp_path: Path) -> None:
    for n in range(50):
        await world.send("ada", "bob", f"m{n}", size=1_000)
    await world.store.close()
    path = tmp_path / "data" / "store.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with pytest.raises(base.StoreError, match="damaged"):
        await world.store.open()
    path.write_bytes(whole)
    await world.store.open()


async def test_a_directory_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(base.StoreError, match="cannot make"):
        await SqliteStore(tmp_path / "file" / "data").open()


async def test_a_failed_migration_leaves_nothing_half_done(tmp_path: Path, disk: Disk) -> None:
    disk.error, disk.fails_at = "disk I/O error", "CREATE TABLE copies"
    store = SqliteStore(tmp_path / "data", connect=disk.connect)
    disk.fails_at = "\nCREATE TABLE copies"
    with pytest.raises(base.StoreError, match="disk I/O error"):
        await store.open()
    disk.error = None
    await store.open()
    await store.close()


async def test_trimmed_space_is_used_again(world: World, disk: Disk) -> None:
    """Bodies that go before their ids, and ids that go later, both make room."""
    writer = disk.connections[0]

    async def fill(start: int) -> int:
        for n in range(start, start + 2_000, 200):
            ops = [world.mail("ada", "bob", f"m{n + i:06}", size=400) for i in range(200)]
            accepted = await world.do(*ops)
            await world.do(world.settle("bob", *(outcome.seq for outcome in accepted)))
        await world.waiting("bob")  # folds
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        assert isinstance(pages, int)
        return pages

    first = await fill(0)
    small = base.Retention(max_age_ms=1 << 40, max_bytes=0, dedup_ms=1 << 40)
    assert await world.store.trim(world.now, small) == 2_000
    second = await fill(2_000)
    assert second < first * 1.7  # ids and fates are kept, bodies are not
    gone = base.Retention(max_age_ms=0, max_bytes=0, dedup_ms=0)
    assert await world.store.trim(world.now, gone) == 4_000
    assert await fill(4_000) <= second


def as_killed(world: World, tmp_path: Path) -> Path:
    """The files as a process leaves them that is killed now."""
    left = tmp_path / "left"
    left.mkdir()
    for name in ("store.db", "store.db-wal", "store.journal"):
        shutil.copy(tmp_path / "data" / name, left)
    return left


async def test_a_database_that_was_not_closed_needs_its_journal(
    world: World, tmp_path: Path
) -> None:
    await world.waiting("bob")
    await world.send("ada", "bob", "m1")
    left = as_killed(world, tmp_path)
    journal = left / "store.journal"
    whole = journal.read_bytes()
    for why, content in {
        "missing": None,
        "cut off": whole[:-1],
        "another": whole[:8] + bytes(8) + whole[16:],
    }.items():
        if content is None:
            journal.unlink()
        else:
            journal.write_bytes(content)
        with pytest.raises(base.StoreError, match=f"store.journal .*{why}.* Put that one there"):
            await SqliteStore(left).open()
    journal.write_bytes(whole)
    other = World(lambda: SqliteStore(left))
    await other.store.open()
    assert len(await other.waiting("bob")) == 1
    await other.store.close()


async def test_one_can_do_without_the_journal(world: World, tmp_path: Path) -> None:
    await world.send("ada", "bob", "m1")
    await world.waiting("bob")
    await world.send("ada", "bob", "m2")
    left = as_killed(world, tmp_path)
    (left / "store.journal").write_text("none\n")
    other = World(lambda: SqliteStore(left))
    await other.store.open()
    assert len(await other.waiting("bob")) == 1
    await other.send("ada", "bob", "m3")
    await other.restart()
    assert len(await other.waiting("bob")) == 2
    await other.store.close()


async def test_a_database_that_was_closed_needs_no_journal(world: World, tmp_path: Path) -> None:
    await world.send("ada", "bob", "m1")
    await world.store.close()
    (tmp_path / "data" / "store.journal").unlink()
    await world.store.open()
    world.epochs.clear()
    assert len(await world.waiting("bob")) == 1


async def test_the_journal_of_another_database_does_not_come_into_a_new_one(
    tmp_path: Path,
) -> None:
    """Not even when its records have the very numbers that come next."""
    world = World(lambda: SqliteStore(tmp_path / "data"))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    await world.send("ada", "bob", "m1")
    left = as_killed(world, tmp_path)
    await world.store.close()
    (left / "store.db").unlink()
    (left / "store.db-wal").unlink()
    other = World(lambda: SqliteStore(left))
    await other.store.open()
    await other.come("bob")
    assert await other.waiting("bob") == []
    await other.store.close()


async def test_health_tells_what_there_is(world: World, tmp_path: Path) -> None:
    await world.send("ada", "bob", "m1", size=50)
    health = await world.store.health()
    assert (health["kind"], health["durability"], health["log_bytes"]) == ("sqlite", "full", 50)
    assert health["path"] == str(tmp_path / "data" / "store.db")
    assert health["bytes"] > len(body(50))


async def test_whether_somebody_took_part_in_a_long_thread_is_seen_a_piece_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, sizes = pages.read, []

    def counted(db: sqlite3.Connection, seqs: Iterable[int]) -> dict[int, pages.Entry]:
        wanted = list(seqs)
        sizes.append(len(wanted))
        return read(db, wanted)

    monkeypatch.setattr(answers, "LOOK", 4)
    monkeypatch.setattr(pages, "read", counted)
    await world.come("cyd")
    for n in range(20):
        sent = await world.send("ada", "cyd", f"m{n:02}", thread="t1")
        await world.do(world.settle("cyd", sent.seq))
        await world.send("bob", "ada", f"b{n:02}")
    assert await world.ask(base.History("bob", "t1", 0, 9)) == ()
    assert len(sizes) >= 5
    assert max(sizes) == 4
    sent = await world.send("ada", "bob", "m99", thread="t1")
    await world.do(world.settle("bob", sent.seq))
    assert len(await world.ask(base.History("bob", "t1", 0, 9))) == 9
