"""One namespace of the store in memory: agents, mailboxes, and the log they point into.

Keeps its indexes in step with each change and decides nothing; the rules are in the modules
beside this one, a function an operation.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

import msgspec

from trishula_broker.store.base import Copy, FolderOrder, Message, Revocation, Settled
from trishula_broker.store.memory.node import Lead, Node
from trishula_broker.store.memory.trail import SpaceTrail
from trishula_protocol import limits
from trishula_protocol.address import HUB


@dataclass(slots=True, eq=False)
class Agent:
    """What the directory knows of an agent. ``cut_off``: its session ended unseen.
    ``resuming``: it is paused and about to go on, once it has what waits for its capabilities."""

    name: str
    node: str
    ephemeral: bool
    lease_ms: int
    since: int
    capabilities: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    epoch: int = 0
    online: bool = False
    cut_off: bool = False
    status: str | None = None
    paused: str | None = None
    resuming: bool = False
    folder: bool = False

    @property
    def ghost_at(self) -> int | None:
        """When it is to be forgotten, for an ephemeral agent that is away."""
        return self.since + limits.EPHEMERAL_MS if self.ephemeral and not self.online else None

    def key(self) -> str:
        """What agents are sorted by."""
        return self.name


@dataclass(slots=True, eq=False)
class Entry:
    """A message in the log, with its copies by mailbox."""

    space: Space
    message: Message
    copies: dict[str, CopyRecord] = field(default_factory=dict)

    def shorten(self) -> None:
        """Forget the body."""
        self.message = msgspec.structs.replace(self.message, body=b"")


@dataclass(slots=True, eq=False)
class CopyRecord:
    """A copy: one mailbox's pointer to an entry, and its fate."""

    entry: Entry
    mailbox: str
    via: str | None
    size: int
    expires_at: int | None
    attempts: int = 0
    deliveries: int = 0
    due_at: int | None = None
    delivered_at: int | None = None
    read_at: int | None = None
    lease_until: int | None = None
    settled_at: int | None = None
    outcome: Settled | None = None
    reason: str | None = None

    @property
    def is_dead(self) -> bool:
        """Whether it is a dead letter."""
        return self.outcome in ("dead", "rejected")

    @property
    def place(self) -> tuple[int, int]:
        """Where it is in its mailbox."""
        return (self.entry.message.priority, self.entry.message.seq)

    def end_attempt(self, now: int) -> int:
        """An attempt ended without settling; when the next may begin."""
        self.attempts += 1
        self.lease_until = None
        self.due_at = now + limits.retry_delay_ms(self.attempts)
        return self.due_at

    def copy(self) -> Copy:
        """As a mailbox hands it out."""
        message = self.entry.message
        if message.expires_at != self.expires_at:
            message = msgspec.structs.replace(message, expires_at=self.expires_at)
        return Copy(message, self.attempts, self.deliveries, self.via)


@dataclass(slots=True, eq=False)
class Mailbox:
    """All copies of an agent or pool by seq; ``queue`` has the unsettled ones in order.

    ``messages`` and ``bytes`` are what counts against the limits, ``size`` is of everything.
    """

    copies: dict[int, CopyRecord] = field(default_factory=dict)
    queue: list[tuple[int, int]] = field(default_factory=list)
    messages: int = 0
    bytes: int = 0
    size: int = 0

    def unsettled(self, seq: int) -> CopyRecord | None:
        """The copy ``seq`` when it is there and not settled."""
        record = self.copies.get(seq)
        return record if record and record.settled_at is None else None

    def enqueue(self, record: CopyRecord) -> None:
        """``record`` waits here."""
        self.copies[record.entry.message.seq] = record
        insort(self.queue, record.place)
        self._count(record, 1)

    def dequeue(self, record: CopyRecord) -> None:
        """``record`` does not wait any more."""
        del self.queue[bisect_left(self.queue, record.place)]
        self._count(record, -1)

    def _count(self, record: CopyRecord, by: int) -> None:
        self.size += by * record.size
        if record.entry.message.sender != HUB:
            self.messages += by
            self.bytes += by * record.size


