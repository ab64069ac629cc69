"""Mail comes in, goes out and ends, in SQLite: one function an operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from trishula_broker.store import base
from trishula_broker.store.sqlite import pages
from trishula_broker.store.sqlite.answers import copy_rows, with_ttl
from trishula_broker.store.sqlite.directory import SQL, Space
from trishula_broker.store.sqlite.duties import POOL_PAGE, pool_page
from trishula_broker.store.sqlite.mailbox import CopyRecord, Mailbox
from trishula_broker.store.sqlite.work import Work
from trishula_protocol import limits
from trishula_protocol.address import HUB, Address, Kind

_AGENT: Final = Kind.AGENT  # Python 3.11 is slow to look a member of an Enum up


def fence(box: Mailbox | None, epoch: int) -> base.Fenced | None:
    """What an operation of ``box`` comes back as when ``epoch`` is not current."""
    if epoch == 0:
        return None
    current = 0 if box is None else box.epoch
    return None if epoch == current else base.Fenced(current)


def prepare(work: Work, space: Space, ops: Sequence[base.Operation]) -> None:
    """Read together what ``ops`` will ask for one by one. Saves steps and nothing else.

    What is known without reading is left out here already, for speed.
    """
    boxes = space.mailboxes
    ids: list[tuple[Mailbox, str]] = []
    copies: list[tuple[Mailbox, int]] = []
    hub = boxes.get(HUB)
    for op in ops:
        if isinstance(op, base.Accept):
            box = boxes.get(op.sender)
            if box is not None:
                if op.id <= box.newest_id:
                    ids.append((box, op.id))
                if op.settles is not None:
                    copies.append((box, op.settles))
        elif isinstance(op, (base.Settle, base.Read, base.Requeue)):
            box = boxes.get(op.agent)
            if box is not None and not work.are_recent(box, op.seqs):
                copies += [(box, seq) for seq in op.seqs if not work.are_recent(box, (seq,))]
        elif isinstance(op, base.Delivered):
            if (box := boxes.get(op.agent)) is not None:
                copies += [(box, seq) for seq, _ in op.seqs]
        elif isinstance(op, base.Discard):
            if (box := boxes.get(op.agent)) is not None:
                copies.append((box, op.seq))
            if op.notice is not None and hub is not None:
                ids.append((hub, op.notice.id))
    work.find_ids(ids)
    work.load(copies)


def is_at_hand(work: Work, space: Space, ops: Sequence[base.Operation]) -> bool:
    """Whether ``ops`` can be applied without a look into the tables, which takes a thread.

    So it is with nearly everything that goes from one agent to another that is there.
    """
    boxes = space.mailboxes
    roomy: set[Address] = set()
    for op in ops:
        if isinstance(op, base.Accept):
            box = boxes.get(op.sender)
            if box is None or (op.id <= box.newest_id and not work.knows_id(box, op.id)):
                return False
            kind, name = op.address
            if kind is not _AGENT:
                if kind is Kind.CAPABILITY or op.settles is not None:
                    return False
                if op.address not in roomy:
                    # When somebody's mailbox is full the sender gets mail of the hub's own.
                    if work.may_be_full(space.members(name if kind is Kind.GROUP else None), ops):
                        return False
                    roomy.add(op.address)
            elif op.settles is not None:
                to = boxes.get(op.address.name)
                # Who asked is looked up when his mailbox is full.
                known = work.are_recent(box, (op.settles,))
                if not known or to is None or work.may_be_full((to,), ops):
                    return False
        elif isinstance(op, base.Settle) or (isinstance(op, base.Read) and not op.want):
            box = boxes.get(op.agent)
            if box is None or not work.are_recent(box, op.seqs):
                return False
        elif isinstance(op, base.Delivered):
            box = boxes.get(op.agent)
            if box is None or not work.are_recent(box, (seq for seq, _ in op.seqs)):
                return False
        elif not isinstance(op, (base.Beat, base.Archive)):
            return False
    return True


def accept(
    work: Work, space: Space, op: base.Accept
) -> base.Accepted | base.Duplicate | base.Refused | base.Fenced:
    sender = space.mailboxes.get(op.sender)
    if fenced := fence(sender, op.epoch):
        return fenced
    if sender is None:
        sender = work.mailbox(space, op.sender)
    earlier = work.used(sender, op.id)
    if earlier is not None:
        return base.Duplicate(*earlier)
    kind, name = op.address
    if kind is _AGENT and op.settles is None:
        box = space.mailboxes.get(name)
        if box is not None and box.known and work.has_room(box, op):
            return base.Accepted(work.send(space, op, sender, box), work.now, box.alone)
    boxes = _recipients(work, space, op)
    if boxes is None:
        return base.Refused("unknown_recipient")
    size = len(op.body)
    full = work.full(boxes, op.sender, size)
    if full and op.settles is not None and work.unsettled(sender, op.settles):
        work.flush()
        asked = pages.read(work.db, [op.settles])[op.settles]
        full = [box for box in full if box.id != asked.sender]
    if full:
        if len(full) == len(boxes):
            return base.Refused("mailbox_full", tuple(box.name for box in full))
        lost = set(full)
        boxes = [box for box in boxes if box not in lost]
    settles = op.settles
    if settles is not None and not work.finish_fanned(space, sender, settles, op.delivered_at):
        record = work.get(sender, settles)
        if record is None or (record.settled_at is not None and record.outcome != "done"):
            return base.Refused("stale_ack")
        if record.settled_at is None:
            if op.delivered_at is not None:
                record.delivered_at = op.delivered_at
            work.settle(space, sender, record, "done", None)

    now = work.now
    via = name if kind is Kind.CAPABILITY else None
    expires_at = None if op.ttl is None else now + op.ttl
    seq = work.append(op, sender, expires_at)
    work.point(space, boxes, seq, op.priority, size, op.sender == HUB, via, expires_at)
    if via is not None and boxes[0].name.startswith("@"):
        behind = space.least_loaded(via, op.sender) is not None
        return base.Accepted(seq, now, (), (), via, None, behind)
    names = tuple([box.name for box in boxes])
    if not full:
        return base.Accepted(seq, now, names)
    missed = tuple(box.name for box in full)
    notice = None
    if told := op.full_notice:
        body = told.head + msgspec.json.encode(missed) + told.tail
        notice = work.post(space, op.sender, told.id, told.thread, body)
    return base.Accepted(seq, now, names, missed, None, notice)


def _recipients(work: Work, space: Space, op: base.Accept) -> list[Mailbox] | None:
    """The mailboxes ``op`` is for, by name; None when nobody is known by that address."""
    kind, name = op.address
    if kind is _AGENT:
        box = space.mailboxes.get(name)
        return [box] if box is not None and box.known else None
    if kind is Kind.CAPABILITY:
        pool = space.mailboxes.get("@" + name)
        if pool is None:
            return None
        taker = space.least_loaded(name, op.sender)
        return [pool if taker is None or _waits_for(work, taker, pool) else taker]
    if kind is Kind.BROADCAST:
        return [box for box in space.members(None) if box.name != op.sender]
    if kind is Kind.GROUP:
        return [box for box in space.members(name) if box.name != op.sender] or None
    return None


def _waits_for(work: Work, taker: Mailbox, pool: Mailbox) -> bool:
    """Whether ``pool`` holds something that ``taker`` may have: what it did not send."""
    if not pool.unsettled:
        return False
    work.flush()
    after, limit = (0, 0), 1  # the first mostly tells
    while rows := pool_page(work, pool, after, limit):
        entries = pages.read(work.db, [row.seq for row in rows])
        if any(entry.sender != taker.id for entry in entries.values()):
            return True
        after, limit = (rows[-1].priority, rows[-1].seq), POOL_PAGE
    return False


def fetch(work: Work, space: Space, op: base.Fetch) -> base.Fetched | base.Fenced:
    box = space.mailboxes.get(op.agent)
    if fenced := fence(box, op.epoch):
        return fenced
    if box is None:
        return base.Fetched((), False, None)
    if box.paused is not None:
        return base.Fetched((), False, None, paused=True)
    work.flush()
    priority, seq = op.after or (0, 0)
    latest = work.now + limits.RETRY_DELAYS_MS[-1]  # later: the clock was set back, it is due
    rows = copy_rows.decode(
        SQL["fetch_copies"].one(
            work.db,
            agent=box.id,
            priority=priority,
            seq=seq,
            now=work.now,
            latest=latest,
            limit=op.limit + 1,
        )
    )
    chosen: list[tuple[int, int, int, str | None]] = []
    expiry: list[int | None] = []
    size = 0
    for row in rows[: op.limit]:
        size += row.size
        if chosen and size > op.limit_bytes:
            break
        chosen.append((row.seq, row.attempts, row.deliveries, row.via))
        expiry.append(row.expires_at)
    due_at = SQL["next_due"].one(work.db, box.id, work.now, latest)
    copies = with_ttl(work.copies(chosen), expiry)
    return base.Fetched(copies, len(chosen) < len(rows), due_at)


def delivered(work: Work, space: Space, op: base.Delivered) -> base.Marked | base.Fenced:
    def note(box: Mailbox, record: CopyRecord, at: int | None) -> bool:
        before, record.delivered_at = record.delivered_at, at
        work.change(record)
        return before != at

    return _mark(work, space, op.agent, op.epoch, op.seqs, note)


def read(work: Work, space: Space, op: base.Read) -> base.Marked | base.Fenced:
    now = work.now

    def take(box: Mailbox, record: CopyRecord, _: int | None) -> bool:
        renews = record.lease_until is not None
        if base.is_delayed(record.due_at, now):
            record.attempts -= 1  # the attempt that seemed to have ended goes on
        record.due_at = None
        record.lease_until = now + op.lease_ms
        if record.read_at is None:
            record.read_at = now
        box.leased.add(record.seq)
        work.change(record)
        return not renews

    marked = _mark(work, space, op.agent, op.epoch, [(seq, None) for seq in op.seqs], take)
    if not op.want or not isinstance(marked, base.Marked) or not marked.seqs:
        return marked
    box = space.mailboxes[op.agent]
    found = [work.unsettled(box, seq) for seq in dict.fromkeys(marked.seqs)]
    copies = work.copies([(h.seq, h.attempts, h.deliveries, h.via) for h in found if h])
    copies = with_ttl(copies, [h.expires_at for h in found if h])
    return base.Marked(marked.seqs, marked.stale, copies, marked.again)


def settle(work: Work, space: Space, op: base.Settle) -> base.Marked | base.Fenced:
    mailbox = space.mailboxes.get(op.agent)
    if mailbox is not None and mailbox.epoch == op.epoch and work.finish(space, mailbox, op):
        return base.Marked(op.seqs, ())

    def done(box: Mailbox, record: CopyRecord, at: int | None) -> bool:
        if at is not None:
            record.delivered_at = at
        work.settle(space, box, record, "done", None)
        return True

    pairs = zip(op.seqs, op.delivered_at, strict=True)
    return _mark(work, space, op.agent, op.epoch, pairs, done, ends=True)


def _mark(
    work: Work,
    space: Space,
    agent: str,
    epoch: int,
    seqs: Iterable[tuple[int, int | None]],
    change: Callable[[Mailbox, CopyRecord, int | None], bool],
    ends: bool = False,
) -> base.Marked | base.Fenced:
    """Do ``change`` to each copy of ``agent`` that is not settled; it says whether it did.

    ``ends``: it settles them as done, which needs no row for a copy of a message to many.
    """
    box = space.mailboxes.get(agent)
    if fenced := fence(box, epoch):
        return fenced
    if box is None:
        return base.Marked((), tuple(seq for seq, _ in seqs))
    good: list[int] = []
    stale: list[int] = []
    again: list[int] = []
    for seq, value in seqs:
        if ends and work.finish_fanned(space, box, seq, value):
            good.append(seq)
            continue
        record = work.get(box, seq)
        if record is None:
            stale.append(seq)
            continue
        good.append(seq)
        if record.settled_at is not None or not change(box, record, value):
            again.append(seq)
    return base.Marked(tuple(good), tuple(stale), (), tuple(again))


def requeue(work: Work, space: Space, op: base.Requeue) -> base.Requeued | base.Fenced:
    box = space.mailboxes.get(op.agent)
    if fenced := fence(box, op.epoch):
        return fenced
    copies: list[tuple[int, int, int]] = []
    stale: list[int] = []
    again: list[int] = []
    for seq in dict.fromkeys(op.seqs):
        record = work.unsettled(box, seq) if box else None
        if box is None or record is None:
            stale.append(seq)
        elif record.lease_until is None and base.is_delayed(record.due_at, work.now):
            copies.append((seq, record.attempts, record.due_at))
            again.append(seq)
        else:
            due_at = work.end_attempt(box, record)
            copies.append((seq, record.attempts, due_at))
    return base.Requeued(tuple(copies), tuple(stale), tuple(again))


def discard(work: Work, space: Space, op: base.Discard) -> base.Discarded | base.Fenced:
    box = space.mailboxes.get(op.agent)
    if fenced := fence(box, op.epoch):
        return fenced
    record = work.get(box, op.seq) if box else None
    if box is None or record is None:
        return base.Discarded(False)
    droppable = op.outcome == "dropped" and record.is_dead
    if record.settled_at is not None and not droppable:
        again = record.outcome == op.outcome
        return base.Discarded(again, record.outcome, None, again)
    spared = (
        (op.outcome == "dropped" and not droppable)
        or (op.outcome == "expired" and (record.expires_at is None or record.expires_at > work.now))
        or (op.unread_only and record.read_at is not None)
    )
    if spared:
        return base.Discarded(False, record.outcome)
    work.settle(space, box, record, op.outcome, op.reason)
    told: Final = op.notice
    posted = work.post(space, told.to, told.id, told.thread, told.body) if told else None
    return base.Discarded(True, op.outcome, posted)
