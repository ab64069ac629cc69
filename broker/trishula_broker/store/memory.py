"""The store as a plain model in memory: what the others must agree with.

For simulation and unit tests. No threads, no clock, no randomness; all state is in dicts and
sorted lists, and what :mod:`trishula_broker.store.base` says can be read here in a few lines
each. Durable only as far as the object lives: ``open`` again is what a crash looks like.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from trishula_broker.store import base
from trishula_broker.store.memory_answers import answer
from trishula_broker.store.memory_space import Agent, Entry, Held, Mailbox, Space
from trishula_protocol import limits
from trishula_protocol.address import HUB, Kind


class MemoryStore:
    """A :class:`~trishula_broker.store.base.Store` that lives and dies with the object.

    ``apply`` and ``answer`` are the whole of it, without asyncio, for simulations.
    """

    def __init__(self, mailbox_limits: base.MailboxLimits | None = None) -> None:
        self._limits = mailbox_limits or base.MailboxLimits()
        self._spaces: dict[str, Space] = {}
        self._log: dict[int, Entry] = {}
        self._log_bytes = 0
        self._seq = 0
        self._epoch = 0
        self._open = False
        self._end_sessions = False

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"<MemoryStore {state}, {len(self._log)} messages, seq {self._seq}>"

    # --- the store ------------------------------------------------------------------------

    async def open(self) -> None:
        self._open = True
        # How long the agents have been away counts from the first commit, the first moment
        # that a store without a clock hears of.
        self._end_sessions = True
        for space in self._spaces.values():
            for agent in space.agents.values():
                if agent.online:
                    agent.online = False
                    agent.epoch = 0
                    agent.cut_off = True

    async def commit(self, now: int, batches: Sequence[base.Batch]) -> list[list[base.Outcome]]:
        return self.apply(now, batches)

    async def query(self, namespace: str, query: base.Query) -> Any:
        return self.answer(namespace, query)

    async def trim(self, now: int, retention: base.Retention) -> int:
        return self.reduce(now, retention)

    async def health(self) -> dict[str, Any]:
        return {
            "kind": "memory",
            "durability": "none",
            "messages": len(self._log),
            "log_bytes": self._log_bytes,
            "problem": None,
        }

    async def close(self) -> None:
        self._open = False

    def apply(self, now: int, batches: Sequence[base.Batch]) -> list[list[base.Outcome]]:
        """:meth:`commit`, at once."""
        if not self._open:
            raise base.StoreUnavailable("the store is closed")
        if self._end_sessions:
            self._end_sessions = False
            for space in self._spaces.values():
                for agent in space.agents.values():
                    if agent.cut_off:
                        agent.cut_off = False
                        agent.since = now
                # Reads outlive no restart, whoever made them.
                for box in space.mailboxes.values():
                    _end_reads(box, now)
        outcomes: list[list[base.Outcome]] = []
        for batch in batches:
            if batch.namespace not in self._spaces:
                self._spaces[batch.namespace] = Space()
            space = self._spaces[batch.namespace]
            outcomes.append([_APPLY[type(op)](self, space, now, op) for op in batch.ops])
        return outcomes

    def answer(self, namespace: str, query: base.Query) -> Any:
        """:meth:`query`, at once."""
        if not self._open:
            raise base.StoreUnavailable("the store is closed")
        return answer(self._spaces.get(namespace) or Space(), query)

    def reduce(self, now: int, retention: base.Retention) -> int:
        """:meth:`trim`, at once."""
        removed = 0
        for seq, entry in list(self._log.items()):
            if removed == TRIM_AT_ONCE:
                break
            if any(held.settled_at is None or held.is_dead for held in entry.copies.values()):
                continue
            message = entry.message
            if message.body:
                aged = message.accepted_at + retention.max_age_ms <= now
                if not aged and self._log_bytes <= retention.max_bytes:
                    break  # what follows is younger
            sent = entry.space.sent[message.sender]
            later = len(sent) - bisect_right(sent, seq)
            known = message.accepted_at + retention.dedup_ms > now and later < retention.dedup_ids
            if known and not message.body:
                continue
            removed += 1
            self._log_bytes -= len(message.body)
            if known:
                entry.shorten()
            else:
                entry.space.remove(entry)
                del self._log[seq]
        return removed

    # --- sessions and the directory -------------------------------------------------------

    def _register(self, space: Space, now: int, op: base.Register) -> base.Outcome:
        agent = space.agents.get(op.agent)
        if agent is None:
            agent = space.agents[op.agent] = Agent(
                op.agent, node=op.node, ephemeral=op.ephemeral, lease_ms=op.lease_ms, since=now
            )
        if op.capabilities is not None:
            agent.capabilities = set(op.capabilities)
            space.capabilities |= agent.capabilities
        if op.groups is not None:
            agent.groups = set(op.groups)
        epoch = 0
        if op.receive:
            self._epoch += 1
            epoch = agent.epoch = self._epoch
            agent.online = True
            agent.since = now
            agent.node = op.node
            agent.ephemeral = op.ephemeral
            agent.lease_ms = op.lease_ms
            _end_reads(space.mailbox(op.agent), now)
        capabilities = tuple(sorted(agent.capabilities))
        pools = tuple(name for name in capabilities if space.mailbox("@" + name).queue)
        return base.Registered(epoch, capabilities, tuple(sorted(agent.groups)), pools)

    def _leave(self, space: Space, now: int, op: base.Leave) -> base.Outcome:
        if fenced := _fence(space, op.agent, op.epoch):
            return fenced
        agent = space.agents.get(op.agent)
        if agent is None:
            return base.Left(None)
        box = space.mailbox(op.agent)
        for seq in dict.fromkeys(op.unread):
            held = box.unsettled(seq)
            if held and held.lease_until is None:
                held.deliveries += 1
        _end_reads(box, now)
        if agent.online:
            agent.online = False
            agent.epoch = 0
            agent.since = now
        due = [at for at in (space.orphan_at(agent), agent.ghost_at) if at is not None]
        return base.Left(min(due, default=None))

    def _update(self, space: Space, now: int, op: base.Update) -> base.Outcome:
        if fenced := _fence(space, op.agent, op.epoch):
            return fenced
        agent = space.agents.get(op.agent)
        if agent is None:
            return base.Updated(())
        if op.status is not None:
            agent.status = op.status
        if op.join is not None:
            agent.groups.add(op.join)
        if op.leave is not None:
            agent.groups.discard(op.leave)
        return base.Updated(tuple(sorted(agent.groups)))

    def _forget(self, space: Space, now: int, op: base.Forget) -> base.Outcome:
        agent = space.agents.get(op.agent)
        if fenced := _fence(space, op.agent, op.epoch):
            return fenced
        if agent is None:
            return base.Forgotten(0)
        if agent.online and op.epoch == 0:
            return base.Fenced(agent.epoch)
        waiting = len(space.mailbox(op.agent).queue)
        if not waiting:
            del space.agents[op.agent]
        return base.Forgotten(waiting)

    # --- mail comes in --------------------------------------------------------------------

    def _accept(self, space: Space, now: int, op: base.Accept) -> base.Outcome:
        if fenced := _fence(space, op.sender, op.epoch):
            return fenced
        earlier = space.ids.get((op.sender, op.id))
        if earlier is not None:
            return base.Duplicate(earlier.message.seq, earlier.message.body)
        names = _recipients(space, op)
        if names is None:
            return base.Refused("unknown_recipient")
        full = [name for name in names if self._is_full(space, name, op.sender, len(op.body))]
        if full and len(full) == len(names):
            return base.Refused("mailbox_full", tuple(full))
        if op.settles is not None:
            box = space.mailbox(op.sender)
            held = box.copies.get(op.settles)
            if held is None or held.outcome not in (None, "done"):
                return base.Refused("stale_ack")
            if held.settled_at is None:
                space.settle(held, now, "done", None)
        via = op.address.name if op.address.kind is Kind.CAPABILITY else None
        expires_at = None if op.ttl is None else now + op.ttl
        entry = self._append(space, now, op, expires_at)
        recipients = [name for name in names if name not in full]
        for name in recipients:
            space.point(entry, name, via)
        notice = None
        if full and op.full_notice:
            told = op.full_notice
            body = told.head + msgspec.json.encode(full) + told.tail
            notice = self._post(space, now, op.sender, told.id, body)
        pooled = via is not None and recipients[0].startswith("@")
        return base.Accepted(
            seq=entry.message.seq,
            accepted_at=now,
            recipients=() if pooled else tuple(recipients),
            full=tuple(full),
            pool=via if pooled else None,
            notice=notice,
        )

    def _append(self, space: Space, now: int, op: base.Accept, expires_at: int | None) -> Entry:
        self._seq += 1
        message = base.Message(
            seq=self._seq,
            id=op.id,
            sender=op.sender,
            type=op.type,
            to=str(op.address),
            priority=op.priority,
            thread=None if op.thread == op.id else op.thread,
            receipt=op.receipt,
            accepted_at=now,
            expires_at=expires_at,
            body=op.body,
        )
        return self._log_entry(space, message)

    def _post(self, space: Space, now: int, to: str, id_: str, body: bytes) -> base.Message | None:
        """Mail from the hub to ``to``; None when it is not known or has it already."""
        if to not in space.agents or (HUB, id_) in space.ids:
            return None
        self._seq += 1
        priority = limits.PRIORITY_DEFAULT
        message = base.Message(
            self._seq, id_, HUB, "ERROR", to, priority, None, False, now, None, body
        )
        space.point(self._log_entry(space, message), to, None)
        return message

    def _log_entry(self, space: Space, message: base.Message) -> Entry:
        entry = self._log[message.seq] = Entry(space, message)
        self._log_bytes += len(message.body)
        space.log(entry)
        return entry

    def _is_full(self, space: Space, name: str, sender: str, size: int) -> bool:
        box = space.mailbox(name)
        return sender != HUB and (
            box.messages + 1 > self._limits.messages or box.bytes + size > self._limits.bytes
        )

    # --- mail goes out --------------------------------------------------------------------

    def _fetch(self, space: Space, now: int, op: base.Fetch) -> base.Outcome:
        if fenced := _fence(space, op.agent, op.epoch):
            return fenced
        box = space.mailbox(op.agent)
        start = 0 if op.after is None else bisect_right(box.queue, op.after)
        copies: list[base.Copy] = []
        size = 0
        more = False
        for _, seq in box.queue[start:]:
            held = box.copies[seq]
            if held.due_at is not None and held.due_at > now:
                continue
            size += held.size
            if len(copies) == op.limit or (copies and size > op.limit_bytes):
                more = True
                break
            copies.append(held.copy())
        delays = (box.copies[seq].due_at for _, seq in box.queue)
        due_at = min((at for at in delays if at is not None and at > now), default=None)
        return base.Fetched(tuple(copies), more, due_at)

    def _delivered(self, space: Space, now: int, op: base.Delivered) -> base.Outcome:
        def note(held: Held, at: int | None) -> None:
            held.delivered_at = at

        return _mark(space, op.agent, op.epoch, op.seqs, note)

    def _read(self, space: Space, now: int, op: base.Read) -> base.Outcome:
        def take(held: Held, _: int | None) -> None:
            if held.due_at is not None and held.due_at > now:
                held.attempts -= 1  # the attempt that seemed to have ended goes on
            held.due_at = None
            held.lease_until = now + op.lease_ms
            if held.read_at is None:
                held.read_at = now

        return _mark(space, op.agent, op.epoch, [(seq, None) for seq in op.seqs], take)

    def _settle(self, space: Space, now: int, op: base.Settle) -> base.Outcome:
        def settle(held: Held, at: int | None) -> None:
            if at is not None:
                held.delivered_at = at
            space.settle(held, now, "done", None)

        pairs = zip(op.seqs, op.delivered_at, strict=True)
        return _mark(space, op.agent, op.epoch, pairs, settle)

    def _requeue(self, space: Space, now: int, op: base.Requeue) -> base.Outcome:
        if fenced := _fence(space, op.agent, op.epoch):
            return fenced
        box = space.mailbox(op.agent)
        copies: list[tuple[int, int, int]] = []
        stale: list[int] = []
        for seq in dict.fromkeys(op.seqs):
            held = box.unsettled(seq)
            if held is None:
                stale.append(seq)
            else:
                copies.append((seq, held.attempts + 1, held.end_attempt(now)))
        return base.Requeued(tuple(copies), tuple(stale))

    def _discard(self, space: Space, now: int, op: base.Discard) -> base.Outcome:
        if fenced := _fence(space, op.agent, op.epoch):
            return fenced
        held = space.mailbox(op.agent).copies.get(op.seq)
        if held is None:
            return base.Discarded(False)
        droppable = op.outcome == "dropped" and held.is_dead
        if held.settled_at is not None and not droppable:
            return base.Discarded(held.outcome == op.outcome, held.outcome)
        expires_at = held.entry.message.expires_at
        early = op.outcome == "expired" and (expires_at is None or expires_at > now)
        read = op.unread_only and held.read_at is not None
        if early or read or (op.outcome == "dropped" and not droppable):
            return base.Discarded(False, held.outcome)
        space.settle(held, now, op.outcome, op.reason)
        told = op.notice
        posted = self._post(space, now, told.to, told.id, told.body) if told else None
        return base.Discarded(True, op.outcome, posted)

    # --- pools ----------------------------------------------------------------------------

    def _assign(self, space: Space, now: int, op: base.Assign) -> base.Outcome:
        pool = space.mailbox("@" + op.capability)
        assigned: list[tuple[str, base.Copy]] = []
        more = False
        for _, seq in list(pool.queue):
            held = pool.copies[seq]
            message = held.entry.message
            taker = space.least_loaded(op.capability, message.sender)
            if taker is None or self._is_full(space, taker, message.sender, held.size):
                continue
            if len(assigned) == op.limit:
                more = True
                break
            space.move(held, taker)
            assigned.append((taker, held.copy()))
        return base.Assigned(tuple(assigned), more)

    def _unassign(self, space: Space, now: int, op: base.Unassign) -> base.Outcome:
        agent = space.agents.get(op.agent)
        if agent is None or agent.online:
            return base.Unassigned(())
        box = space.mailbox(op.agent)
        pools: set[str] = set()
        for _, seq in list(box.queue):
            held = box.copies[seq]
            if held.via is None:
                continue
            if held.lease_until is not None:
                held.end_attempt(now)
            pools.add(held.via)
            space.move(held, "@" + held.via)
        return base.Unassigned(tuple(sorted(pools)))

    # --- time and operators ---------------------------------------------------------------

    def _sweep(self, space: Space, now: int, op: base.Sweep) -> base.Outcome:
        ripe = bisect_right(space.expiring, now, key=lambda item: item[0])
        expired = space.expiring[:ripe]
        next_at = [at for at, _, _ in space.expiring[ripe : ripe + 1]]
        orphans: list[str] = []
        ghosts: list[str] = []
        for name, agent in sorted(space.agents.items()):
            for at, names in ((space.orphan_at(agent), orphans), (agent.ghost_at, ghosts)):
                if at is not None and at <= now:
                    names.append(name)
                elif at is not None:
                    next_at.append(at)
        if max(len(expired), len(orphans), len(ghosts)) > op.limit:
            next_at.append(now)
        return base.Swept(
            expired=tuple(
                (name, space.mailboxes[name].copies[seq].copy())
                for _, seq, name in expired[: op.limit]
            ),
            orphans=tuple(orphans[: op.limit]),
            ghosts=tuple(ghosts[: op.limit]),
            next_at=min(next_at, default=None),
        )

    def _retry(self, space: Space, now: int, op: base.Retry) -> base.Outcome:
        pool = op.agent.startswith("@") and op.agent[1:] in space.capabilities
        known = pool or op.agent in space.agents
        held = space.mailbox(op.agent).copies.get(op.seq)
        if not known or held is None or not held.is_dead:
            return base.Retried(None)
        space.reopen(held)
        return base.Retried(held.copy())


TRIM_AT_ONCE = 5_000
"""Messages that one call of ``trim`` removes at most."""


def _fence(space: Space, name: str, epoch: int) -> base.Fenced | None:
    if epoch == 0:
        return None
    agent = space.agents.get(name)
    current = agent.epoch if agent else 0
    return None if epoch == current else base.Fenced(current)


def _end_reads(box: Mailbox, now: int) -> None:
    for _, seq in box.queue:
        held = box.copies[seq]
        if held.lease_until is not None:
            held.end_attempt(now)


def _recipients(space: Space, op: base.Accept) -> list[str] | None:
    """The mailboxes ``op`` is for, by name; None when nobody is known by that address."""
    kind, name = op.address
    if kind is Kind.AGENT:
        return [name] if name in space.agents else None
    if kind is Kind.CAPABILITY:
        taker = space.least_loaded(name, op.sender)
        if taker is None and name in space.capabilities:
            taker = "@" + name
        return None if taker is None else [taker]
    others = sorted((a for a in space.agents.values() if a.name != op.sender), key=Agent.key)
    if kind is Kind.BROADCAST:
        return [agent.name for agent in others if not agent.ephemeral]
    return [agent.name for agent in others if name in agent.groups] or None


def _mark(
    space: Space,
    agent: str,
    epoch: int,
    seqs: Iterable[tuple[int, int | None]],
    change: Callable[[Held, int | None], None],
) -> base.Outcome:
    """Do ``change`` to each copy of ``agent`` that is not settled."""
    if fenced := _fence(space, agent, epoch):
        return fenced
    box = space.mailbox(agent)
    good: list[int] = []
    stale: list[int] = []
    for seq, value in seqs:
        held = box.copies.get(seq)
        if held is None:
            stale.append(seq)
            continue
        good.append(seq)
        if held.settled_at is None:
            change(held, value)
    return base.Marked(tuple(good), tuple(stale))


_APPLY: dict[type, Callable[[MemoryStore, Space, int, Any], base.Outcome]] = {
    base.Register: MemoryStore._register,
    base.Leave: MemoryStore._leave,
    base.Update: MemoryStore._update,
    base.Forget: MemoryStore._forget,
    base.Accept: MemoryStore._accept,
    base.Fetch: MemoryStore._fetch,
    base.Delivered: MemoryStore._delivered,
    base.Read: MemoryStore._read,
    base.Settle: MemoryStore._settle,
    base.Requeue: MemoryStore._requeue,
    base.Discard: MemoryStore._discard,
    base.Assign: MemoryStore._assign,
    base.Unassign: MemoryStore._unassign,
    base.Sweep: MemoryStore._sweep,
    base.Retry: MemoryStore._retry,
}
