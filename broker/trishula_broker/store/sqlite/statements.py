"""SQL from files: named statements, and those that bind many rows at once.

The sqlite3 module gives up the interpreter lock and takes it again around every step of a
statement, and beside a busy event loop each time may cost a whole switch interval. So what
concerns many rows is one statement with many rows of placeholders, and comes back as one row.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

CHUNKS: Final = (256, 64, 16, 4, 1)
"""Rows of one statement. Few sizes, so that each stays prepared."""
_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_ROWS: Final = re.compile(r"\{rows:(\d+)\}")


class Statement:
    """One statement; ``width`` is the number of values in each of its many rows."""

    def __init__(self, sql: str) -> None:
        found = _ROWS.search(sql)
        self.width: Final = int(found[1]) if found else 0
        row = f"({','.join('?' * self.width)})"
        self._texts: Final = (
            {n: _ROWS.sub(",".join([row] * n), sql) for n in CHUNKS} if found else {1: sql}
        )

    def text(self, rows: int = 1) -> str:
        """Its SQL for this many rows, one of :data:`CHUNKS`."""
        return self._texts[rows]

    def execute(self, db: sqlite3.Connection, *values: Any, **named: Any) -> sqlite3.Cursor:
        """Run it once, with these values."""
        return db.execute(self._texts[1], named or values)

    def one(self, db: sqlite3.Connection, *values: Any, **named: Any) -> Any:
        """The first column of the first row; None when there is none."""
        row = db.execute(self._texts[1], named or values).fetchone()
        return None if row is None else row[0]

    def many(
        self, db: sqlite3.Connection, values: Sequence[Any], *first: Any
    ) -> Iterator[sqlite3.Cursor]:
        """Run it over rows of ``width`` values each, laid end to end.

        ``first`` are the values of the placeholders before them.
        """
        start = 0
        rows = len(values) // self.width
        for size in CHUNKS:
            while rows >= size:
                end = start + size * self.width
                chunk = values[start:end]
                yield db.execute(self._texts[size], (*first, *chunk) if first else chunk)
                start = end
                rows -= size

    def run(self, db: sqlite3.Connection, values: Sequence[Any], *first: Any) -> None:
        """:meth:`many`, for what answers nothing."""
        for _ in self.many(db, values, *first):
            pass


@cache
def statements(name: str) -> dict[str, Statement]:
    """The statements of ``sql/<name>.sql``."""
    text = (files("trishula_broker.store.sqlite") / "sql" / f"{name}.sql").read_text(
        encoding="utf-8"
    )
    parts = _NAME.split(text)[1:]
    return {
        name: Statement(sql.strip().removesuffix(";"))
        for name, sql in zip(parts[::2], parts[1::2], strict=True)
    }


def roll_back(db: sqlite3.Connection) -> None:
    """End a transaction without effect, wherever it failed."""
    try:
        if db.in_transaction:
            db.execute("ROLLBACK")
    except sqlite3.Error:
        pass  # some failures have rolled back already
