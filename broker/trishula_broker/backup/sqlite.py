"""Backups of a SQLite store: copied beside a hub that commits, put back where none does.

The moment. What was committed last may be in the journal alone (docs/decisions/0010), so both files
are needed, of one moment, and the hub is asked nothing. The journal is copied first, then a read
transaction is begun on the database, which keeps what it sees. The database says which record was
the last one folded into it. What the journal's copy has behind that, without a gap, was committed
after all that is in the database, for whoever writes to the tables folds first: so the two are the
store as it was after the last record. A gap means that the hub went on into the other half of the
journal meanwhile; then both are read again.

The copy is then opened as a hub opens what a killed one left, and closed: it is whole without a
journal.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from trishula_broker.auth.private_files import sync_folder
from trishula_broker.backup import ahead
from trishula_broker.backup.bundle import Progress
from trishula_broker.backup.errors import BackupError
from trishula_broker.backup.manifest import Namespace
from trishula_broker.store.base import StoreError
from trishula_broker.store.sqlite.journal import Journal
from trishula_broker.store.sqlite.schema import FILE, JOURNAL, explain
from trishula_broker.store.sqlite.store import SqliteStore
from trishula_broker.store.sqlite.trail import PLACE_BITS

ATTEMPTS: Final = 50
"""At a moment in which the journal and the database fit; one in thousands does not."""
PAGES: Final = 2_048
"""Of the database that are copied at a time, 16 MiB."""
_COUNTERS: Final = "SELECT name, value FROM counters WHERE name IN ('journal', 'journal_of')"
_NAMESPACES: Final = """
SELECT s.name,
    (SELECT count(*) FROM agents AS a WHERE a.space = s.id AND a.known),
    (SELECT count(*) FROM ids AS i JOIN agents AS a ON a.id = i.sender WHERE a.space = s.id),
    (SELECT count(*) FROM copies AS c JOIN agents AS a ON a.id = c.agent
        WHERE a.space = s.id AND c.settled_at IS NULL),
    (SELECT value FROM counters WHERE name = 'seq'),
    ifnull((SELECT last FROM trails AS t WHERE t.space = s.id), 0)
FROM spaces AS s ORDER BY s.name
"""
_AHEAD: Final = f"""
UPDATE counters SET value = value + {ahead.SEQS} WHERE name = 'seq';
UPDATE counters SET value = value + {ahead.EPOCHS} WHERE name = 'epoch';
INSERT OR IGNORE INTO trails (space, last) SELECT id, 0 FROM spaces;
UPDATE trails SET last = last + {ahead.ENTRIES};
UPDATE trail SET place = place + {ahead.ENTRIES};
DELETE FROM archivers;
DELETE FROM digests;
"""
"""What :mod:`.ahead` is about. The entries that wait keep their order under their new numbers;
heads and digests are of archives as they were, and each archiver says its own when it comes."""
assert ahead.ENTRIES < 1 << PLACE_BITS


class Copied(NamedTuple):
    """What a copy of a store has."""

    moment: int
    """Wall-clock milliseconds: what was acknowledged before is in it."""
    schema: int
    namespaces: tuple[Namespace, ...]


def known_schema() -> int:
    """The newest schema that this version can open."""
    folder = files("trishula_broker.store.sqlite") / "sql"
    return max(int(each.name[:4]) for each in folder.iterdir() if each.name[:4].isdigit())


def copy(directory: Path, folder: Path, progress: Progress) -> Copied:
    """Copy the store in ``directory`` into ``folder``, which is empty, as it is at one moment.

    Raises:
        BackupError: it is not there, or cannot be read.
    """
    source = directory / FILE
    if not source.exists():
        raise BackupError(source, "is not there; name the hub's data directory with --data")
    target = folder / FILE
    try:
        moment = _copy(directory, folder, progress)
        asyncio.run(_settle(folder))
        with closing(sqlite3.connect(target, isolation_level=None)) as db:
            progress("checking", 0, 1)
            _check(db, source)
            schema = db.execute("PRAGMA user_version").fetchone()[0]
            spaces = tuple(Namespace(*row) for row in db.execute(_NAMESPACES).fetchall())
        target.chmod(0o600)
        return Copied(moment, schema, spaces)
    except StoreError as error:
        said = str(error).replace(str(folder), str(directory))
        raise BackupError(source, f"cannot be copied: {said}") from None
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            rule = "has no room for a copy of the store: make some, or name another folder's file"
            raise BackupError(folder.parent, rule) from None
        raise BackupError(source, f"cannot be copied: {explain(error, source)}") from None
    except OSError as error:
        raise BackupError(
            source, f"cannot be copied to {folder.parent}: {error.strerror or error}"
        ) from None


def _copy(directory: Path, folder: Path, progress: Progress) -> int:
    journal = folder / JOURNAL
    for _ in range(ATTEMPTS):
        moment = time.time_ns() // 1_000_000
        journal.unlink(missing_ok=True)
        try:
            shutil.copyfile(directory / JOURNAL, journal)
        except FileNotFoundError:
            pass  # a store that was closed needs none
        uri = f"{(directory / FILE).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as source:
            source.execute("BEGIN")
            counters = dict(source.execute(_COUNTERS).fetchall())
            owner = counters.get("journal_of", 0)
            if owner:
                try:
                    found = Journal(journal, owner)
                    try:
                        found.read(counters["journal"])
                    finally:
                        found.close()
                except StoreError as error:
                    problem = error
                    continue
            else:
                journal.unlink(missing_ok=True)

            def tell(status: int, left: int, total: int) -> None:
                progress("copying", total - left, total)

            with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as target:
                source.backup(target, pages=PAGES, progress=tell)
            return moment
    raise problem


async def _settle(folder: Path) -> None:
    """Have what is in the journal in the tables."""
    store = SqliteStore(folder)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
        if dict(db.execute(_COUNTERS).fetchall()).get("journal_of", 0):
            raise StoreError("its journal could not be folded: make room beside the backup's file")
        # One file, that nothing beside it belongs to.
        db.execute("PRAGMA journal_mode = DELETE").fetchone()
    (folder / JOURNAL).unlink(missing_ok=True)


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Whether the database is whole.

    Raises:
        BackupError: it is not.
    """
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise BackupError(path, f"is damaged ({found}): take an earlier backup")


def put(new: Path, directory: Path, backup: Path) -> None:
    """Have ``new``, a database from ``backup`` that is in ``directory`` under another name, be the
    store there, with numbers that nobody has seen. Whoever calls has the directory's lock.

    Raises:
        BackupError: it cannot be used; what was there is as it was.
    """
    path = directory / FILE
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as db:
            _check(db, backup)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            for statement in _AHEAD.strip().rstrip(";").split(";\n"):
                db.execute(statement)
            db.execute("COMMIT")
        _sync(new)
        _finish(path)
        new.replace(path)
        sync_folder(directory)
    except sqlite3.Error as error:
        raise BackupError(backup, f"its database cannot be used: {error}") from None


def _finish(path: Path) -> None:
    """Leave nothing beside a database that is about to be replaced that belongs to it: SQLite
    would take its write-ahead log for the new one's."""
    if path.exists():
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = DELETE").fetchone()  # its log goes into it
        except sqlite3.Error:
            pass  # it is damaged, which may be why it is replaced
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
