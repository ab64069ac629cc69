"""Trimming the log of a SQLite store, a piece at a time.

The reader finds out what may go, so that commits go on meanwhile; what may go once, may go
later too: nothing but trimming takes messages away, and settled copies stay settled.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from trishula_broker.store.base import Retention
from trishula_broker.store.sqlite.directory import Directory
from trishula_broker.store.sqlite.statements import statements

SQL: Final = statements("trim")
SET_COUNTER: Final = statements("commit")["set_counter"]

LOOK: Final = 5_000
"""Messages looked at together."""
PIECE: Final = 1_000
"""Messages removed in one transaction: some 20 ms that commits wait."""


class _Row(msgspec.Struct, array_like=True, gc=False):
    seq: int
    sender: int
    accepted_at: int
    size: int
    needed: int


_rows: Final = msgspec.json.Decoder(list[_Row])


class Found(msgspec.Struct):
    """What may go: each seq, and whether its id is kept. ``after``: where to look next, 0 when
    the end of what may go was reached."""

    doomed: list[tuple[int, bool]]
    after: int


def look(
    db: sqlite3.Connection, now: int, retention: Retention, after: int, last: int, log_bytes: int
) -> Found:
    """Find what retention allows to remove in the log behind ``after``.

    Args:
        last: the last seq of the log.
        log_bytes: bytes that the log's bodies hold.
    """
    rows = _rows.decode(SQL["look"].one(db, after, LOOK))
    found = Found([], rows[-1].seq if len(rows) == LOOK else 0)
    firsts: dict[int, int] = {}
    for row in rows:
        if row.needed:
            continue
        if row.size:
            aged = row.accepted_at + retention.max_age_ms <= now
            if not aged and log_bytes <= retention.max_bytes:
                found.after = 0
                break  # what follows is younger
        known = row.accepted_at + retention.dedup_ms > now and not (
            # A sender cannot have sent more since than the whole log holds.
            last - row.seq >= retention.dedup_ids
            and row.seq < _first_known(db, row.sender, retention.dedup_ids, firsts)
        )
        if row.size or not known:
            found.doomed.append((row.seq, known))
            log_bytes -= row.size
    return found


def _first_known(db: sqlite3.Connection, sender: int, ids: int, firsts: dict[int, int]) -> int:
    """The first seq of ``sender`` that is among its last ``ids``."""
    if sender not in firsts:
        if ids <= 0:
            firsts[sender] = 1 << 62
        else:
            firsts[sender] = SQL["nth_last"].one(db, sender, ids - 1) or 0
    return firsts[sender]


def remove(db: sqlite3.Connection, directory: Directory, doomed: list[tuple[int, bool]]) -> int:
    """Remove, inside a transaction; the number of bytes the log holds afterwards."""
    SQL["make_doomed"].execute(db)
    SQL["make_shortened"].execute(db)
    SQL["forget_doomed"].execute(db)
    SQL["forget_shortened"].execute(db)
    values = [value for item in doomed for value in item]
    SQL["doom"].run(db, values)
    log_bytes: int = directory.log_bytes - SQL["doomed_bytes"].one(db)
    SQL["remove_direct"].execute(db)
    SQL["remove_fanned_out"].execute(db)
    SQL["remove_assigned"].execute(db)
    SQL["shorten"].execute(db)
    SQL["remove_messages"].execute(db)
    SQL["restore_shortened"].execute(db)
    _count(db, directory.seq, log_bytes)
    return log_bytes


def count(db: sqlite3.Connection, directory: Directory) -> None:
    """Note what the log holds, so that opening need not read all of it."""
    _count(db, directory.seq, directory.log_bytes)


def _count(db: sqlite3.Connection, seq: int, log_bytes: int) -> None:
    SET_COUNTER.execute(db, "seq", seq)
    SET_COUNTER.execute(db, "counted_seq", seq)
    SET_COUNTER.execute(db, "counted_bytes", log_bytes)


def remove_agents(db: sqlite3.Connection) -> list[int]:
    """Remove names nobody goes by any more and nothing points to; their ids."""
    gone = msgspec.json.decode(SQL["unknown_agents"].one(db), type=list[int])
    if gone:
        SQL["remove_agents"].run(db, gone)
    return gone
