"""What is durable in the journal, but not in the tables yet.

A commit writes one record: everything it has done to the log and the copies, in the journal. That
is all that must reach the disk before anybody is told. The tables follow later, many commits at
a time (*folding*), and by then most copies are settled: each is written once, in its last state,
instead of being put into the queue and taken out of it again. What asks the tables folds first.
A database that was left with a journal is folded when it is opened.

The idea is that of a log-structured merge tree: a log made durable, a table in memory, and sorted
runs written from it (O'Neil and others, 1996).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from trishula_broker.store.sqlite.directory import SQL, Held
from trishula_broker.store.sqlite.journal import Journal

FOLD_AT: Final = 128
"""Changes after which a commit folds: a lone message then waits about a millisecond more."""
FOLD_COMMITS: Final = 4
"""Or commits of the present size, when those are big: so many are folded together."""
FOLD_BYTES: Final = 2 << 20
"""Or bytes of bodies. The journal holds twice as much."""
KNOWN: Final = 50_000
"""Or copies and ids in memory, which may merely have been asked for; some 12 MiB."""
WORTHWHILE: Final = 16
"""Copies that must be alike for a statement of their own; it takes a third less time each."""


class _Record(msgspec.Struct, array_like=True, gc=False):
    """What one commit did: rows of the log laid end to end, new copies, and changed ones."""

    log: list[Any]
    new: list[Held]
    changed: list[Held]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Record).decode


class Pending:
    """The changes of a transaction and of those before it that were not folded.

    A transaction that writes to the tables anyway (:meth:`write`) folds at its end; any other
    is one record of the journal, and no transaction of the database's at all.

    Attributes:
        log: rows for ``insert_log``, laid end to end.
        new: copies that are in no table, as they are now.
        done: copies of the tables that were settled as done, and not changed otherwise.
        changed: other changed copies by (agent, seq), new ones too.
        moved: rows for ``move_copies``.
        copies: what is known of single copies without reading the tables.
        ids: what ids were used for, by (id, sender): (seq, body).
        bytes: of the bodies in ``log`` and ``ids``.
    """

    def __init__(self, db: sqlite3.Connection, journal: Journal) -> None:
        self._db = db
        self._journal = journal
        self._folded = False
        self._clear()
        self._begin()

    def __repr__(self) -> str:
        return f"<Pending {len(self.new)} new, {len(self.done) + len(self.changed)} changed>"

    def _clear(self) -> None:
        self.log: list[Any] = []
        self.new: list[Held] = []
        self.done: list[Held] = []
        self.changed: dict[tuple[int, int], Held] = {}
        self.moved: list[int] = []
        self.copies: dict[tuple[int, int], Held | None] = {}
        self.ids: dict[tuple[str, int], tuple[int, bytes] | None] = {}
        self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self.log or self.new or self.done or self.changed or self.moved)

    def _begin(self) -> None:
        """A transaction begins here."""
        self._begun = len(self.log), len(self.new), len(self.done)
        self._changed_now: dict[tuple[int, int], Held] = {}

    def write(self) -> None:
        """The transaction is about to write to the tables."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")

    def change(self, held: Held) -> None:
        """``held`` was changed."""
        key = held.agent, held.seq
        self.changed[key] = self._changed_now[key] = held

    def move(self, source: int, seq: int, target: int) -> None:
        """A copy goes from one box to another."""
        self.write()  # a record has no words for it
        self.moved += (source, seq, target)

    def end(self) -> None:
        """The transaction is complete: make it durable. Another may begin."""
        much = self.bytes >= FOLD_BYTES or len(self.copies) + len(self.ids) >= KNOWN
        if much and not self:
            self.forget()
        if not self._db.in_transaction:
            log, new, done = self._begun
            fresh = len(self.new) - new + len(self.done) - done + len(self._changed_now)
            if not fresh and len(self.log) == log and not (much and self):
                return
            size = len(self.new) + len(self.done) + len(self.changed)
            if size < max(FOLD_AT, FOLD_COMMITS * fresh) and not much:
                changed = self.done[done:] + list(self._changed_now.values())
                record = _encode(_Record(self.log[log:], self.new[new:], changed))
                if self._journal.has_room(len(record)):
                    self._journal.append(record)
                    self._begin()
                    return
        self.fold()
        self._db.execute("COMMIT")
        if self._folded:
            self._folded = False
            self._journal.begin_anew()

    def fold(self) -> None:
        """Write everything to the tables; what was known is read anew from here on."""
        if not self:
            return
        self.write()
        db = self._db
        if self.log:
            SQL["insert_log"].run(db, self.log)
        if self.new:
            _insert(db, self.new)
        if self.done:
            _settle(db, [held for held in self.done if not held.new])
        if self.changed:
            _update(db, [held for held in self.changed.values() if not held.new])
        if self.moved:
            SQL["move_copies"].run(db, self.moved)
        for held in self.new:
            held.new = False
        SQL["set_counter"].execute(db, "journal", self._journal.number)
        self._folded = True
        self._clear()
        self._begin()

    def forget(self) -> None:
        """What is known of the tables is read anew; nothing is pending."""
        self.copies.clear()
        self.ids.clear()
        self.bytes = 0

    def recover(self) -> None:
        """Fold what the journal was left with."""
        (last,) = SQL["folded"].execute(self._db).fetchone()
        new: dict[tuple[int, int], Held] = {}
        for data in self._journal.read(last):
            record = _decode(data)
            self.log += record.log
            for held in record.new:
                new[held.agent, held.seq] = held
            for held in record.changed:
                key = held.agent, held.seq
                if key in new:
                    new[key] = held
                else:
                    self.changed[key] = held
        self.new = list(new.values())
        for held in self.new:
            held.new = True
        if self:
            self.write()
            self.end()


