"""Trimming the log of a SQLite store, a piece at a time.

The reader finds out what may go, so that commits go on meanwhile; what may go once, may go
later too: nothing but trimming takes messages away, and settled copies stay settled.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import msgspec

from trishula_broker.store.base import Retention
from trishula_broker.store.sqlite import pages
from trishula_broker.store.sqlite.directory import Directory
from trishula_broker.store.sqlite.pages import Entry, Page
from trishula_broker.store.sqlite.statements import statements

SQL: Final = statements("trim")
SET_COUNTER: Final = statements("commit")["set_counter"]

LOOK: Final = 5_000
"""Messages looked at together."""
PIECE: Final = 1_000
"""Messages removed in one transaction, for which commits wait."""


_seqs: Final = msgspec.json.Decoder(list[int]).decode


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
    found = Found([], 0)
    looked: list[Entry] = []
    needed: set[int] = set()
    for page in pages.after(db, after):
        looked += page.present()
        needed |= _needed(db, page)
        found.after = page.last
        if len(looked) >= LOOK:
            break
    else:
        found.after = 0
    firsts: dict[int, int] = {}
    for entry in looked:
        if entry.seq in needed:
            continue
        if entry.size:
            aged = entry.accepted_at + retention.max_age_ms <= now
            if not aged and log_bytes <= retention.max_bytes:
                found.after = 0
                break  # what follows is younger
        known = entry.accepted_at + retention.dedup_ms > now and not (
            # A sender cannot have sent more since than the whole log holds.
            last - entry.seq >= retention.dedup_ids
            and entry.seq < _first_known(db, entry.sender, retention.dedup_ids, firsts)
        )
        if entry.size or not known:
            found.doomed.append((entry.seq, known))
            log_bytes -= entry.size
    return found


def _needed(db: sqlite3.Connection, page: Page) -> set[int]:
    """The messages of ``page`` that have a copy that is not settled, or a dead letter."""
    copies = [
        value for entry in page.present() for agent in entry.to for value in (agent, entry.seq)
    ]
    needed = set(_seqs(SQL["assigned"].one(db, page.first, page.last)))
    for cursor in SQL["needed"].many(db, copies):
        needed.update(_seqs(cursor.fetchone()[0]))
    return needed


def _first_known(db: sqlite3.Connection, sender: int, ids: int, firsts: dict[int, int]) -> int:
    """The first seq of ``sender`` that is among its last ``ids``."""
    if sender not in firsts:
        firsts[sender] = 1 << 62 if ids <= 0 else _nth_last(db, sender, ids)
    return firsts[sender]


def _nth_last(db: sqlite3.Connection, sender: int, n: int) -> int:
    found = SQL["page_of_nth_last"].execute(db, sender=sender, n=n).fetchone()
    if found is None:
        return 0
    first, total = found
    page = pages.decode(*pages.SQL["page_of"].execute(db, first).fetchone())
    seqs = [entry.seq for entry in page.present() if entry.sender == sender]
    nth: int = seqs[total - n]
    return nth


def remove(db: sqlite3.Connection, directory: Directory, doomed: list[tuple[int, bool]]) -> int:
    """Remove, inside a transaction; the number of bytes the log holds afterwards."""
    log_bytes = directory.log_bytes
    doomed = sorted(doomed)
    gone = Gone()
    while doomed:
        row = pages.SQL["page_of"].execute(db, doomed[0][0]).fetchone()
        page = pages.decode(*row)
        here = [item for item in doomed if item[0] <= page.last]
        doomed = doomed[len(here) :]
        log_bytes -= _remove(db, page, here, gone)
    gone.write(db)
    _count(db, directory.seq, log_bytes)
    return log_bytes


class Gone:
    """What pages had that goes with its messages."""

    def __init__(self) -> None:
        self.ids: list[Any] = []
        self.threads: list[Any] = []
        self.copies: list[int] = []
        self.seqs: list[int] = []
        self.parts: list[int] = []

    def add(self, entry: Entry) -> None:
        """``entry`` goes."""
        self.ids += (entry.id, entry.sender)
        if entry.thread is not None:
            self.threads += (entry.thread, entry.seq)
        for agent in entry.to:
            self.copies += (agent, entry.seq)
        self.seqs.append(entry.seq)

    def write(self, db: sqlite3.Connection) -> None:
        """Remove it from the tables."""
        pages.SQL["remove_ids"].run(db, self.ids)
        pages.SQL["remove_threads"].run(db, self.threads)
        pages.SQL["remove_parts"].run(db, self.parts)
        SQL["remove_copies"].run(db, self.copies)
        SQL["remove_assigned"].run(db, self.seqs)


def _remove(db: sqlite3.Connection, page: Page, doomed: list[tuple[int, bool]], gone: Gone) -> int:
    """Shorten or remove messages of ``page``; the bytes of their bodies."""
    before = page.parts()
    freed = 0
    for seq, keep in doomed:
        entry = page.entries[seq - page.first]
        assert entry is not None
        freed += entry.size
        if keep:
            entry.size, entry.body = 0, b""
        else:
            gone.add(entry)
            page.entries[seq - page.first] = None
    after = page.parts()
    gone.parts += [value for agent in before if agent not in after for value in (agent, page.first)]
    if after:
        size = sum(entry.size for entry in page.present())
        pages.SQL["update_page"].execute(db, size, pages.encode(page), page.first)
        changed = [(agent, page.first, n) for agent, n in after.items() if before[agent] != n]
        pages.SQL["insert_parts"].run(db, [value for row in changed for value in row])
    else:
        pages.SQL["remove_page"].execute(db, page.first)
    return freed


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
