"""Opening the database file: settings, migrations, and what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from trishula_broker.store.base import StoreError
from trishula_broker.store.sqlite.statements import roll_back
from trishula_broker.store.sqlite.upgrade import move_log

Connect = Callable[..., sqlite3.Connection]
"""``sqlite3.connect``, or something in its place."""

FILE: Final = "store.db"
JOURNAL: Final = "store.journal"
"""Belongs to it: what is in the one may not be in the other yet."""
PREPARED: Final = 256
"""Statements a connection keeps prepared; there are about 60, most in five sizes."""
PAGE: Final = 8192
"""Bytes of a page. Larger than the default 4096: a batch touches fewer."""
CHECKPOINT_PAGES: Final = 8_000
"""Pages of write-ahead log after which they are copied into the database, 64 MiB. A page that
was written many times meanwhile is copied once."""
CACHE_KIB: Final = 64 * 1024
"""Of pages a connection keeps in memory."""
_CORRUPT: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def make_directory(directory: Path) -> None:
    """Make the data directory, for its owner only.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        parent = os.open(directory.parent, os.O_RDONLY)
        try:
            os.fsync(parent)  # or a crash may lose the directory with all that is in it
        finally:
            os.close(parent)
    except OSError as error:
        raise StoreError(f"cannot make the data directory {directory}: {error}") from error


def open_writer(path: Path, connect: Connect) -> sqlite3.Connection:
    """The connection that commits, with the schema up to date.

    Raises:
        StoreError: the file cannot be used.
        sqlite3.Error: see :func:`explain`.
    """
    # SQLite gives its other files the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = _connect(path, connect)
    try:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA journal_mode = WAL")
        # Each commit is on the disk when it returns; on macOS that takes a full sync.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")
        db.execute("PRAGMA checkpoint_fullfsync = ON")
        # Debian's SQLite writes every page that becomes free once more, full of zeros.
        db.execute("PRAGMA secure_delete = FAST")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        _migrate(db, path)
        move_log(db)
    except BaseException:
        db.close()
        raise
    return db


def open_reader(path: Path, connect: Connect) -> sqlite3.Connection:
    """A connection that answers questions while another commits."""
    db = _connect(path, connect)
    db.execute("PRAGMA query_only = ON")
    return db


def _connect(path: Path, connect: Connect) -> sqlite3.Connection:
    settings: dict[str, Any] = {
        "isolation_level": None,
        "cached_statements": PREPARED,
        "check_same_thread": False,  # opened, used and closed one after the other
    }
    db = connect(path, **settings)
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    db.execute("PRAGMA temp_store = MEMORY")
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    folder = files("trishula_broker.store.sqlite") / "sql"
    steps = sorted(
        (int(file.name[:4]), file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name[:4].isdigit()
    )
    version = db.execute("PRAGMA user_version").fetchone()[0]
    newest = steps[-1][0]
    if version > newest:
        raise StoreError(
            f"{path} was made by a newer version (schema {version}; this one knows {newest}): "
            "run that version, or restore a backup made before the upgrade"
        )
    for number, script in steps:
        if number > version:
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement in _split(script):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
                db.execute("COMMIT")
            except BaseException:
                roll_back(db)
                raise


def _split(script: str) -> list[str]:
    statements: list[str] = []
    current = ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements


def explain(error: sqlite3.Error | OSError, path: Path) -> str:
    """What ``error`` means for whoever runs the hub."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no room to write {path} ({error}): free some space on that disk"
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _CORRUPT:
        return (
            f"{path} is damaged ({error}): restore a backup, "
            "or move its directory away to start anew"
        )
    if primary == sqlite3.SQLITE_FULL:
        return f"no room to write {path} ({error}): free some space on that disk"
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"{path} cannot be written ({error}): check its owner and permissions"
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path} is locked by another program ({error}): close it"
    return f"{path} cannot be used: {error}"
