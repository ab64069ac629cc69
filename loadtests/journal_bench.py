"""What one small durable write costs here: ``python -m loadtests.journal_bench``.

Medians of a write to a file that grows, of a record of the journal, and of a transaction of
SQLite with one row, each synced, taking turns.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trishula_broker.store.sqlite.journal import Journal, make

RECORD = b"x" * 500
ROUNDS = 500


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        growing = os.open(Path(folder) / "growing", os.O_WRONLY | os.O_CREAT)
        make(Path(folder) / "journal", 1)
        journal = Journal(Path(folder) / "journal", 1)
        journal.read(0)
        db = sqlite3.connect(Path(folder) / "db", isolation_level=None)
        db.execute("PRAGMA page_size = 8192")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, record BLOB)")

        def grow() -> None:
            os.write(growing, RECORD)
            os.fsync(growing)

        def insert() -> None:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO t (record) VALUES (?)", (RECORD,))
            db.execute("COMMIT")

        ways: dict[str, Callable[[], None]] = {
            "a file that grows": grow,
            "a record of the journal": lambda: journal.append(RECORD),
            "a transaction of SQLite": insert,
        }
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, write in ways.items():
                begun = time.perf_counter()
                write()
                spent[name].append((time.perf_counter() - begun) * 1e3)
        for name, times in spent.items():
            print(f"{name}: {statistics.median(times):.3f} ms (median of {ROUNDS})")
        os.close(growing)
        journal.close()
        db.close()


if __name__ == "__main__":
    main()