def _insert(db: sqlite3.Connection, new: Iterable[Held]) -> None:
    waiting: list[Any] = []
    done: list[Any] = []
    others: list[Any] = []
    for held in new:
        if held.outcome == "done" and not (held.attempts or held.deliveries or held.read_at):
            done += (
                held.agent, held.seq, held.priority, held.size, held.hub, held.via,
                held.expires_at, held.delivered_at, held.settled_at, "done",
            )  # fmt: skip
        elif (
            held.outcome is None
            and held.delivered_at is None
            and held.due_at is None
            and not (held.attempts or held.deliveries or held.read_at)
        ):
            waiting += (
                held.agent, held.seq, held.priority, held.size, held.hub, held.via,
                held.expires_at,
            )  # fmt: skip
        else:
            others += (
                held.agent, held.seq, held.priority, held.size, held.hub, held.via,
                held.expires_at, held.attempts, held.deliveries, held.due_at, held.delivered_at,
                held.read_at, held.lease_until, held.settled_at, held.outcome, held.reason,
            )  # fmt: skip
    SQL["insert_copies"].run(db, waiting)
    SQL["insert_done"].run(db, done)
    SQL["insert_changed"].run(db, others)


def _settle(db: sqlite3.Connection, done: list[Held]) -> None:
    groups: dict[tuple[int, int | None, int | None], list[int]] = {}
    for held in done:
        groups.setdefault((held.agent, held.delivered_at, held.settled_at), []).append(held.seq)
    if len(groups) * WORTHWHILE <= len(done):
        for (agent, delivered_at, settled_at), seqs in groups.items():
            SQL["settle_alike"].run(db, seqs, settled_at, delivered_at, agent)
    else:
        values: list[Any] = []
        for held in done:
            values += (held.agent, held.seq, held.settled_at, held.delivered_at)
        SQL["settle_copies"].run(db, values)


def _update(db: sqlite3.Connection, changed: Iterable[Held]) -> None:
    values: list[Any] = []
    for held in changed:
        values += (
            held.agent, held.seq, held.attempts, held.deliveries, held.due_at, held.delivered_at,
            held.read_at, held.lease_until, held.settled_at, held.outcome, held.reason,
        )  # fmt: skip
    SQL["update_copies"].run(db, values)
