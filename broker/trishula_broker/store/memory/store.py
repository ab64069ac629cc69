"""The store as a plain model in memory: what the others must agree with.

:class:`MemoryStore` is one node's; :meth:`MemoryStore.node` makes more of them over the same books.
For simulation and unit tests. No threads, no clock, no randomness; all state is in dicts and
sorted lists, and what :mod:`trishula_broker.store.base` says can be read here in a few lines
each. Durable only as far as the object lives: ``open`` again is what a crash looks like.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from trishula_broker.store import base
from trishula_broker.store.memory import duties, mail, nodes, pausing, sessions
from trishula_broker.store.memory.answers import answer
from trishula_broker.store.memory.books import Books, end_reads
from trishula_broker.store.memory.hints import HintLink, caused
from trishula_broker.store.memory.space import Space
from trishula_broker.store.recorded import recorded
from trishula_broker.store.trail import dropped_warning

TRIM_AT_ONCE: Final = 5_000
"""Messages that one call of ``trim`` removes at most."""


@dataclass(slots=True, eq=False)
class Shared:
    """What the nodes of a store have in common; ``serving`` are those that have it open."""

    books: Books
    serving: dict[str, MemoryStore] = field(default_factory=dict)
    end_sessions: bool = False
    """The next commit is the first after a time when nobody served."""


class MemoryStore:
    """A :class:`~trishula_broker.store.base.Store` that lives and dies with the object.

    ``apply``, ``answer`` and ``trim_at_once`` are the whole of it, without asyncio, for
    simulations.
    """

    def __init__(self, mailbox_limits: base.MailboxLimits | None = None) -> None:
        self._share(Shared(Books(mailbox_limits or base.MailboxLimits())), "")

    def _share(self, shared: Shared, name: str) -> None:
        self._shared = shared
        self._books = shared.books
        self._name = name
        self.link = HintLink()
        """How hints come here."""

    def node(self, name: str) -> MemoryStore:
        """The same store as the node ``name`` has it, not opened yet."""
        node = MemoryStore.__new__(MemoryStore)
        node._share(self._shared, name)
        return node

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        who = f" of {self._name}" if self._name else ""
        return f"<MemoryStore{who} {state}, {len(self._books.log)} messages, seq {self._books.seq}>"

    # --- the store ------------------------------------------------------------------------

    @property
    def _open(self) -> bool:
        return self._shared.serving.get(self._name) is self

    def on_hints(self, tell: Callable[[str, Sequence[base.Hint]], None]) -> None:
        self.link.tell = tell

    async def open(self) -> None:
        shared = self._shared
        alone = not shared.serving.keys() - {self._name}
        shared.serving[self._name] = self
        self.link.cut()
        if not alone:
            return  # who was online here is offline with the first beat
        # How long the agents have been away counts from the first commit, the first moment
        # that a store without a clock hears of.
        shared.end_sessions = True
        for space in self._books.spaces.values():
            for agent in space.agents.values():
                agent.resuming = False  # who was about to go on with that is gone
                if agent.online:
                    agent.online = False
                    agent.epoch = 0
                    agent.cut_off = True

    async def commit(self, now: int, batches: Sequence[base.Batch]) -> list[list[base.Outcome]]:
        before = self.link.last
        outcomes = self.apply(now, batches)
        self.link.arrive(before)
        return outcomes

    async def query(self, namespace: str, query: base.Query) -> Any:
        return self.answer(namespace, query)

    async def trim(self, now: int, retention: base.Retention) -> int:
        return self.trim_at_once(now, retention)

    async def health(self) -> dict[str, Any]:
        return {
            "kind": "memory",
            "durability": "none",
            "messages": len(self._books.log),
            "log_bytes": self._books.log_bytes,
            "problem": None,
            "warnings": [
                dropped_warning(name, archiver.node)
                for name, space in self._books.spaces.items()
                for archiver in space.trail.archivers.values()
                if archiver.dropped
            ],
        }

    async def close(self) -> None:
        if self._open:
            del self._shared.serving[self._name]

    def apply(self, now: int, batches: Sequence[base.Batch]) -> list[list[base.Outcome]]:
        """:meth:`commit`, at once."""
        if not self._open:
            raise base.StoreUnavailable("the store is closed")
        if self._shared.end_sessions:
            self._shared.end_sessions = False
            for space in self._books.spaces.values():
                for agent in space.agents.values():
                    if agent.cut_off:
                        agent.cut_off = False
                        agent.since = now
                # Reads outlive no restart, whoever made them.
                for box in space.mailboxes.values():
                    end_reads(box, now)
        outcomes: list[list[base.Outcome]] = []
        for batch in batches:
            if batch.namespace not in self._books.spaces:
                self._books.spaces[batch.namespace] = Space()
            space = self._books.spaces[batch.namespace]
            found = [self._do(batch.namespace, space, now, op) for op in batch.ops]
            space.trail.add(now, self._name, recorded(batch.ops, found))
            outcomes.append(found)
        return outcomes

    def _do(self, namespace: str, space: Space, now: int, op: base.Operation) -> base.Outcome:
        before = space.node_of(op.agent) if isinstance(op, base.Register) else None
        outcome = _APPLY[type(op)](self._books, space, now, op)
        if self._name and isinstance(outcome, base.Beating):
            # Who shares a store takes the time from it; an only node has brought it here.
            outcome = msgspec.structs.replace(outcome, at=now)
        for name, hint in caused(space, op, outcome, before):
            node = self._shared.serving.get(name)
            if node is not None and name != self._name:
                node.link.put(namespace, hint)
        return outcome

    def answer(self, namespace: str, query: base.Query) -> Any:
        """:meth:`query`, at once."""
        if not self._open:
            raise base.StoreUnavailable("the store is closed")
        return answer(self._books.spaces.get(namespace) or Space(), query)

    def trim_at_once(self, now: int, retention: base.Retention) -> int:
        """:meth:`trim`, at once."""
        for space in self._books.spaces.values():
            space.trail.drop_silent(now, retention)
        removed = 0
        for seq, entry in list(self._books.log.items()):
            if removed == TRIM_AT_ONCE:
                break
            if any(record.settled_at is None or record.is_dead for record in entry.copies.values()):
                continue
            message = entry.message
            if message.body:
                aged = message.accepted_at + retention.max_age_ms <= now
                if not aged and self._books.log_bytes <= retention.max_bytes:
                    break  # what follows is younger
            sent = entry.space.sent[message.sender]
            later = len(sent) - bisect_right(sent, seq)
            known = message.accepted_at + retention.dedup_ms > now and later < retention.dedup_ids
            if known and not message.body:
                continue
            removed += 1
            self._books.log_bytes -= len(message.body)
            if known:
                entry.shorten()
            else:
                entry.space.remove(entry)
                del self._books.log[seq]
        return removed


_APPLY: Final[dict[type, Callable[[Books, Space, int, Any], base.Outcome]]] = {
    base.Register: sessions.register,
    base.Leave: sessions.leave,
    base.Update: sessions.update,
    base.Forget: sessions.forget,
    base.Pause: pausing.pause,
    base.OrderFolder: sessions.order_folder,
    base.Accept: mail.accept,
    base.Fetch: mail.fetch,
    base.Delivered: mail.delivered,
    base.Read: mail.read,
    base.Settle: mail.settle,
    base.Requeue: mail.requeue,
    base.Discard: mail.discard,
    base.Assign: duties.assign,
    base.Unassign: duties.unassign,
    base.Sweep: duties.sweep,
    base.Retry: duties.retry,
    base.Beat: nodes.beat,
    base.EndNode: nodes.end_node,
    base.Tell: nodes.tell,
    base.Introduce: sessions.introduce,
    base.Revoke: sessions.revoke,
    base.Archive: duties.archive,
}
