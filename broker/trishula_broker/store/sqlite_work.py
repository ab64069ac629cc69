"""The work of one transaction: copies read once, changed in memory, written many at a time.

Operations see their predecessors' effects here; the database sees them at :meth:`Work.flush`,
which whatever asks the database about more than single copies calls first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from trishula_broker.store.base import Accept, Copy, MailboxLimits, Message, Settled
from trishula_broker.store.sqlite_answers import read_messages
from trishula_broker.store.sqlite_directory import SQL, Box, Directory, Space
from trishula_protocol import limits
from trishula_protocol.address import HUB


class Held(msgspec.Struct, array_like=True, gc=False):
    """A row of ``copies``."""

    agent: int
    seq: int
    priority: int
    size: int
    hub: int
    via: str | None
    expires_at: int | None
    attempts: int
    deliveries: int
    due_at: int | None
    delivered_at: int | None
    read_at: int | None
    lease_until: int | None
    settled_at: int | None
    outcome: Settled | None
    reason: str | None

    @property
    def is_dead(self) -> bool:
        """Whether it is a dead letter."""
        return self.outcome == "dead" or self.outcome == "rejected"


_rows: Final = msgspec.json.Decoder(list[Held])


class Work:
    """What the operations of a transaction have changed so far."""

    def __init__(
        self, db: sqlite3.Connection, directory: Directory, now: int, limits: MailboxLimits
    ) -> None:
        self.db: Final = db
        self.directory: Final = directory
        self.now: Final = now
        self.limits: Final = limits
        self._copies: dict[tuple[int, int], Held | None] = {}
        self._ids: dict[tuple[str, int], tuple[int, bytes] | None] = {}
        self._written = directory.seq
        self._log: list[Any] = []
        self._new: list[Any] = []
        self._done: dict[tuple[int, int], Held] = {}
        self._changed: dict[tuple[int, int], Held] = {}
        self._moved: list[int] = []

    # --- who there is -----------------------------------------------------------------------

    def space(self, name: str) -> Space:
        """The namespace, made when it is new."""
        space = self.directory.spaces.get(name)
        if space is None:
            id_ = SQL["insert_space"].execute(self.db, name).lastrowid
            assert id_ is not None
            space = self.directory.spaces[name] = Space(id_, name)
        return space

    def box(self, space: Space, name: str) -> Box:
        """The box called ``name``, made when there is none: it is not known then."""
        box = space.boxes.get(name)
        if box is None:
            id_ = SQL["insert_agent"].execute(self.db, space.id, name).lastrowid
            assert id_ is not None
            box = self.directory.by_id[id_] = space.boxes[name] = Box(id_, name)
            space.touched.add(box)
        return box

    def save(self, space: Space, box: Box) -> None:
        """Write what the directory says of ``box``."""
        space.touched.add(box)
        SQL["update_agent"].execute(
            self.db,
            box.known,
            msgspec.json.encode(box.capabilities).decode(),
            msgspec.json.encode(box.groups).decode(),
            box.epoch,
            box.online,
            box.ephemeral,
            box.node,
            box.session,
            box.since,
            box.lease_ms,
            box.status,
            box.id,
        )

    # --- the log ----------------------------------------------------------------------------

    def find_ids(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Look up these ``(id, sender)`` together, for :meth:`used`."""
        values: list[Any] = []
        for key in wanted:
            if key not in self._ids:
                self._ids[key] = None
                values += key
        for cursor in SQL["find_ids"].many(self.db, values):
            for id_, sender, seq, body in cursor.fetchall():
                self._ids[id_, sender] = (seq, body)

    def used(self, sender: Box, id_: str) -> tuple[int, bytes] | None:
        """What the sender has used ``id_`` for: seq and body."""
        key = (id_, sender.id)
        if key not in self._ids:
            self.find_ids([key])
        return self._ids[key]

    def append(self, op: Accept, sender: Box, expires_at: int | None, fan: list[Box] | None) -> int:
        """Log what ``op`` accepts; its seq. ``fan``: the recipients of a fan-out."""
        directory = self.directory
        seq = directory.seq = directory.seq + 1
        body = op.body
        size = len(body)
        directory.log_bytes += size
        self._ids[op.id, sender.id] = (seq, body)
        self._log += (
            seq,
            sender.id,
            op.id,
            op.type,
            str(op.address),
            op.priority,
            None if op.thread == op.id else op.thread,
            op.receipt,
            self.now,
            expires_at,
            None if fan is None else msgspec.json.encode([box.id for box in fan]).decode(),
            size,
            body,
        )
        return seq

    def post(self, space: Space, to: str, id_: str, body: bytes) -> Message | None:
        """Mail from the hub to ``to``; None when it is not known or has it already."""
        box = space.boxes.get(to)
        if box is None or not box.known:
            return None
        hub = self.box(space, HUB)
        if self.used(hub, id_) is not None:
            return None
        directory = self.directory
        seq = directory.seq = directory.seq + 1
        directory.log_bytes += len(body)
        priority = limits.PRIORITY_DEFAULT
        self._ids[id_, hub.id] = (seq, body)
        self._log += (seq, hub.id, id_, "ERROR", to, priority, None, 0, self.now, None, None)
        self._log += (len(body), body)
        self.point(space, box, seq, priority, len(body), True, None, None)
        return Message(seq, id_, HUB, "ERROR", to, priority, None, False, self.now, None, body)

    # --- copies -----------------------------------------------------------------------------

    def point(
        self,
        space: Space,
        box: Box,
        seq: int,
        priority: int,
        size: int,
        hub: bool,
        via: str | None,
        expires_at: int | None,
    ) -> None:
        """Point ``box`` to the message ``seq``."""
        self._new += (box.id, seq, priority, size, hub, via, expires_at)
        box.count_in(1, size, priority, hub, via is not None)
        space.touched.add(box)

    def full(self, boxes: list[Box], sender: str, size: int) -> list[Box]:
        """Those of ``boxes`` that cannot take ``size`` bytes from ``sender``."""
        if sender == HUB:
            return []
        most = self.limits.messages
        room = self.limits.bytes - size
        return [box for box in boxes if box.messages >= most or box.bytes > room]

    def load(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Read these ``(agent, seq)`` together, for :meth:`get`."""
        copies = self._copies
        missing = [key for key in wanted if key not in copies]
        if not missing:
            return
        if max(seq for _, seq in missing) > self._written:
            self.flush()  # one of them may be about to be written
            copies = self._copies
        copies.update(dict.fromkeys(missing))
        values = [value for key in dict.fromkeys(missing) for value in key]
        for cursor in SQL["load_copies"].many(self.db, values):
            for held in _rows.decode(cursor.fetchone()[0]):
                copies[held.agent, held.seq] = held

    def get(self, box: Box, seq: int) -> Held | None:
        """The copy ``seq`` of ``box``."""
        key = (box.id, seq)
        if key not in self._copies:
            self.load([key])
        return self._copies[key]

    def unsettled(self, box: Box, seq: int) -> Held | None:
        """The copy ``seq`` of ``box`` when it is not settled."""
        held = self.get(box, seq)
        return held if held is not None and held.settled_at is None else None

    def change(self, held: Held) -> None:
        """``held`` was changed and is to be written."""
        self._changed[held.agent, held.seq] = held

    def settle(
        self, space: Space, box: Box, held: Held, outcome: Settled, reason: str | None
    ) -> None:
        """End a copy; a dead letter may be ended once more."""
        if held.settled_at is None:
            self._count_out(space, box, held)
        held.settled_at = self.now
        held.outcome = outcome
        held.reason = reason
        held.due_at = held.lease_until = None
        key = (held.agent, held.seq)
        if outcome == "done" and key not in self._changed:
            self._done[key] = held
        else:
            self._changed[key] = held

    def reopen(self, space: Space, box: Box, held: Held) -> None:
        """A settled copy waits again, as if it were new."""
        held.settled_at = held.outcome = held.reason = None
        held.attempts = held.deliveries = 0
        box.count_in(1, held.size, held.priority, bool(held.hub), held.via is not None)
        space.touched.add(box)
        self.change(held)

    def end_attempt(self, box: Box, held: Held) -> int:
        """An attempt ended without settling; when the next may begin."""
        held.attempts += 1
        held.lease_until = None
        held.due_at = self.now + limits.retry_delay_ms(held.attempts)
        box.leased.discard(held.seq)
        self.change(held)
        return held.due_at

    def end_reads(self, box: Box) -> None:
        """All attempts of ``box`` that were read have ended."""
        if box.leased:
            seqs = sorted(box.leased)
            self.load((box.id, seq) for seq in seqs)
            for seq in seqs:
                held = self.unsettled(box, seq)
                if held is not None:
                    self.end_attempt(box, held)

    def hand_over(self, space: Space, source: Box, held: Held, target: Box) -> None:
        """Hand an unsettled copy to another box, with its history."""
        self._count_out(space, source, held)
        target.count_in(1, held.size, held.priority, bool(held.hub), held.via is not None)
        space.touched.add(target)
        self._moved += (source.id, held.seq, target.id)

    def copies(self, rows: Sequence[tuple[int, int, int, str | None]]) -> tuple[Copy, ...]:
        """``(seq, attempts, deliveries, via)`` as mailboxes hand them out."""
        self.flush()
        messages = read_messages(self.db, [row[0] for row in rows])
        return tuple(
            Copy(messages[seq], attempts, deliveries, via)
            for seq, attempts, deliveries, via in rows
        )

    def copy(self, held: Held) -> Copy:
        """``held`` as a mailbox hands it out."""
        return self.copies([(held.seq, held.attempts, held.deliveries, held.via)])[0]

    def _count_out(self, space: Space, box: Box, held: Held) -> None:
        box.count_in(-1, -held.size, held.priority, bool(held.hub), held.via is not None)
        box.leased.discard(held.seq)
        space.touched.add(box)

    # --- writing ----------------------------------------------------------------------------

    def flush(self) -> None:
        """Let the database know; what was read is read anew from here on."""
        if self._log:
            SQL["insert_log"].run(self.db, self._log)
            self._log = []
        if self._new:
            SQL["insert_copies"].run(self.db, self._new)
            self._new = []
        if self._done:
            self._write_done()
        if self._changed:
            self._write_changed()
        if self._moved:
            SQL["move_copies"].run(self.db, self._moved)
            self._moved = []
        self._copies = {}
        self._ids = {}
        self._written = self.directory.seq

    def _write_done(self) -> None:
        values: list[Any] = []
        for (agent, seq), held in self._done.items():
            values += (agent, seq, held.settled_at, held.delivered_at)
        SQL["settle_copies"].run(self.db, values)
        self._done = {}

    def _write_changed(self) -> None:
        values: list[Any] = []
        for (agent, seq), held in self._changed.items():
            values += (
                agent,
                seq,
                held.attempts,
                held.deliveries,
                held.due_at,
                held.delivered_at,
                held.read_at,
                held.lease_until,
                held.settled_at,
                held.outcome,
                held.reason,
            )
        SQL["update_copies"].run(self.db, values)
        self._changed = {}
