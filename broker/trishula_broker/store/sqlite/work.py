"""The work of one transaction: copies read once and changed in memory.

Operations see their predecessors' effects here; the tables see them at :meth:`Work.flush`, which
whatever asks the tables about more than single copies calls first, or when they are folded
(pending.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from trishula_broker.store.base import (
    Accept,
    Copy,
    MailboxLimits,
    Message,
    Operation,
    Outcome,
    Settle,
    Settled,
)
from trishula_broker.store.sqlite import pages
from trishula_broker.store.sqlite.answers import read_messages
from trishula_broker.store.sqlite.directory import RECENT, SQL, Directory, Space
from trishula_broker.store.sqlite.fans import Fan
from trishula_broker.store.sqlite.mailbox import CopyRecord, Mailbox
from trishula_broker.store.sqlite.pending import Pending
from trishula_broker.store.sqlite.trail import SpaceTrail
from trishula_protocol import limits
from trishula_protocol.address import HUB, Kind

REMOVE_AT_ONCE: Final = 2_000
"""Entries of a trail that one operation removes at most; twice what comes between two of them."""
_rows: Final = msgspec.json.Decoder(list[CopyRecord])
_seqs: Final = msgspec.json.Decoder(list[int]).decode


class Work:
    """What the operations of a transaction have changed so far."""

    def __init__(
        self,
        db: sqlite3.Connection,
        directory: Directory,
        pending: Pending,
        now: int,
        limits: MailboxLimits,
    ) -> None:
        self._db: Final = db
        self.directory: Final = directory
        self.now: Final = now
        self.limits: Final = limits
        self._pending: Final = pending

    @property
    def db(self) -> sqlite3.Connection:
        """The tables, once what is being folded is in them."""
        self._pending.wait()
        return self._db

    # --- who there is -----------------------------------------------------------------------

    def space(self, name: str) -> Space:
        """The namespace, made when it is new."""
        space = self.directory.spaces.get(name)
        if space is None:
            self._pending.write()
            id_ = SQL["insert_space"].execute(self.db, name).lastrowid
            assert id_ is not None
            space = self.directory.spaces[name] = Space(id_, name)
        return space

    def mailbox(self, space: Space, name: str) -> Mailbox:
        """The mailbox called ``name``, made when there is none: it is not known then."""
        box = space.mailboxes.get(name)
        if box is None:
            self._pending.write()
            id_ = SQL["insert_agent"].execute(self.db, space.id, name).lastrowid
            assert id_ is not None
            box = self.directory.by_id[id_] = space.mailboxes[name] = Mailbox(id_, name, "")
            space.touched.add(box)
        return box

    def save(self, space: Space, box: Mailbox) -> None:
        """Write what the directory says of ``box``."""
        space.touched.add(box)
        self._pending.write()
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
            box.paused,
            box.folder,
            box.id,
        )

    def write(self) -> None:
        """An operation is about to write to the tables itself."""
        self._pending.write()

    # --- the trail --------------------------------------------------------------------------

    def record(self, space: Space, ops: Sequence[Operation], outcomes: Sequence[Outcome]) -> None:
        """Keep what ``ops`` did, when somebody archives it."""
        if space.trail.is_kept:
            entry = space.trail.add(self.now, ops, outcomes)
            if entry is not None:
                self._pending.recorded.append(entry)

    def say(self, what: str, *values: Any) -> None:
        """Have the tables told of who archives."""
        self._pending.say(what, *values)

    def remove_trail(self, trail: SpaceTrail, upto: int) -> None:
        """Remove entries up to there; not all at once when they are many."""
        upto = min(upto, trail.first + REMOVE_AT_ONCE - 1)
        if upto >= trail.first:
            self._pending.remove_trail(trail, upto)

    # --- the log ----------------------------------------------------------------------------

    def find_ids(self, wanted: Iterable[tuple[Mailbox, str]]) -> None:
        """Look up these ids of senders together, for :meth:`used`.

        Most ids sort behind all that their sender used before (they begin with the time), and
        then there is nothing to look up.
        """
        values: list[Any] = []
        ids = self._pending.ids
        for sender, id_ in wanted:
            if id_ <= sender.newest_id and (id_, sender.id) not in ids:
                ids[id_, sender.id] = None
                values += (id_, sender.id)
        if values:
            seqs = [
                seq
                for cursor in SQL["find_ids"].many(self.db, values)
                for seq in _seqs(cursor.fetchone()[0])
            ]
            for seq, entry in pages.read(self.db, seqs).items():
                ids[entry.id, entry.sender] = (seq, entry.body)
                self._pending.bytes += entry.size

    def used(self, sender: Mailbox, id_: str) -> tuple[int, bytes] | None:
        """What the sender has used ``id_`` for: seq and body."""
        if id_ > sender.newest_id:
            return None
        key = (id_, sender.id)
        ids = self._pending.ids
        if key not in ids:
            self.find_ids([(sender, id_)])
        return ids[key]

    def knows_id(self, sender: Mailbox, id_: str) -> bool:
        """Whether :meth:`used` has the answer without reading."""
        return (id_, sender.id) in self._pending.ids

    def may_be_full(self, boxes: Iterable[Mailbox], ops: Sequence[Operation]) -> bool:
        """Whether one of ``boxes`` could become full if all of ``ops`` were for it."""
        size = sum(len(op.body) for op in ops if isinstance(op, Accept))
        messages = self.limits.messages - len(ops)
        bytes_ = self.limits.bytes - size
        return any(box.messages > messages or box.bytes > bytes_ for box in boxes)

    def has_room(self, box: Mailbox, op: Accept) -> bool:
        """Whether ``box`` can take what ``op`` sends."""
        limits = self.limits
        return box.messages < limits.messages and box.bytes + len(op.body) <= limits.bytes

    def send(self, space: Space, op: Accept, sender: Mailbox, box: Mailbox) -> int:
        """:meth:`append` and :meth:`point` at once for one agent, which nearly all mail is for."""
        directory = self.directory
        seq = directory.seq = directory.seq + 1
        body = op.body
        size = len(body)
        directory.log_bytes += size
        id_ = op.id
        priority = op.priority
        ttl = op.ttl
        expires_at = None if ttl is None else self.now + ttl
        own = 1 if op.sender == HUB else 0
        pending = self._pending
        pending.bytes += size
        pending.ids[id_, sender.id] = (seq, body)
        if id_ > sender.newest_id:
            sender.newest_id = id_
        pending.log.append((
            seq, sender.id, id_, op.type, op.address.name, priority,
            None if op.thread == id_ else op.thread, 1 if op.receipt else 0, self.now, expires_at,
            size, body,
        ))  # fmt: skip
        box.unsettled += 1
        box.size += size
        box.by_priority[priority - 1] += 1
        if not own:
            box.messages += 1
            box.bytes += size
        space.touched.add(box)
        self._put(box, seq, priority, size, own, None, expires_at)
        return seq

    def finish(self, space: Space, box: Mailbox, op: Settle) -> bool:
        """Settle all that ``op`` names at once, when all are at hand and as they were sent.

        False, and nothing is done, when they are not.
        """
        recent = box.recent
        pending = self._pending
        changed = pending.changed
        fans = pending.fans
        agent = box.id
        found: list[CopyRecord] = []
        fanned: list[Fan] = []
        times: list[int | None] = []
        fanned_times: list[int | None] = []
        for seq, at in zip(op.seqs, op.delivered_at, strict=True):
            if (fan := fans.get(seq)) is not None and agent in fan.open:
                fanned.append(fan)
                fanned_times.append(at)
                continue
            record = recent.get(seq)
            if record is None or record.via is not None or (agent, seq) in changed:
                return False
            found.append(record)
            times.append(at)
        if len(set(op.seqs)) < len(op.seqs):
            return False
        now = self.now
        size = own = own_size = 0
        if fanned:
            for fan, at in zip(fanned, fanned_times, strict=True):
                fan.settle(agent, at, now)
                size += fan.size
                if fan.hub:
                    own += 1
                    own_size += fan.size
                box.by_priority[fan.priority - 1] -= 1
            pending.ended.append((agent, now, [fan.seq for fan in fanned], fanned_times))
        for record, at in zip(found, times, strict=True):
            if at is not None:
                record.delivered_at = at
            record.settled_at = now
            record.outcome = "done"
            record.due_at = record.lease_until = None
            size += record.size
            if record.hub:
                own += 1
                own_size += record.size
            box.by_priority[record.priority - 1] -= 1
            del recent[record.seq]
            pending.copies[agent, record.seq] = record
        box.leased.difference_update(op.seqs)
        box.unsettled -= len(op.seqs)
        box.size -= size
        box.messages -= len(op.seqs) - own
        box.bytes -= size - own_size
        self.directory.recent -= len(found)
        pending.done += found
        space.touched.add(box)
        return True

    def finish_fanned(self, space: Space, box: Mailbox, seq: int, at: int | None) -> bool:
        """Settle one copy of a message to many, when it is as it was sent."""
        fan = self._pending.fans.get(seq)
        if fan is None or box.id not in fan.open:
            return False
        fan.settle(box.id, at, self.now)
        self._pending.ended.append((box.id, self.now, (seq,), (at,)))
        box.count(-1, -fan.size, fan.priority, fan.hub != 0, False)
        space.touched.add(box)
        return True

    def append(self, op: Accept, sender: Mailbox, expires_at: int | None) -> int:
        """Log what ``op`` accepts; its seq."""
        directory = self.directory
        seq = directory.seq = directory.seq + 1
        kind, to = op.address
        body = op.body
        size = len(body)
        directory.log_bytes += size
        self._use_id(sender, op.id, seq, body)
        self._pending.log.append((
            seq, sender.id, op.id, op.type, to if kind is Kind.AGENT else str(op.address),
            op.priority, None if op.thread == op.id else op.thread, 1 if op.receipt else 0,
            self.now, expires_at, size, body,
        ))  # fmt: skip
        return seq

    def _use_id(self, sender: Mailbox, id_: str, seq: int, body: bytes) -> None:
        self._pending.ids[id_, sender.id] = (seq, body)
        self._pending.bytes += len(body)
        if id_ > sender.newest_id:
            sender.newest_id = id_

    def post(
        self, space: Space, to: str, id_: str, thread: str | None, body: bytes
    ) -> Message | None:
        """Mail from the hub to ``to``; None when it is not known or has it already."""
        box = space.mailboxes.get(to)
        if box is None or not box.known:
            return None
        hub = self.mailbox(space, HUB)
        if self.used(hub, id_) is not None:
            return None
        directory = self.directory
        seq = directory.seq = directory.seq + 1
        directory.log_bytes += len(body)
        priority = limits.PRIORITY_DEFAULT
        self._use_id(hub, id_, seq, body)
        self._pending.log.append(
            (seq, hub.id, id_, "ERROR", to, priority, thread, 0, self.now, None, len(body), body)
        )
        self.point(space, [box], seq, priority, len(body), True, None, None)
        return Message(seq, id_, HUB, "ERROR", to, priority, thread, False, self.now, None, body)

    # --- copies -----------------------------------------------------------------------------

    def point(
        self,
        space: Space,
        boxes: list[Mailbox],
        seq: int,
        priority: int,
        size: int,
        hub: bool,
        via: str | None,
        expires_at: int | None,
    ) -> None:
        """Point ``boxes`` to the message ``seq``."""
        own = 1 if hub else 0
        if via is None and len(boxes) > 1:
            at = priority - 1
            for box in boxes:
                box.unsettled += 1
                box.size += size
                box.by_priority[at] += 1
                if not own:
                    box.messages += 1
                    box.bytes += size
            agents = [box.id for box in boxes]
            self._pending.fan_out(Fan(seq, priority, size, own, expires_at, agents, []))
            space.touched.update(boxes)
            return
        for box in boxes:
            self._put(box, seq, priority, size, own, via, expires_at)
            box.count(1, size, priority, hub, via is not None)
        space.touched.update(boxes)

    def _put(
        self,
        box: Mailbox,
        seq: int,
        priority: int,
        size: int,
        own: int,
        via: str | None,
        expires_at: int | None,
    ) -> None:
        """A new copy, which is in no table yet."""
        record = CopyRecord(
            box.id, seq, priority, size, own, via, expires_at, 0, 0,
            None, None, None, None, None, None, None, True,
        )  # fmt: skip
        self._pending.new.append(record)
        self._remember(box, record)

    def _remember(self, box: Mailbox, record: CopyRecord) -> None:
        """An unsettled copy that may be asked for soon."""
        if self.directory.recent < RECENT:
            self.directory.recent += 1
            box.recent[record.seq] = record
        else:
            self._pending.copies[box.id, record.seq] = record

    def are_recent(self, box: Mailbox, seqs: Iterable[int]) -> bool:
        """Whether the copies ``seqs`` of ``box`` are not settled, and known without reading."""
        recent, fans, agent = box.recent, self._pending.fans, box.id
        for seq in seqs:
            if seq not in recent and ((fan := fans.get(seq)) is None or agent not in fan.open):
                return False
        return True

    def full(self, boxes: list[Mailbox], sender: str, size: int) -> list[Mailbox]:
        """Those of ``boxes`` that cannot take ``size`` bytes from ``sender``."""
        if sender == HUB:
            return []
        most = self.limits.messages
        room = self.limits.bytes - size
        return [box for box in boxes if box.messages >= most or box.bytes > room]

    def load(self, wanted: Iterable[tuple[Mailbox, int]]) -> None:
        """Read these copies together, for :meth:`get`."""
        copies = self._pending.copies
        fans = self._pending.fans
        last = self.directory.seq  # what is behind it is not there, but may still come
        missing = [
            (box.id, seq)
            for box, seq in wanted
            if seq <= last
            and seq not in box.recent
            and (box.id, seq) not in copies
            and seq not in fans
        ]
        if not missing:
            return
        copies.update(dict.fromkeys(missing))
        values = [value for key in dict.fromkeys(missing) for value in key]
        for cursor in SQL["load_copies"].many(self.db, values):
            for record in _rows.decode(cursor.fetchone()[0]):
                copies[record.agent, record.seq] = record
        left = [key for key in missing if copies[key] is None]
        if left:
            entries = pages.read(self.db, [seq for _, seq in left])
            for agent, seq in left:
                if (entry := entries.get(seq)) is not None:
                    copies[agent, seq] = entry.copy_of(agent)

    def get(self, box: Mailbox, seq: int) -> CopyRecord | None:
        """The copy ``seq`` of ``box``."""
        record = box.recent.get(seq)
        if record is not None:
            return record
        key = (box.id, seq)
        copies = self._pending.copies
        if key not in copies:
            if (fan := self._pending.fans.get(seq)) is not None:
                return self._part(box, fan)
            self.load([(box, seq)])
        return copies.get(key)

    def _part(self, box: Mailbox, fan: Fan) -> CopyRecord | None:
        """The copy of ``box`` of a message to many, which may change from here on."""
        record = self._pending.part(box.id, fan.seq)
        if record is None:
            return fan.finished(box.id)
        self._remember(box, record)
        return record

    def unsettled(self, box: Mailbox, seq: int) -> CopyRecord | None:
        """The copy ``seq`` of ``box`` when it is not settled."""
        record = self.get(box, seq)
        return record if record is not None and record.settled_at is None else None

    def change(self, record: CopyRecord) -> None:
        """``record`` was changed and is to be written."""
        self._pending.change(record)

    def settle(
        self, space: Space, box: Mailbox, record: CopyRecord, outcome: Settled, reason: str | None
    ) -> None:
        """End a copy; a dead letter may be ended once more."""
        key = (record.agent, record.seq)
        if record.settled_at is None:
            self._count_out(space, box, record)
            self._pending.copies[key] = record
        record.settled_at = self.now
        record.outcome = outcome
        record.reason = reason
        record.due_at = record.lease_until = None
        if outcome == "done" and key not in self._pending.changed:
            self._pending.done.append(record)
        else:
            self._pending.change(record)

    def reopen(self, space: Space, box: Mailbox, record: CopyRecord) -> None:
        """A settled copy waits again, as if it were new."""
        record.settled_at = record.outcome = record.reason = None
        record.attempts = record.deliveries = 0
        record.delivered_at = record.read_at = None
        box.count(1, record.size, record.priority, bool(record.hub), record.via is not None)
        space.touched.add(box)
        self.change(record)

    def end_attempt(self, box: Mailbox, record: CopyRecord) -> int:
        """An attempt ended without settling; when the next may begin."""
        record.attempts += 1
        record.lease_until = None
        record.due_at = self.now + limits.retry_delay_ms(record.attempts)
        box.leased.discard(record.seq)
        self.change(record)
        return record.due_at

    def end_reads(self, box: Mailbox) -> None:
        """All attempts of ``box`` that were read have ended."""
        if box.leased:
            seqs = sorted(box.leased)
            self.load((box, seq) for seq in seqs)
            for seq in seqs:
                record = self.unsettled(box, seq)
                if record is not None:
                    self.end_attempt(box, record)

    def hand_over(self, space: Space, source: Mailbox, record: CopyRecord, target: Mailbox) -> None:
        """Hand an unsettled copy to another mailbox, with its history."""
        self._count_out(space, source, record)
        target.count(1, record.size, record.priority, bool(record.hub), record.via is not None)
        if record.lease_until is not None:
            target.leased.add(record.seq)
        space.touched.add(target)
        self._pending.move(source.id, record.seq, target.id)

    def copies(self, rows: Sequence[tuple[int, int, int, str | None]]) -> tuple[Copy, ...]:
        """``(seq, attempts, deliveries, via)`` as mailboxes hand them out."""
        self.flush()
        messages = read_messages(self.db, [row[0] for row in rows])
        return tuple(
            Copy(messages[seq], attempts, deliveries, via)
            for seq, attempts, deliveries, via in rows
        )

    def copy(self, record: CopyRecord) -> Copy:
        """``record`` as a mailbox hands it out."""
        return self.copies([(record.seq, record.attempts, record.deliveries, record.via)])[0]

    def _count_out(self, space: Space, box: Mailbox, record: CopyRecord) -> None:
        box.count(-1, -record.size, record.priority, record.hub != 0, record.via is not None)
        if box.recent.pop(record.seq, None) is not None:
            self.directory.recent -= 1
        if record.lease_until is not None:
            box.leased.discard(record.seq)
        space.touched.add(box)

    def flush(self) -> None:
        """Let the tables know; what was read is read anew from here on."""
        self._pending.fold()
