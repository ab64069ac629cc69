"""What is durable in the journal, but not in the tables yet.

A commit writes one record: everything it has done to the log and the copies, in the journal. That
is all that must reach the disk before anybody is told. The tables follow later, many commits at
a time (*folding*), and by then most copies are settled: each is written once, in its last state,
instead of being put into the queue and taken out of it again. It happens behind the commits, in a
thread of its own, while they go on in the other half of the journal. What asks the tables has all
of it folded first. A database that was left with a journal is folded when it is opened.

The copies of a message to many are kept together (fans.py), and one that is not settled everywhere
when others are folded is carried to the next time: all of those are one value in the database,
which costs a small part of what rows for their copies would.

The idea is that of a log-structured merge tree: a log made durable, a table in memory, and sorted
runs written from it (O'Neil and others, 1996).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from copy import copy
from typing import Any, Final

import msgspec

from trishula_broker.store.recorded import encode_done
from trishula_broker.store.sqlite import pages
from trishula_broker.store.sqlite.directory import SQL
from trishula_broker.store.sqlite.fans import Ended, Fan, Packed, unpacked
from trishula_broker.store.sqlite.fold import Fold, Said
from trishula_broker.store.sqlite.journal import Journal
from trishula_broker.store.sqlite.mailbox import CopyRecord
from trishula_broker.store.sqlite.trail import PLACE_BITS, Recorded, SpaceTrail
from trishula_broker.store.trail import Entry

FOLD_AT: Final = 20_000
"""Changes after which a commit has them folded, if nothing else does first: an archiver that says
how far it is, which spares the entries it has the tables, or half a journal that fills up."""
FOLD_BYTES: Final = 12 << 20
"""Or bytes of bodies and entries in memory."""
SHORT_BYTES: Final = 64 << 10
"""A short record has fewer."""
KNOWN: Final = 50_000
"""Or copies and ids in memory, which may merely have been asked for; some 12 MiB."""
CARRIES: Final = 2
"""How often a message to many is carried: most who are there settle within one folding."""
CARRIED_BYTES: Final = 4 << 20
"""What such messages and their copies take in the database at most."""


class _Commit(msgspec.Struct, array_like=True, gc=False):
    """What one commit did: new copies, changed ones, and messages of the log."""

    former: list[Any]
    """Messages as the version before wrote them: see :func:`_former`."""
    new: list[CopyRecord]
    changed: list[CopyRecord]
    trail: list[Any] = []
    """Rows for ``insert_trail``, laid end to end."""
    log: list[pages.Row] = []
    said: list[Said] = []
    fans: list[Packed] = []
    """Of messages to many, new or carried: their copies, and who has settled already."""
    ended: list[Ended] = []
    """Copies of theirs that were done."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Commit).decode


