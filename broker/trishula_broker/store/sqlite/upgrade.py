"""A database of an earlier version takes the form of this one, where SQL alone cannot do it.

A piece at a time, so that a log of gigabytes needs no second one for it, and a start that is cut
short is gone on with by the next.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from trishula_broker.store.sqlite import pages
from trishula_broker.store.sqlite.statements import roll_back, statements

SQL: Final = statements("upgrade")
PIECE: Final = 2_000
"""Messages moved in one transaction."""
_agents: Final = msgspec.json.Decoder(list[int]).decode


def move_log(db: sqlite3.Connection) -> None:
    """Move the log of before 0007 into pages.

    Raises:
        sqlite3.Error: it was not finished.
    """
    if SQL["has_log_before"].one(db) is None:
        return
    while _move_piece(db):
        pass


def _move_piece(db: sqlite3.Connection) -> bool:
    """Whether there may be more."""
    db.execute("BEGIN IMMEDIATE")
    try:
        rows = SQL["log_before"].execute(db, PIECE).fetchall()
        if rows:
            writer = pages.Writer()
            for *row, to in rows:
                writer.add(tuple(row), _agents(to) if to else [], [])
            writer.write(db)
            SQL["remove_log_before"].execute(db, rows[-1][0])
        else:
            SQL["count_pages"].execute(db)
            SQL["drop_log_before"].execute(db)
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return bool(rows)
