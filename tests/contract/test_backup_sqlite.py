"""A SQLite store is backed up while somebody commits, and is another one's start."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.test_sqlite_kill import FAN, run_and_kill
from tests.contract.world import World
from trishula_broker.backup import ahead, bundle, keys, make, restore
from trishula_broker.backup.errors import BackupError
from trishula_broker.backup.manifest import Manifest
from trishula_broker.store import base
from trishula_broker.store.sqlite import SqliteStore
from trishula_broker.store.sqlite.lock import DirectoryLock


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody follows."""


def back_up(data: Path, file: Path) -> Manifest:
    return make.from_sqlite(file, data, None, quiet).manifest


def put_back(file: Path, data: Path, *, force: bool = False) -> Manifest:
    return restore.to_sqlite(file, data, None, quiet, force=force)


async def filled(data: Path, messages: int = 5) -> World:
    """An open store with mail from ada to bob."""
    world = World(lambda: SqliteStore(data))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    for n in range(messages):
        await world.send("ada", "bob", f"m{n}")
    return world


async def reopened(data: Path) -> World:
    world = World(lambda: SqliteStore(data))
    await world.store.open()
    return world


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A backup of five messages, of which the first is settled."""
    world = await filled(tmp_path / "data")
    seqs = await world.waiting("bob")
    await world.do(world.settle("bob", seqs[0]))
    await asyncio.to_thread(back_up, tmp_path / "data", tmp_path / "file")
    await world.store.close()
    return tmp_path / "file"


# --- the moment -----------------------------------------------------------------------------


async def test_a_backup_has_what_is_in_the_journal_alone(tmp_path: Path, file: Path) -> None:
    manifest = put_back(file, tmp_path / "new")
    (space,) = manifest.namespaces
    assert (space.agents, space.messages, space.waiting) == (2, 5, 4)
    world = await reopened(tmp_path / "new")
    await world.come("bob")
    fetched = await world.fetch("bob")
    assert [copy.message.id for copy in fetched.copies] == ["m1", "m2", "m3", "m4"]
    assert (await world.fate("ada", "m0"))["bob"].outcome == "done"
    await world.store.close()


async def test_a_backup_beside_a_process_that_commits_has_all_it_was_told_before(
    tmp_path: Path,
) -> None:
    """The child is killed only afterwards; what it had printed by the start is in the backup."""
    data = tmp_path / "data"
    files: list[tuple[int, Path]] = []

    async def between(told: list[str]) -> None:
        for n in range(4):
            at = len(told)
            file = tmp_path / f"file{n}"
            await asyncio.to_thread(back_up, data, file)
            files.append((at, file))

    told = await run_and_kill(data, 60, between)
    assert len(files) == 4
    for n, (at, file) in enumerate(files):
        before = told[:at]
        new = tmp_path / f"new{n}"
        put_back(file, new)
        world = await reopened(new)
        sent = await world.ask(base.History("ada", None, 0, 100_000))
        ids = [message.id for message in sent]
        assert ids == sorted(ids)
        assert set(ids) >= {line.split()[1] for line in before if line.startswith("accepted")}
        # A moment: what comes first is there whenever what comes later is.
        assert ids == [f"m{n:08}" for n in range(len(ids))]
        settled = {line.split()[1] for line in before if line.startswith("settled")}
        for message in sent:
            fate = await world.fate("ada", message.id)
            assert len(fate) == FAN
            if message.id in settled:
                assert {copy.outcome for copy in fate.values()} == {"done"}
        await world.store.close()


async def test_numbers_that_were_given_after_the_backup_are_not_given_again(
    tmp_path: Path, file: Path
) -> None:
    put_back(file, tmp_path / "new")
    world = await reopened(tmp_path / "new")
    bob = await world.come("bob")
    assert bob.epoch > ahead.EPOCHS
    await world.come("ada")
    accepted = await world.send("ada", "bob", "later")
    assert accepted.seq > ahead.SEQS
    assert len(await world.waiting("bob")) == 5
    assert [m.id for m in await world.ask(base.History("ada", None, 0, 99))][-1] == "later"
    again = tmp_path / "again"
    await asyncio.to_thread(back_up, tmp_path / "new", again)
    put_back(again, tmp_path / "newer")
    await world.store.close()
    world = await reopened(tmp_path / "newer")
    await world.come("ada")
    assert (await world.send("ada", "bob", "latest")).seq > 2 * ahead.SEQS
    await world.store.close()


async def test_what_was_restored_is_trimmed_like_anything_else(tmp_path: Path, file: Path) -> None:
    put_back(file, tmp_path / "new")
    world = await reopened(tmp_path / "new")
    await world.come("ada")
    await world.come("bob")
    await world.send("ada", "bob", "later")
    await world.do(world.settle("bob", *await world.waiting("bob")))
    world.now += 10_000_000
    assert await world.store.trim(world.now, base.Retention(1, 0, 1, 0)) == 6
    assert await world.ask(base.History("ada", None, 0, 99)) == ()
    await world.store.close()


async def test_the_trail_goes_on_under_new_positions_and_loses_no_entry(tmp_path: Path) -> None:
    world = await filled(tmp_path / "data", 0)
    await world.do(base.Archive("n1", 0))
    await world.send("ada", "bob", "first")
    await world.send("ada", "bob", "second")
    before = await world.ask(base.Trail(0, 100))
    assert len(before) == 2
    await asyncio.to_thread(back_up, tmp_path / "data", tmp_path / "file")
    await world.store.close()
    put_back(tmp_path / "file", tmp_path / "new")
    world = await reopened(tmp_path / "new")
    assert await world.ask(base.Archives()) == ()
    await world.do(base.Archive("n1", before[-1].pos))
    await world.come("ada")
    await world.send("ada", "bob", "third")
    entries = await world.ask(base.Trail(before[-1].pos, 100))
    assert [each.pos - ahead.ENTRIES for each in entries[:2]] == [each.pos for each in before]
    assert [each.done for each in entries[:2]] == [each.done for each in before]
    assert [each.pos for each in entries] == list(range(entries[0].pos, entries[-1].pos + 1))
    await world.store.close()


# --- the file -------------------------------------------------------------------------------


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_bit_is_refused_wherever_it_is(file: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= 1 << data.draw(st.integers(0, 7))
    bad = file.with_name("bad")
    bad.write_bytes(content)
    with pytest.raises(BackupError, match="it is no whole backup"):
        bundle.verify(bad, quiet)
    with pytest.raises(BackupError, match="it is no whole backup"):
        put_back(bad, file.with_name("nowhere"))
    assert not file.with_name("nowhere").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content + b"\0",
        lambda content: content + content,
        lambda content: b"",
        lambda content: b"tar",
    ],
)
def test_a_file_that_was_cut_or_added_to_is_refused(
    file: Path, change: Callable[[bytes], bytes]
) -> None:
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(BackupError, match="it is no whole backup"):
        bundle.verify(file, quiet)


def test_a_file_is_whole_and_for_its_owner_alone(file: Path) -> None:
    assert bundle.verify(file, quiet).store == "sqlite"
    assert file.stat().st_mode & 0o777 == 0o600
    beside = {each.name for each in file.parent.iterdir()}
    assert beside == {"data", "file"}


def test_a_backup_never_replaces_a_file(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(BackupError, match="it is there already: name another file"):
        back_up(file.with_name("data"), file)
    assert file.read_bytes() == before


def test_a_folder_without_a_store_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"store\.db: is not there; name the hub's data"):
        back_up(tmp_path, tmp_path / "file")
    assert not list(tmp_path.iterdir())


async def test_a_journal_that_is_missing_is_told(tmp_path: Path) -> None:
    world = await filled(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    await world.store.close()
    (tmp_path / "copy" / "store.journal").unlink()
    with pytest.raises(BackupError, match=r"copy/store\.journal is missing"):
        back_up(tmp_path / "copy", tmp_path / "file")


# --- putting it back ------------------------------------------------------------------------


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path, file: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "mine").write_text("kept")
    with pytest.raises(BackupError, match=r"is not empty \(mine\): .*--force"):
        put_back(file, new)
    assert (new / "mine").read_text() == "kept"
    assert not (new / "store.db").exists()


async def test_force_replaces_a_store_with_its_write_ahead_log(tmp_path: Path, file: Path) -> None:
    world = await filled(tmp_path / "other", 30)
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "other", killed)  # with all that a kill leaves
    await world.store.close()
    assert (killed / "store.db-wal").exists()
    with pytest.raises(BackupError, match="is not empty"):
        put_back(file, killed)
    put_back(file, killed, force=True)
    world = await reopened(killed)
    assert [m.id for m in await world.ask(base.History("ada", None, 0, 99))] == [
        f"m{n}" for n in range(5)
    ]
    await world.store.close()


async def test_force_replaces_a_store_that_is_damaged(tmp_path: Path, file: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir(0o700)
    (broken / "store.db").write_bytes(b"nothing of SQLite's" * 1000)
    put_back(file, broken, force=True)
    world = await reopened(broken)
    assert len(await world.ask(base.History("ada", None, 0, 99))) == 5
    await world.store.close()


@pytest.mark.parametrize("force", [False, True])
def test_a_store_that_a_hub_has_open_is_refused(tmp_path: Path, file: Path, force: bool) -> None:
    new = tmp_path / "new"
    new.mkdir(0o700)
    lock = DirectoryLock(new, "hub-1")
    lock.acquire()
    try:
        with pytest.raises(BackupError, match=r"is held by process \d+ \(node hub-1\)"):
            put_back(file, new, force=force)
    finally:
        lock.release()
    assert {each.name for each in new.iterdir()} == {"store.lock"}


def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path, file: Path) -> None:
    newer = _with_manifest(file, tmp_path, b'{"format":99,"version":"9"}')
    with pytest.raises(BackupError, match="format 99, and this version knows 1: use version 9"):
        bundle.verify(newer, quiet)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path, file: Path) -> None:
    manifest = bundle.verify(file, quiet)
    part = tmp_path / "store.db"
    with bundle.opened(file, quiet) as found:
        part.write_bytes(b"".join(piece for _, content in found.parts() for piece in content))
    later = msgspec.structs.replace(manifest, schema=99, version="9.0")
    bundle.write(tmp_path / "later", later, {"store.db": part}, quiet)
    with pytest.raises(BackupError, match=r"has schema 99, .* use version 9\.0"):
        put_back(tmp_path / "later", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_part_with_another_digest_is_refused(tmp_path: Path, file: Path) -> None:
    manifest = bundle.verify(file, quiet)
    other = tmp_path / "store.db"
    other.write_bytes(bytes(manifest.parts[0].bytes))
    bundle.write(tmp_path / "forged", manifest, {"store.db": other}, quiet)
    with pytest.raises(BackupError, match=r"part store\.db has another SHA-256"):
        bundle.verify(tmp_path / "forged", quiet)
    with pytest.raises(BackupError, match=r"part store\.db has another SHA-256"):
        put_back(tmp_path / "forged", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def _with_manifest(file: Path, folder: Path, text: bytes) -> Path:
    """A backup whose manifest says something else, with its digests right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trishula_broker.backup.manifest.encode", lambda _: text)
        manifest = bundle.verify(file, quiet)
        part = folder / "store.db"
        part.write_bytes(bytes(manifest.parts[0].bytes))
        bundle.write(folder / "made", manifest, {"store.db": part}, quiet)
    return folder / "made"