@dataclass(slots=True, eq=False)
class Space:
    """A namespace. ``capabilities`` are all that were ever offered."""

    agents: dict[str, Agent] = field(default_factory=dict)
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    capabilities: set[str] = field(default_factory=set)
    ids: dict[tuple[str, str], Entry] = field(default_factory=dict)
    by_id: dict[str, list[Entry]] = field(default_factory=dict)
    threads: dict[str, list[Entry]] = field(default_factory=dict)
    sent: dict[str, list[int]] = field(default_factory=dict)
    entries: dict[int, Entry] = field(default_factory=dict)
    expiring: list[tuple[int, int, str]] = field(default_factory=list)
    """``(expires_at, seq, mailbox)`` of unsettled copies."""
    nodes: dict[str, Node] = field(default_factory=dict)
    revoked: dict[tuple[str, str], Revocation] = field(default_factory=dict)
    """By (token, agent)."""
    lead: Lead = field(default_factory=Lead)
    folder_order: FolderOrder | None = None
    trail: SpaceTrail = field(default_factory=SpaceTrail)

    def mailbox(self, name: str) -> Mailbox:
        """The mailbox of an agent, or of a pool when it is ``@capability``."""
        box = self.mailboxes.get(name)
        if box is None:
            box = self.mailboxes[name] = Mailbox()
        return box

    def log(self, entry: Entry) -> None:
        """Put ``entry`` at the end of the log."""
        message = entry.message
        self.entries[message.seq] = entry
        self.ids[message.sender, message.id] = entry
        self.by_id.setdefault(message.id, []).append(entry)
        self.threads.setdefault(message.thread or message.id, []).append(entry)
        self.sent.setdefault(message.sender, []).append(message.seq)

    def remove(self, entry: Entry) -> None:
        """Take ``entry`` and its settled copies out of the log."""
        message = entry.message
        del self.entries[message.seq]
        del self.ids[message.sender, message.id]
        self.by_id[message.id].remove(entry)
        self.threads[message.thread or message.id].remove(entry)
        self.sent[message.sender].remove(message.seq)
        for name in entry.copies:
            del self.mailboxes[name].copies[message.seq]

    def point(self, entry: Entry, name: str, via: str | None) -> None:
        """Point the mailbox ``name`` to ``entry``."""
        record = CopyRecord(entry, name, via, len(entry.message.body), entry.message.expires_at)
        self._hold(record, name)

    def move(self, record: CopyRecord, name: str) -> None:
        """Hand an unsettled copy to another mailbox, with its history."""
        self._release(record)
        seq = record.entry.message.seq
        del self.mailboxes[record.mailbox].copies[seq]
        del record.entry.copies[record.mailbox]
        self._hold(record, name)

    def settle(self, record: CopyRecord, now: int, outcome: Settled, reason: str | None) -> None:
        """End a copy; a dead letter may be ended once more."""
        if record.settled_at is None:
            self._release(record)
        record.settled_at = now
        record.outcome = outcome
        record.reason = reason
        record.due_at = record.lease_until = None

    def reopen(self, record: CopyRecord) -> None:
        """A settled copy waits again, as if it were new."""
        record.settled_at = record.outcome = record.reason = None
        record.attempts = record.deliveries = 0
        record.delivered_at = record.read_at = record.expires_at = None
        self._hold(record, record.mailbox)

    def _hold(self, record: CopyRecord, name: str) -> None:
        record.mailbox = name
        record.entry.copies[name] = record
        self.mailbox(name).enqueue(record)
        if record.expires_at is not None:
            insort(self.expiring, (record.expires_at, record.entry.message.seq, name))

    def _release(self, record: CopyRecord) -> None:
        self.mailboxes[record.mailbox].dequeue(record)
        if record.expires_at is not None:
            item = (record.expires_at, record.entry.message.seq, record.mailbox)
            del self.expiring[bisect_left(self.expiring, item)]

    def least_loaded(self, capability: str, sender: str) -> str | None:
        """The online agent offering ``capability`` that has the least to do, not ``sender``."""
        offers = (
            (len(self.mailbox(agent.name).queue), agent.name)
            for agent in self.agents.values()
            if agent.online
            and agent.paused is None
            and capability in agent.capabilities
            and agent.name != sender
        )
        return min(offers, default=(0, None))[1]

    def node_of(self, agent: str) -> str | None:
        """Where ``agent`` is online; None when it is not."""
        known = self.agents.get(agent)
        return known.node if known is not None and known.online else None

    def waits_for(self, taker: str, pool: str) -> bool:
        """Whether ``pool`` holds something that ``taker`` may have: what it did not send."""
        box = self.mailbox(pool)
        return any(box.copies[seq].entry.message.sender != taker for _, seq in box.queue)

    def orphan_at(self, agent: Agent) -> int | None:
        """When the ``@`` mail of an agent that is away goes back to its pools."""
        box = self.mailbox(agent.name)
        if agent.online or all(box.copies[seq].via is None for _, seq in box.queue):
            return None
        return agent.since + agent.lease_ms
