"""Answers of the store in memory. Nothing here changes anything."""

from __future__ import annotations

from typing import Any

import msgspec

from trishula_broker.store import base
from trishula_broker.store.memory.nodes import records
from trishula_broker.store.memory.space import CopyRecord, Entry, Mailbox, Space


def answer(space: Space, query: base.Query) -> Any:
    """Answer ``query`` about one namespace; see its docstring for with what."""
    match query:
        case base.Agents():
            return _agents(space, query)
        case base.Peek():
            return _peek(space, query)
        case base.History():
            return _history(space, query)
        case base.Trace():
            return _trace(space, query)
        case base.DeadLetters():
            return _dead_letters(space, query)
        case base.Nodes():
            return records(space)
        case base.Revocations():
            return tuple(each for _, each in sorted(space.revoked.items()))
        case base.Trail():
            return space.trail.read(query)
        case base.Archives():
            return _archives(space, query)


def _agents(space: Space, query: base.Agents) -> tuple[base.AgentRecord, ...]:
    records: list[base.AgentRecord] = []
    for name, agent in sorted(space.agents.items()):
        if (
            (query.id is not None and query.id != name)
            or (query.capability is not None and query.capability not in agent.capabilities)
            or (query.group is not None and query.group not in agent.groups)
            or (query.online is not None and query.online != agent.online)
        ):
            continue
        box = space.mailboxes.get(name) or Mailbox()
        records.append(
            base.AgentRecord(
                id=name,
                capabilities=tuple(sorted(agent.capabilities)),
                groups=tuple(sorted(agent.groups)),
                online=agent.online,
                ephemeral=agent.ephemeral,
                status=agent.status,
                node=agent.node,
                since=agent.since,
                epoch=agent.epoch,
                unsettled=len(box.queue),
                paused=agent.paused,
                folder=agent.folder,
            )
        )
    return tuple(records)


def _peek(space: Space, query: base.Peek) -> base.Peeked:
    box = space.mailboxes.get(query.agent) or Mailbox()
    oldest = min((seq for _, seq in box.queue), default=None)
    return base.Peeked(
        count=len(box.queue),
        size=box.size,
        oldest=None if oldest is None else box.copies[oldest].entry.message.accepted_at,
        by_priority=tuple(sum(1 for p, _ in box.queue if p == n) for n in range(1, 6)),
        heads=tuple(box.copies[seq].copy() for _, seq in box.queue[: query.limit]),
    )


def _takes_part(entry: Entry, agent: str) -> bool:
    return entry.message.sender == agent or agent in entry.copies


def _history(space: Space, query: base.History) -> tuple[base.Message, ...]:
    if query.thread is not None:
        entries = space.threads.get(query.thread, [])
        if not any(_takes_part(entry, query.agent) for entry in entries):
            return ()
        found = [entry for entry in entries if entry.message.seq > query.after]
    else:
        box = space.mailboxes.get(query.agent) or Mailbox()
        seqs = {*space.sent.get(query.agent, ()), *box.copies}
        found = [space.entries[seq] for seq in sorted(seqs) if seq > query.after]
    return tuple(entry.message for entry in found[: query.limit])


def _trace(space: Space, query: base.Trace) -> tuple[base.Traced, ...]:
    return tuple(
        base.Traced(
            message=entry.message,
            copies=tuple(_fate(record) for _, record in sorted(entry.copies.items())),
        )
        for entry in space.by_id.get(query.id, [])
        if _takes_part(entry, query.agent)
    )


def _fate(record: CopyRecord) -> base.Fate:
    return base.Fate(
        agent=record.mailbox,
        attempts=record.attempts,
        deliveries=record.deliveries,
        delivered_at=record.delivered_at,
        read_at=record.read_at,
        settled_at=record.settled_at,
        outcome=record.outcome,
        reason=record.reason,
        due_at=record.due_at,
        lease_until=record.lease_until,
    )


def _dead_letters(space: Space, query: base.DeadLetters) -> tuple[base.DeadLetter, ...]:
    if query.agent is None:
        names = list(space.mailboxes)
    else:
        names = [query.agent] if query.agent in space.mailboxes else []
    dead = sorted(
        (seq, name)
        for name in names
        for seq, record in space.mailboxes[name].copies.items()
        if record.is_dead and seq > query.after
    )
    letters: list[base.DeadLetter] = []
    for seq, name in dead[: query.limit]:
        record = space.mailboxes[name].copies[seq]
        assert record.outcome is not None
        assert record.settled_at is not None
        letters.append(
            base.DeadLetter(
                name, record.copy(), record.outcome, record.reason or "", record.settled_at
            )
        )
    return tuple(letters)


def _archives(space: Space, query: base.Archives) -> tuple[base.ArchiveRecord, ...]:
    return tuple(
        msgspec.structs.replace(
            archiver, digests=tuple(one for one in archiver.digests if one[0] >= query.since)
        )
        for _, archiver in sorted(space.trail.archivers.items())
    )