# --- keys -----------------------------------------------------------------------------------


@pytest.fixture
async def keyed(tmp_path: Path) -> Path:
    """A data directory with a store and keys."""
    world = await filled(tmp_path / "keyed")
    await world.store.close()
    for name, text in (("keys.json", "{}"), ("tokens.jsonl", ""), ("node.key", "pem")):
        path = tmp_path / "keyed" / name
        path.touch(0o600)
        path.write_text(text)
    return tmp_path / "keyed"


def test_keys_are_in_a_backup_only_when_that_is_asked_for(tmp_path: Path, keyed: Path) -> None:
    back_up(keyed, tmp_path / "without")
    assert [part.name for part in bundle.verify(tmp_path / "without", quiet).parts] == ["store.db"]
    make.from_sqlite(tmp_path / "with", keyed, keyed / "keys.json", quiet)
    new = tmp_path / "new"
    put_back(tmp_path / "with", new)
    assert not (new / "keys.json").exists()
    restore.to_sqlite(tmp_path / "with", new, new / "keys.json", quiet, force=True)
    for path in keys.places(new / "keys.json", new).values():
        assert path.read_bytes() == (keyed / path.name).read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BackupError, match="has no keys in it: leave --keys out"):
        restore.to_sqlite(tmp_path / "without", new, new / "keys.json", quiet, force=True)


def test_keys_that_others_can_read_are_not_taken(tmp_path: Path, keyed: Path) -> None:
    (keyed / "keys.json").chmod(0o644)
    with pytest.raises(BackupError, match="chmod 600") as raised:
        make.from_sqlite(tmp_path / "file", keyed, keyed / "keys.json", quiet)
    assert str(raised.value).count(str(keyed / "keys.json")) == 2  # where, and what to type
    assert not (tmp_path / "file").exists()


def test_other_keys_are_not_replaced_unasked(tmp_path: Path, keyed: Path) -> None:
    make.from_sqlite(tmp_path / "file", keyed, keyed / "keys.json", quiet)
    elsewhere = tmp_path / "etc" / "keys.json"
    elsewhere.parent.mkdir(0o700)
    elsewhere.touch(0o600)
    elsewhere.write_text("other")
    with pytest.raises(BackupError, match="is another one than the backup's: --force"):
        restore.to_sqlite(tmp_path / "file", tmp_path / "new", elsewhere, quiet)
    assert elsewhere.read_text() == "other"
    assert not (tmp_path / "new" / "store.db").exists()
