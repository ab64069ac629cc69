"""The trail of a namespace in SQLite: what is known of it by heart, and its operation.

An entry is in the journal's record of its commit, and in the table ``trail`` once that is folded,
unless all archivers have it by then. The newest are at hand as they were made, so that an
archiver that keeps up reads neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from trishula_broker.store.base import (
    Archive,
    Archived,
    ArchiveRecord,
    Archives,
    Entry,
    Head,
    Operation,
    Outcome,
    Retention,
    Trail,
)
from trishula_broker.store.recent import Recent
from trishula_broker.store.recorded import decode_done, recorded
from trishula_broker.store.sqlite.statements import statements
from trishula_broker.store.trail import DIGESTS_KEPT, Done, merge_heads

if TYPE_CHECKING:
    from trishula_broker.store.sqlite.directory import Space
    from trishula_broker.store.sqlite.work import Work

SQL: Final = statements("commit")
ANSWERS: Final = statements("answers")

PAGE: Final = 16
"""Entries read from the table together: each may have megabytes."""
PLACE_BITS: Final = 40
"""Of an entry's place in the table that are its position; the namespace is above them."""
_heads: Final = msgspec.json.Decoder(tuple[Head, ...]).decode


class Recorded(NamedTuple):
    """An entry of the commit that is being made."""

    trail: SpaceTrail
    pos: int
    at: int
    done: list[Done]


class SpaceTrail:
    """What the writer knows of a namespace's trail.

    ``last`` is the last position given, ``first`` the oldest entry that is kept; ``size`` has
    the bytes of what lies between. ``durable`` is the last entry that would survive a crash,
    and what questions may be told of.
    """

    def __init__(self, space: int) -> None:
        self.space = space
        self.last = 0
        self.durable = 0
        self.first = 1
        self.size = 0
        self.is_kept = False
        self.archivers: dict[str, ArchiveRecord] = {}
        self._recent = Recent()

    def __repr__(self) -> str:
        return f"<SpaceTrail {self.first}-{self.last}, {len(self.archivers)} archivers>"

    def place(self, pos: int) -> int:
        """Where the entry ``pos`` is in the table."""
        return (self.space << PLACE_BITS) + pos

    def add(
        self, now: int, ops: Sequence[Operation], outcomes: Sequence[Outcome]
    ) -> Recorded | None:
        """The entry of a commit, when it did something."""
        done = recorded(ops, outcomes)
        if not done:
            return None
        self.last += 1
        return Recorded(self, self.last, now, done)

    def publish(self, entry: Entry, size: int) -> None:
        """``entry`` is durable now."""
        if entry.pos >= self.first:
            self._recent.add(entry, size)
        self.durable = entry.pos

    def recent(self, query: Trail) -> tuple[Entry, ...] | None:
        """The answer to ``query``, when it needs no look into the table."""
        after = max(query.after, self.first - 1)
        if after >= self.durable:
            return ()
        found: list[Entry] = []
        left = query.limit_bytes
        for entry, size in self._recent.read(after, query.limit):
            left -= size
            if found and left < 0:
                break
            found.append(entry)
        return tuple(found) or None

    def hear(self, op: Archive, now: int) -> ArchiveRecord:
        """An archiver says how far it is."""
        known = self.archivers.get(op.node) or ArchiveRecord(op.node, 0, now, (), ())
        upto = max(known.upto, min(op.upto, self.last))
        heads = merge_heads(known.heads, op.heads)
        self.archivers[op.node] = record = ArchiveRecord(op.node, upto, now, heads, ())
        return record

    def overdue(self, now: int, retention: Retention) -> list[ArchiveRecord]:
        """Archivers that were silent for too long."""
        large = self.size > retention.trail_bytes
        patience = retention.archiver_away_ms if large else retention.archiver_ms
        patience = min(patience, retention.archiver_ms)
        return [
            archiver
            for archiver in self.archivers.values()
            if not archiver.dropped and now - archiver.at >= patience
        ]

    def settle(self) -> int:
        """Go by who archives now; up to where entries may be removed."""
        live = [each.upto for each in self.archivers.values() if not each.dropped]
        self.is_kept = bool(live)
        upto = min(live, default=self.last)
        self._recent.remove_upto(upto)
        return upto