class Pending:
    """The changes of a transaction and of those before it that were not folded.

    A transaction that writes to the tables anyway (:meth:`write`) folds at its end; any other
    is one record of the journal, and no transaction of the database's at all. Between
    :meth:`end` and :meth:`wait` the database may be in use by ``folder``.

    Attributes:
        log: messages for :func:`pages.write`.
        new: copies that are in no table, as they are now.
        fans: by seq, messages of ``log`` to many: their copies are not among ``new``.
        done: copies of the tables that were settled as done, and not changed otherwise.
        changed: other changed copies by (agent, seq), new ones too.
        moved: rows for ``move_copies``.
        copies: what is known of single copies without reading the tables.
        ids: what ids were used for, by (id, sender): (seq, body).
        bytes: of the bodies in ``log`` and ``ids``, and of the entries in ``trail``.
        trail: rows for ``insert_trail``, laid end to end.
        recorded: entries of the trail that this transaction makes.
        ended: what this transaction has settled of ``fans``.
        entries: what became of them at its end, each with its trail and its size.
    """

    def __init__(
        self, db: sqlite3.Connection, journal: Journal, node: str, folder: Executor
    ) -> None:
        self._db = db
        self._folder = folder
        self._folding: Future[dict[int, int]] | None = None
        self._shrinking: dict[int, SpaceTrail] = {}
        self._writing = False
        self._journal = journal
        self._node = node
        self._folded = False
        self._carried = False
        """Whether the tables say something of messages that are carried."""
        self.entries: list[tuple[SpaceTrail, Entry, int]] = []
        self._clear()
        self._begin()

    def __repr__(self) -> str:
        return f"<Pending {len(self.new)} new, {len(self.done) + len(self.changed)} changed>"

    def _clear(self) -> None:
        self.log: list[pages.Row] = []
        self.new: list[CopyRecord] = []
        self.fans: dict[int, Fan] = {}
        self._parted = False
        self.done: list[CopyRecord] = []
        self.changed: dict[tuple[int, int], CopyRecord] = {}
        self.moved: list[int] = []
        self.copies: dict[tuple[int, int], CopyRecord | None] = {}
        self.ids: dict[tuple[str, int], tuple[int, bytes] | None] = {}
        self.trail: list[Any] = []
        self._trails: dict[int, int] = {}
        self._said: list[Said] = []
        self.bytes = 0

    def __bool__(self) -> bool:
        return self._folding is not None or self._has_changes()

    def _has_changes(self) -> bool:
        return bool(
            self.log or self.new or self.done or self.changed or self.moved or self._trails
            or self._said
        )  # fmt: skip

    def _begin(self) -> None:
        """A transaction begins here."""
        self._begun = len(self.log), len(self.new), len(self.done), len(self._said)
        self._changed_now: dict[tuple[int, int], CopyRecord] = {}
        self._fans_now: list[Fan] = []
        self.ended: list[Ended] = []
        self.recorded: list[Recorded] = []

    def write(self) -> None:
        """The transaction is about to write to the tables."""
        if not self._writing:
            self.wait()
            self._db.execute("BEGIN IMMEDIATE")
            self._writing = True

    def wait(self) -> None:
        """Until what is being folded is in the tables.

        Raises:
            sqlite3.Error: it is not.
        """
        folding, self._folding = self._folding, None
        if folding is not None:
            self._shrink(folding.result())

    def _shrink(self, removed: dict[int, int]) -> None:
        for space, size in removed.items():
            if (trail := self._shrinking.get(space)) is not None:  # else it was recovered
                trail.size -= size

    def give_up(self) -> None:
        """Nothing here counts any more; the database is not in use when this returns."""
        folding, self._folding = self._folding, None
        if folding is not None:
            folding.exception()

    def change(self, record: CopyRecord) -> None:
        """``record`` was changed."""
        key = record.agent, record.seq
        self.changed[key] = self._changed_now[key] = record

    def fan_out(self, fan: Fan) -> None:
        """A message to many was added to ``log``."""
        self.fans[fan.seq] = fan
        self._fans_now.append(fan)
        self.bytes += fan.bytes

    def part(self, agent: int, seq: int) -> CopyRecord | None:
        """A copy of a message to many, as a row of its own from here on; None when it is none."""
        fan = self.fans.get(seq)
        record = None if fan is None else fan.part(agent)
        if record is not None:
            self.new.append(record)
            self._parted = True
        return record

    def move(self, source: int, seq: int, target: int) -> None:
        """A copy goes from one mailbox to another."""
        self.write()  # a record has no words for it
        self.moved += (source, seq, target)

    def say(self, what: str, *values: Any) -> None:
        """Have the tables told of who archives, in this order: see :data:`fold.SAYING`."""
        self._said.append((what, values))

    @property
    def is_simple(self) -> bool:
        """Whether :meth:`end` merely writes a record, if it is a short one, and on a quick disk."""
        return (
            not (self._writing or self._is_much() or self._is_due())
            and self._journal.pace.is_quick
            and self._journal.has_room(SHORT_BYTES)
        )

    def _is_much(self) -> bool:
        """Whether memory or the journal are full enough that all is to be folded, or forgotten."""
        full = self._journal.is_filling or self.bytes >= FOLD_BYTES
        return full or len(self.copies) + len(self.ids) >= KNOWN

    def _is_due(self) -> bool:
        """Whether there is enough to be folded."""
        size = len(self.new) + len(self.done) + len(self.changed) + len(self.fans)
        # Who archives is looked up in the file by others.
        return size >= FOLD_AT or bool(self._said)

    def end(self) -> None:
        """The transaction is complete: make it durable. Another may begin."""
        rows = self._take_recorded()
        much = self._is_much()
        if much and not self._has_changes():
            self.forget()
        if not self._writing:
            log, new, done, said = self._begun
            fresh = len(self.new) - new + len(self.done) - done + len(self._changed_now)
            fresh += len(self.ended)
            if not fresh and len(self.log) == log and len(self._said) == said and not rows:
                return
            changed = self.done[done:] + list(self._changed_now.values())
            fans = [fan.packed() for fan in self._fans_now]
            data = _encode(
                _Commit(
                    *([], self.new[new:], changed, rows, self.log[log:], self._said[said:]),
                    *(fans, self.ended),
                )
            )
            if self._journal.has_room(len(data)):
                self._journal.append(data)
                self._begin()
                if much or self._is_due():
                    self._fold_behind()
                return
        self.fold()
        self.write()
        self._db.execute("COMMIT")
        self._writing = False
        if self._folded:
            self._folded = False
            self._journal.begin_anew()

    def _fold_behind(self) -> None:
        """Fold in the other thread, unless it is still at work: then the next commit looks."""
        if self._folding is not None:
            if not self._folding.done():
                return
            self.wait()
        fold = self._take(*self._unsettled())
        self._journal.turn()
        self._folding = self._folder.submit(fold.commit, self._db)

    def _unsettled(self) -> tuple[list[pages.Row], list[Fan]]:
        """What is carried to the next time: messages to many, and their copies."""
        rows: list[pages.Row] = []
        fans: list[Fan] = []
        left = CARRIED_BYTES
        for row in self.log if self.fans else ():
            fan = self.fans.get(row[0])
            if fan is None or not fan.open or not fan.whole or fan.carried == CARRIES:
                continue
            left -= fan.packed_bytes
            if left < 0:
                break
            rows.append(row)
            fans.append(fan)
        return rows, fans

    def _take_recorded(self) -> list[Any]:
        """The rows of the entries that this transaction makes, which are pending from here on."""
        rows: list[Any] = []
        self.entries = []
        fresh, self.recorded = self.recorded, []
        for trail, pos, at, done in fresh:
            self._trails[trail.space] = pos
            if pos < trail.first:
                continue  # an archiver claims to have it
            data = encode_done(done)
            rows += (trail.place(pos), at, self._node, data)
            self.entries.append((trail, Entry(pos, at, self._node, tuple(done)), len(data)))
            trail.size += len(data)
            self.bytes += len(data)
        self.trail += rows
        return rows

    def remove_trail(self, trail: SpaceTrail, upto: int) -> None:
        """Remove the entries up to there, wherever they are."""
        first, last = trail.place(trail.first), trail.place(upto)
        trail.first = upto + 1
        self._shrinking[trail.space] = trail
        self.say("remove_trail", trail.space, first, last)
        rows, self.trail = self.trail, []
        for start in range(0, len(rows), 4):
            if first <= rows[start] <= last:
                trail.size -= len(rows[start + 3])
            else:
                self.trail += rows[start : start + 4]

    def fold(self) -> None:
        """Write everything to the tables; what was known is read anew from here on."""
        self.wait()
        if not self._has_changes():
            return
        self.write()
        self._shrink(self._take().run(self._db))
        self._folded = True

    def _take(self, rows: Sequence[pages.Row] = (), left: Sequence[Fan] = ()) -> Fold:
        """All changes, which are nobody's here from now on, but for the messages ``rows``, whose
        copies are ``left``: those are carried."""
        if self._parted:
            self.new.sort(key=_by_seq)
        log, fans = self.log, self.fans
        if left:
            staying = {fan.seq for fan in left}
            log = [row for row in log if row[0] not in staying]
            for seq in staying:
                del fans[seq]
        fold = Fold(
            log,
            fans,
            [_still(record) for record in self.new],
            [record for record in self.done if not record.new],
            [_still(record) for record in self.changed.values() if not record.new],
            self.moved,
            self.trail,
            self._trails,
            self._said,
            self._carry(rows, left),
            self._journal.number,
        )
        for record in self.new:
            record.new = False
        recorded = self.recorded
        self._clear()
        for row, fan in zip(rows, left, strict=True):
            fan.carried += 1
            self.log.append(row)
            self.fans[fan.seq] = fan
            self.ids[row[2], row[1]] = (row[0], row[11])
            self.bytes += fan.size + fan.bytes
        self._begin()
        self.recorded = recorded
        return fold

    def _carry(self, rows: Sequence[pages.Row], fans: Sequence[Fan]) -> bytes | None:
        if not fans and not self._carried:
            return None
        self._carried = bool(fans)
        packed = [fan.packed() for fan in fans]
        return _encode(_Commit([], [], [], [], [*rows], [], packed, [])) if fans else b""

    def forget(self) -> None:
        """What is known of the tables is read anew; nothing is pending."""
        self.copies.clear()
        self.ids.clear()
        self.bytes = 0

    def recover(self) -> None:
        """Fold what the journal was left with."""
        (last,) = SQL["folded"].execute(self._db).fetchone()
        new: dict[tuple[int, int], CopyRecord] = {}
        log: dict[int, pages.Row] = {}
        (carried,) = SQL["carried"].execute(self._db).fetchone()
        self._carried = bool(carried)
        for data in [carried][: self._carried] + self._journal.read(last):
            commit = _decode(data)
            log.update((row[0], row) for row in _former(commit.former) + commit.log)
            self.trail += commit.trail
            self._said += commit.said
            for place in commit.trail[::4]:
                space, pos = divmod(place, 1 << PLACE_BITS)
                self._trails[space] = pos
            for packed in commit.fans:
                self.fans[packed[0]] = unpacked(packed, log[packed[0]])
            for agent, at, seqs, delivered in commit.ended:
                for seq, out_at in zip(seqs, delivered, strict=True):
                    if agent in self.fans[seq].open:  # else the message was said with it
                        self.fans[seq].settle(agent, out_at, at)
            for record in commit.new:
                self.part(record.agent, record.seq)
                new[record.agent, record.seq] = record
            for record in commit.changed:
                key = record.agent, record.seq
                if key in new:
                    new[key] = record
                else:
                    self.changed[key] = record
        self.log = list(log.values())
        self.new = sorted(new.values(), key=_by_seq)
        for record in self.new:
            record.new = True
        if self:
            self.write()
            self.end()


def _by_seq(record: CopyRecord) -> int:
    return record.seq


def _still(record: CopyRecord) -> CopyRecord:
    """``record`` as it is now: one that is done stays as it is anyway."""
    return record if record.outcome == "done" else copy(record)


def _former(log: list[Any]) -> list[pages.Row]:
    """Messages that the version before laid end to end, thirteen values each: the eleventh is
    told by the copies."""
    return [(*log[n : n + 10], *log[n + 11 : n + 13]) for n in range(0, len(log), 13)]
