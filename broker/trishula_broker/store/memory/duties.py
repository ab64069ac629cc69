"""Pools, what time makes due, dead letters and the trail, in memory: one function an operation."""

from __future__ import annotations

from bisect import bisect_right

from trishula_broker.store import base
from trishula_broker.store.memory.books import Books
from trishula_broker.store.memory.nodes import dead, next_lapse
from trishula_broker.store.memory.space import Space


def assign(books: Books, space: Space, now: int, op: base.Assign) -> base.Assigned:
    pool = space.mailbox("@" + op.capability)
    assigned: list[tuple[str, base.Copy]] = []
    more = False
    for _, seq in list(pool.queue):
        record = pool.copies[seq]
        taker = space.least_loaded(op.capability, record.entry.message.sender)
        if taker is None:
            continue
        if len(assigned) == op.limit:
            more = True
            break
        space.move(record, taker)
        assigned.append((taker, record.copy()))
    return base.Assigned(tuple(assigned), more)


def unassign(books: Books, space: Space, now: int, op: base.Unassign) -> base.Outcome:
    agent = space.agents.get(op.agent)
    if agent is None or agent.online:
        return base.Unassigned(())
    box = space.mailbox(op.agent)
    pools: set[str] = set()
    seqs: list[int] = []
    for _, seq in list(box.queue):
        record = box.copies[seq]
        if record.via is None:
            continue
        if record.lease_until is not None:
            record.end_attempt(now)
        pools.add(record.via)
        seqs.append(seq)
        space.move(record, "@" + record.via)
    return base.Unassigned(tuple(sorted(pools)), tuple(seqs))


def sweep(books: Books, space: Space, now: int, op: base.Sweep) -> base.Outcome:
    if op.lead and (fenced := space.lead.fence(op.lead)):
        return fenced
    whole = op.lead > 0 or not op.node

    def concerns(item: base.Due) -> bool:
        node = space.node_of(item[2])
        return not op.node or node == op.node or (whole and node is None)

    ripe = bisect_right(space.expiring, now, key=lambda item: item[0])
    start = 0 if op.after is None else bisect_right(space.expiring, op.after)
    expired = [item for item in space.expiring[start:ripe] if concerns(item)]
    next_at = [item[0] for item in space.expiring[ripe:] if concerns(item)][:1]
    orphans: list[str] = []
    ghosts: list[str] = []
    for name, agent in sorted(space.agents.items()) if whole else ():
        for at, names in ((space.orphan_at(agent), orphans), (agent.ghost_at, ghosts)):
            if at is not None and at <= now:
                names.append(name)
            elif at is not None:
                next_at.append(at)
    if max(len(expired), len(orphans), len(ghosts)) > op.limit:
        next_at.append(now)
    stopped = dead(space, now) if op.lead else []
    lapse = next_lapse(space, now) if op.lead else None
    if lapse is not None:
        next_at.append(lapse)
    return base.Swept(
        expired=tuple(
            (name, space.mailboxes[name].copies[seq].copy()) for _, seq, name in expired[: op.limit]
        ),
        orphans=tuple(orphans[: op.limit]),
        ghosts=tuple(ghosts[: op.limit]),
        next_at=min(next_at, default=None),
        pools=tuple(
            name
            for name in sorted(space.capabilities if whole else ())
            if space.mailbox("@" + name).queue and space.least_loaded(name, "")
        )[: op.limit],
        dead=tuple(stopped[: op.limit]),
        more=expired[op.limit - 1] if len(expired) > op.limit else None,
    )


def retry(books: Books, space: Space, now: int, op: base.Retry) -> base.Outcome:
    pool = op.agent.startswith("@") and op.agent[1:] in space.capabilities
    known = pool or op.agent in space.agents
    record = space.mailbox(op.agent).copies.get(op.seq)
    if not known or record is None or not record.is_dead:
        return base.Retried(None)
    space.reopen(record)
    return base.Retried(record.copy())


def archive(books: Books, space: Space, now: int, op: base.Archive) -> base.Outcome:
    space.trail.hear(now, op)
    return base.Archived(space.trail.first, space.trail.last)
