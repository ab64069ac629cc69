"""A database of an earlier version, killed in the middle of its work, has all that it had."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.contract.earlier import FOLDER, play, read_journal
from tests.contract.generated import LIMITS, every_question
from tests.contract.test_sqlite_files import Disk
from tests.contract.world import World, body
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_broker.store.sqlite import SqliteStore
from trishula_broker.store.sqlite.journal import SIZE

VERSIONS = [path.stem for path in sorted(FOLDER.glob("*.sql"))]


def left_by(version: str, folder: Path) -> Path:
    """The directory of a store, as ``version`` left it."""
    folder.mkdir()
    db = sqlite3.connect(folder / "store.db")
    db.executescript((FOLDER / f"{version}.sql").read_text())
    db.close()
    journal = read_journal((FOLDER / f"{version}.journal").read_text(), SIZE)
    (folder / "store.journal").write_bytes(journal)
    return folder


async def expected() -> tuple[World, list[Any]]:
    """What the same history comes to in the model, and its answers."""
    model = MemoryStore(LIMITS)
    world = World(lambda: model)
    await model.open()
    await play(world)
    await model.close()
    await model.open()
    return world, [model.answer("default", question) for question in every_question(14)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_all_that_was_there_is_answered_as_before(version: str, tmp_path: Path) -> None:
    _, answers = await expected()
    store = SqliteStore(left_by(version, tmp_path / "data"), LIMITS)
    for _ in range(2):
        await store.open()
        for question, answer in zip(every_question(14), answers, strict=True):
            assert await store.query("default", question) == answer
        await store.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_its_ids_mail_and_retention_go_on(version: str, tmp_path: Path) -> None:
    model, _ = await expected()
    store = SqliteStore(left_by(version, tmp_path / "data"), LIMITS)
    world = World(lambda: store)
    await store.open()
    world.now, world.epochs = model.now, model.epochs

    async def both(*ops: base.Operation) -> None:
        assert await world.do(*ops) == await model.do(*ops)

    await both(base.Sweep(10))
    for name in ("ada", "bob", "cyd", "dee"):
        await both(base.Register(name, "n1", "s", True, False, 30_000, None, None))
        epoch = (await model.agent(name)).epoch
        model.epochs[name] = epoch
        await both(base.Fetch(name, epoch, None, 100, 1 << 20))
    await both(*(model.mail("ada", "bob", f"id{n}") for n in range(14)))
    await both(base.Assign("plan", 10))
    await both(*(model.settle("bob", seq) for seq in range(1, 20)))
    for days in (1, 10, 60):
        model.now = world.now = model.now + days * 24 * 3600 * 1000
        for retention in (base.Retention(dedup_ids=3, max_bytes=100), base.Retention()):
            assert await store.trim(world.now, retention) == await model.store.trim(
                model.now, retention
            )
        for question in every_question(30):
            assert await store.query("default", question) == await model.ask(question)
    await store.close()


@pytest.mark.parametrize("version", [each for each in VERSIONS if int(each) < 7])
async def test_a_start_that_is_cut_short_is_gone_on_with(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trishula_broker.store.sqlite.upgrade.PIECE", 3)
    folder = left_by(version, tmp_path / "data")
    _, answers = await expected()
    for n, statement in enumerate(("DELETE FROM log_before", "DROP TABLE log_before")):
        disk = Disk()
        disk.error, disk.fails_at = "disk I/O error", statement
        with pytest.raises(base.StoreError, match="disk I/O error"):
            await SqliteStore(folder, LIMITS, connect=disk.connect).open()
        db = sqlite3.connect(folder / "store.db")
        (moved,) = db.execute("SELECT count(*) FROM ids").fetchone()
        db.close()
        assert bool(moved) == bool(n)
    store = SqliteStore(folder, LIMITS)
    await store.open()
    found = [await store.query("default", question) for question in every_question(14)]
    await store.close()
    assert found == answers


async def test_a_message_that_is_done_has_no_row_of_its_own(tmp_path: Path) -> None:
    """Its fate is in its page, and nothing that asks for it can tell."""
    world = World(lambda: SqliteStore(tmp_path / "data"))
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    accepted = await world.do(*(world.mail("ada", "bob", f"m{n}", thread="t") for n in range(150)))
    seqs = [outcome.seq for outcome in accepted]
    await world.do(world.read("bob", *seqs), world.settle("bob", *seqs[:-1], at=world.now + 1))
    assert await world.waiting("bob") == seqs[-1:]
    db = sqlite3.connect(tmp_path / "data" / "store.db")
    assert db.execute("SELECT count(*) FROM copies").fetchone() == (1,)
    (pages,) = db.execute("SELECT count(*) FROM pages").fetchone()
    db.close()
    assert pages < 10
    fate = (await world.fate("bob", "m70"))["bob"]
    assert (fate.delivered_at, fate.read_at, fate.settled_at, fate.outcome) == (
        world.now + 1,
        world.now,
        world.now,
        "done",
    )
    assert len(await world.ask(base.History("bob", None, 20, 100))) == 100
    assert [m.seq for m in await world.ask(base.History("bob", "t", 0, 1_000))] == seqs
    (again, read, gone) = await world.do(
        world.settle("bob", *seqs[:70]),
        world.read("bob", seqs[0], want=True),
        world.discard("bob", seqs[3], "recalled"),
    )
    assert again == base.Marked(tuple(seqs[:70]), (), again=tuple(seqs[:70]))
    assert read == base.Marked((seqs[0],), (), again=(seqs[0],))
    assert gone == base.Discarded(False, "done")
    (known,) = await world.do(world.mail("ada", "bob", "m100"))
    assert known == base.Duplicate(seqs[100], body())
    await world.store.close()