def read_trails(db: sqlite3.Connection, spaces: dict[int, Space]) -> None:
    """What the tables have of each namespace's trail."""
    for space, last in SQL["trails"].execute(db).fetchall():
        trail = spaces[space].trail
        trail.last = trail.durable = last
        bounds = trail.place(1), trail.place(last)
        begins = SQL["trail_begins"].one(db, *bounds)
        trail.first = last + 1 if begins is None else begins - trail.place(0)
        trail.size = SQL["trail_bytes"].one(db, *bounds)
    for space, node, upto, at, dropped, heads in SQL["all_archivers"].execute(db).fetchall():
        trail = spaces[space].trail
        trail.archivers[node] = ArchiveRecord(node, upto, at, _heads(heads), (), bool(dropped))
        trail.is_kept = trail.is_kept or not dropped


def archive(work: Work, space: Space, op: Archive) -> Archived:
    """Do it."""
    trail = space.trail
    if op.ends:
        trail.archivers.pop(op.node, None)
        work.say("remove_archiver", space.id, op.node)
        work.say("keep_digests", space.id, op.node, 0)
    else:
        _save(work, trail, trail.hear(op, work.now))
        if op.digests:
            values = [v for number, d in op.digests for v in (space.id, op.node, number, d)]
            work.say("set_digests", *values)
            work.say("keep_digests", space.id, op.node, DIGESTS_KEPT)
    work.remove_trail(trail, trail.settle())
    return Archived(trail.first, trail.last)


def drop_silent(work: Work, trail: SpaceTrail, retention: Retention) -> bool:
    """Wait no longer for those that were silent for too long; whether more is to be removed."""
    for archiver in trail.overdue(work.now, retention):
        trail.archivers[archiver.node] = dropped = replace(archiver, dropped=True)
        _save(work, trail, dropped)
    upto = trail.settle()
    work.remove_trail(trail, upto)
    return trail.first <= upto


def _save(work: Work, trail: SpaceTrail, record: ArchiveRecord) -> None:
    heads = msgspec.json.encode(record.heads).decode()
    dropped = int(record.dropped)
    work.say("set_archiver", trail.space, record.node, record.upto, record.at, dropped, heads)


def read_trail(db: sqlite3.Connection, namespace: str, query: Trail) -> tuple[Entry, ...]:
    """The answer to ``query``, from the table."""
    found: list[Entry] = []
    left = query.limit_bytes
    after = query.after
    while len(found) < query.limit:
        page = min(PAGE, query.limit - len(found))
        rows = ANSWERS["trail"].execute(db, space=namespace, after=after, limit=page).fetchall()
        for pos, at, node, done in rows:
            left -= len(done)
            if found and left < 0:
                return tuple(found)
            found.append(Entry(pos, at, node, decode_done(done)))
        if len(rows) < page:
            break
        after = found[-1].pos
    return tuple(found)


def read_archives(
    db: sqlite3.Connection, namespace: str, query: Archives
) -> tuple[ArchiveRecord, ...]:
    """The answer to ``query``."""
    digests: dict[str, list[tuple[int, str]]] = {}
    found = ANSWERS["digests"].execute(db, space=namespace, since=query.since)
    for node, number, digest in found.fetchall():
        digests.setdefault(node, []).append((number, digest))
    return tuple(
        ArchiveRecord(node, upto, at, _heads(heads), tuple(digests.get(node, ())), bool(dropped))
        for node, upto, at, heads, dropped in ANSWERS["archivers"].execute(db, namespace)
    )
