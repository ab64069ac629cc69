"""Pools, what time makes due, and dead letters, in SQLite: one function an operation."""

from __future__ import annotations

from typing import Final

import msgspec

from trishula_broker.store import base
from trishula_broker.store.sqlite import pages
from trishula_broker.store.sqlite.answers import seq_list, with_ttl
from trishula_broker.store.sqlite.directory import SQL, Space
from trishula_broker.store.sqlite.mailbox import Mailbox
from trishula_broker.store.sqlite.work import Work

POOL_PAGE: Final = 256
"""Copies of a pool looked at together."""


class PoolRow(msgspec.Struct, array_like=True, gc=False):
    """A copy that waits in a pool."""

    priority: int
    seq: int
    expires_at: int | None
    attempts: int
    deliveries: int


class _ExpiredRow(msgspec.Struct, array_like=True, gc=False):
    expires_at: int
    mailbox: str
    seq: int
    attempts: int
    deliveries: int
    via: str | None


_pool_rows: Final = msgspec.json.Decoder(list[PoolRow])
_expired_rows: Final = msgspec.json.Decoder(list[_ExpiredRow])


def assign(work: Work, space: Space, op: base.Assign) -> base.Assigned:
    pool = space.mailboxes.get("@" + op.capability)
    if pool is None or not any(box.online for box in space.offering.get(op.capability, ())):
        return base.Assigned((), False)
    assigned: list[tuple[str, tuple[int, int, int, str | None]]] = []
    expiry: list[int | None] = []
    more = False
    after: tuple[int, int] | None = (0, 0)
    while after is not None and not more:
        work.flush()
        rows = pool_page(work, pool, after, POOL_PAGE)
        entries = pages.read(work.db, [row.seq for row in rows])
        after = (rows[-1].priority, rows[-1].seq) if len(rows) == POOL_PAGE else None
        work.load((pool, row.seq) for row in rows)
        for row in rows:
            sender = work.directory.by_id[entries[row.seq].sender].name
            taker = space.least_loaded(op.capability, sender)
            if taker is None:
                continue
            if len(assigned) == op.limit:
                more = True
                break
            record = work.get(pool, row.seq)
            assert record is not None
            work.hand_over(space, pool, record, taker)
            assigned.append((taker.name, (row.seq, row.attempts, row.deliveries, op.capability)))
            expiry.append(row.expires_at)
    copies = with_ttl(work.copies([row for _, row in assigned]), expiry)
    return base.Assigned(
        tuple((name, copy) for (name, _), copy in zip(assigned, copies, strict=True)), more
    )


def pool_page(work: Work, pool: Mailbox, after: tuple[int, int], limit: int) -> list[PoolRow]:
    """What waits in ``pool`` behind a (priority, seq), as the tables know it."""
    priority, seq = after
    found = SQL["pool_copies"].one(work.db, agent=pool.id, priority=priority, seq=seq, limit=limit)
    return _pool_rows.decode(found)


def unassign(work: Work, space: Space, op: base.Unassign) -> base.Unassigned:
    box = space.mailboxes.get(op.agent)
    if box is None or not box.known or box.online or not box.via:
        return base.Unassigned(())
    work.flush()
    found = seq_list.decode(SQL["capability_copies"].one(work.db, box.id))
    work.load((box, seq) for seq in found)
    pools: set[str] = set()
    for seq in found:
        record = work.get(box, seq)
        assert record is not None
        assert record.via is not None
        if record.lease_until is not None:
            work.end_attempt(box, record)
        pools.add(record.via)
        work.hand_over(space, box, record, work.mailbox(space, "@" + record.via))
    work.flush()  # what was read is elsewhere now
    return base.Unassigned(tuple(sorted(pools)), tuple(found))


def sweep(work: Work, space: Space, op: base.Sweep) -> base.Swept:
    now = work.now
    work.flush()
    behind = op.after or (0, 0, "")
    rows = _expired_rows.decode(
        SQL["expired_copies"].one(
            work.db,
            now=now,
            space=space.id,
            at=behind[0],
            seq=behind[1],
            mailbox=behind[2],
            limit=op.limit + 1,
        )
    )
    orphans: list[str] = []
    ghosts: list[str] = []
    pools: list[str] = []
    next_at = SQL["next_expiry"].one(work.db, now=now, space=space.id)
    later = [] if next_at is None else [next_at]
    for box in space.mailboxes.values():
        if box.known and not box.online:
            for at, names in ((box.orphan_at, orphans), (box.ghost_at, ghosts)):
                if at is not None and at <= now:
                    names.append(box.name)
                elif at is not None:
                    later.append(at)
        elif box.unsettled and box.name.startswith("@") and space.least_loaded(box.name[1:], ""):
            pools.append(box.name[1:])
    if max(len(rows), len(orphans), len(ghosts)) > op.limit:
        later.append(now)
    left = len(rows) > op.limit
    rows = rows[: op.limit]
    copies = work.copies([(row.seq, row.attempts, row.deliveries, row.via) for row in rows])
    return base.Swept(
        expired=tuple((row.mailbox, copy) for row, copy in zip(rows, copies, strict=True)),
        orphans=tuple(sorted(orphans)[: op.limit]),
        ghosts=tuple(sorted(ghosts)[: op.limit]),
        next_at=min(later, default=None),
        pools=tuple(sorted(pools)[: op.limit]),
        more=(rows[-1].expires_at, rows[-1].seq, rows[-1].mailbox) if left else None,
    )


def retry(work: Work, space: Space, op: base.Retry) -> base.Retried:
    box = space.mailboxes.get(op.agent)
    if box is None or not (box.known or box.name.startswith("@")):
        return base.Retried(None)
    record = work.get(box, op.seq)
    if record is None or not record.is_dead:
        return base.Retried(None)
    work.reopen(space, box, record)
    if record.expires_at is not None:
        record.expires_at = None
        work.flush()
        SQL["forget_ttl"].execute(work.db, record.agent, record.seq)
    return base.Retried(with_ttl([work.copy(record)], [None])[0])
