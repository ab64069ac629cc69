"""Mail comes in, goes out and ends, in memory: one function an operation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable

import msgspec

from trishula_broker.store import base
from trishula_broker.store.memory.books import Books, fence
from trishula_broker.store.memory.space import Agent, CopyRecord, Space
from trishula_protocol.address import Kind


def accept(books: Books, space: Space, now: int, op: base.Accept) -> base.Outcome:
    if fenced := fence(space, op.sender, op.epoch):
        return fenced
    earlier = space.ids.get((op.sender, op.id))
    if earlier is not None:
        return base.Duplicate(earlier.message.seq, earlier.message.body)
    names = _recipients(space, op)
    if names is None:
        return base.Refused("unknown_recipient")
    full = [name for name in names if books.is_full(space, name, op.sender, len(op.body))]
    if full and op.settles is not None:
        ends = space.mailbox(op.sender).unsettled(op.settles)
        full = [name for name in full if ends is None or name != ends.entry.message.sender]
    if full and len(full) == len(names):
        return base.Refused("mailbox_full", tuple(full))
    if op.settles is not None:
        box = space.mailbox(op.sender)
        record = box.copies.get(op.settles)
        if record is None or record.outcome not in (None, "done"):
            return base.Refused("stale_ack")
        if record.settled_at is None:
            if op.delivered_at is not None:
                record.delivered_at = op.delivered_at
            space.settle(record, now, "done", None)
    via = op.address.name if op.address.kind is Kind.CAPABILITY else None
    entry = books.append(space, now, op)
    recipients = [name for name in names if name not in full]
    for name in recipients:
        space.point(entry, name, via)
    notice = None
    if full and op.full_notice:
        told = op.full_notice
        body = told.head + msgspec.json.encode(full) + told.tail
        notice = books.post(space, now, op.sender, told.id, told.thread, body)
    pooled = via is not None and recipients[0].startswith("@")
    behind = pooled and space.least_loaded(op.address.name, op.sender) is not None
    return base.Accepted(
        seq=entry.message.seq,
        accepted_at=now,
        recipients=() if pooled else tuple(recipients),
        full=tuple(full),
        pool=via if pooled else None,
        notice=notice,
        behind=behind,
    )


def fetch(books: Books, space: Space, now: int, op: base.Fetch) -> base.Outcome:
    if fenced := fence(space, op.agent, op.epoch):
        return fenced
    agent = space.agents.get(op.agent)
    if agent is not None and agent.paused is not None:
        return base.Fetched((), False, None, paused=True)
    box = space.mailbox(op.agent)
    start = 0 if op.after is None else bisect_right(box.queue, op.after)
    copies: list[base.Copy] = []
    size = 0
    more = False
    for _, seq in box.queue[start:]:
        record = box.copies[seq]
        if base.is_delayed(record.due_at, now):
            continue
        size += record.size
        if len(copies) == op.limit or (copies and size > op.limit_bytes):
            more = True
            break
        copies.append(record.copy())
    delays = (box.copies[seq].due_at for _, seq in box.queue)
    due_at = min((at for at in delays if at is not None and base.is_delayed(at, now)), default=None)
    return base.Fetched(tuple(copies), more, due_at)


def delivered(books: Books, space: Space, now: int, op: base.Delivered) -> base.Outcome:
    def note(record: CopyRecord, at: int | None) -> bool:
        before, record.delivered_at = record.delivered_at, at
        return before != at

    return _mark(space, op.agent, op.epoch, op.seqs, note)


def read(books: Books, space: Space, now: int, op: base.Read) -> base.Outcome:
    def take(record: CopyRecord, _: int | None) -> bool:
        renews = record.lease_until is not None
        if base.is_delayed(record.due_at, now):
            record.attempts -= 1  # the attempt that seemed to have ended goes on
        record.due_at = None
        record.lease_until = now + op.lease_ms
        if record.read_at is None:
            record.read_at = now
        return not renews

    marked = _mark(space, op.agent, op.epoch, [(seq, None) for seq in op.seqs], take)
    if not op.want or not isinstance(marked, base.Marked):
        return marked
    box = space.mailbox(op.agent)
    found = [box.unsettled(seq) for seq in dict.fromkeys(marked.seqs)]
    copies = tuple(record.copy() for record in found if record)
    return msgspec.structs.replace(marked, copies=copies)


def settle(books: Books, space: Space, now: int, op: base.Settle) -> base.Outcome:
    def settle(record: CopyRecord, at: int | None) -> bool:
        if at is not None:
            record.delivered_at = at
        space.settle(record, now, "done", None)
        return True

    pairs = zip(op.seqs, op.delivered_at, strict=True)
    return _mark(space, op.agent, op.epoch, pairs, settle)


def requeue(books: Books, space: Space, now: int, op: base.Requeue) -> base.Outcome:
    if fenced := fence(space, op.agent, op.epoch):
        return fenced
    box = space.mailbox(op.agent)
    copies: list[tuple[int, int, int]] = []
    stale: list[int] = []
    again: list[int] = []
    for seq in dict.fromkeys(op.seqs):
        record = box.unsettled(seq)
        if record is None:
            stale.append(seq)
        elif record.lease_until is None and base.is_delayed(record.due_at, now):
            copies.append((seq, record.attempts, record.due_at))
            again.append(seq)
        else:
            copies.append((seq, record.attempts + 1, record.end_attempt(now)))
    return base.Requeued(tuple(copies), tuple(stale), tuple(again))


def discard(books: Books, space: Space, now: int, op: base.Discard) -> base.Outcome:
    if fenced := fence(space, op.agent, op.epoch):
        return fenced
    record = space.mailbox(op.agent).copies.get(op.seq)
    if record is None:
        return base.Discarded(False)
    droppable = op.outcome == "dropped" and record.is_dead
    if record.settled_at is not None and not droppable:
        again = record.outcome == op.outcome
        return base.Discarded(again, record.outcome, None, again)
    early = op.outcome == "expired" and (record.expires_at is None or record.expires_at > now)
    read = op.unread_only and record.read_at is not None
    if early or read or (op.outcome == "dropped" and not droppable) or _is_spared(space, op):
        return base.Discarded(False, record.outcome)
    space.settle(record, now, op.outcome, op.reason)
    told = op.notice
    posted = books.post(space, now, told.to, told.id, told.thread, told.body) if told else None
    return base.Discarded(True, op.outcome, posted)


def _is_spared(space: Space, op: base.Discard) -> bool:
    """Whether somebody else knows better what became of the copies of that agent."""
    node = space.node_of(op.agent)
    return node is not None and (op.offline_only or (op.node != "" and node != op.node))


def _recipients(space: Space, op: base.Accept) -> list[str] | None:
    """The mailboxes ``op`` is for, by name; None when nobody is known by that address."""
    kind, name = op.address
    if kind is Kind.AGENT:
        return [name] if name in space.agents else None
    if kind is Kind.CAPABILITY:
        if name not in space.capabilities:
            return None
        pool = "@" + name
        taker = space.least_loaded(name, op.sender)
        return [pool if taker is None or space.waits_for(taker, pool) else taker]
    others = sorted((a for a in space.agents.values() if a.name != op.sender), key=Agent.key)
    if kind is Kind.BROADCAST:
        return [agent.name for agent in others if not agent.ephemeral]
    return [agent.name for agent in others if name in agent.groups] or None


def _mark(
    space: Space,
    agent: str,
    epoch: int,
    seqs: Iterable[tuple[int, int | None]],
    change: Callable[[CopyRecord, int | None], bool],
) -> base.Outcome:
    """Do ``change`` to each copy of ``agent`` that is not settled; it says whether it did."""
    if fenced := fence(space, agent, epoch):
        return fenced
    box = space.mailbox(agent)
    good: list[int] = []
    stale: list[int] = []
    again: list[int] = []
    for seq, value in seqs:
        record = box.copies.get(seq)
        if record is None:
            stale.append(seq)
            continue
        good.append(seq)
        if record.settled_at is not None or not change(record, value):
            again.append(seq)
    return base.Marked(tuple(good), tuple(stale), (), tuple(again))
