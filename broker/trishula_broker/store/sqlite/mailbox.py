"""A mailbox as the writer of a SQLite store has it in memory, and the copies in it."""

from __future__ import annotations

import msgspec

from trishula_broker.store.base import AgentRecord, Settled
from trishula_protocol import limits


class CopyRecord(msgspec.Struct, array_like=True, gc=False):
    """A copy: a row of ``copies``."""

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
    new: bool = False
    """Not a column: whether it is in no table yet."""

    @property
    def is_dead(self) -> bool:
        """Whether it is a dead letter."""
        return self.outcome == "dead" or self.outcome == "rejected"


class Mailbox:
    """A mailbox and whoever it belongs to: an agent, a pool, or a name that is not known.

    ``unsettled`` and ``size`` are of all its mail; ``messages`` and ``bytes`` leave out the
    hub's own mail, and are what limits apply to. ``via`` counts ``@`` mail; ``leased`` has the
    seqs that were read. An id above ``newest_id`` was never used by it. ``recent`` has some of
    its unsettled copies, by seq, as they are in the database or will be once the transaction is
    written. ``resuming``: it is paused and about to go on, once it has what waits for its
    capabilities.
    """

    __slots__ = (
        "alone",
        "by_priority",
        "bytes",
        "capabilities",
        "cut_off",
        "ephemeral",
        "epoch",
        "folder",
        "groups",
        "id",
        "known",
        "lease_ms",
        "leased",
        "messages",
        "name",
        "newest_id",
        "node",
        "online",
        "paused",
        "recent",
        "resuming",
        "session",
        "since",
        "size",
        "status",
        "unsettled",
        "via",
    )

    def __init__(self, id_: int, name: str, newest_id: str) -> None:
        self.id = id_
        self.name = name
        self.alone = (name,)
        """Its name as the recipients of a message."""
        self.newest_id = newest_id
        self.known = False
        self.capabilities: tuple[str, ...] = ()
        self.groups: tuple[str, ...] = ()
        self.epoch = 0
        self.online = False
        self.ephemeral = False
        self.node = ""
        self.session = ""
        self.since = 0
        self.lease_ms = 0
        self.status: str | None = None
        self.paused: str | None = None
        self.resuming = False
        self.folder = False
        self.cut_off = False
        self.unsettled = 0
        self.size = 0
        self.messages = 0
        self.bytes = 0
        self.via = 0
        self.by_priority = [0, 0, 0, 0, 0]
        self.leased: set[int] = set()
        self.recent: dict[int, CopyRecord] = {}

    def __repr__(self) -> str:
        state = "online" if self.online else "offline"
        return f"<Mailbox {self.name} {state}, epoch {self.epoch}, {self.unsettled} unsettled>"

    @property
    def orphan_at(self) -> int | None:
        """When its ``@`` mail goes back to the pools, while it is away."""
        return self.since + self.lease_ms if self.via and self.known and not self.online else None

    @property
    def ghost_at(self) -> int | None:
        """When it is to be forgotten, for an ephemeral agent that is away."""
        away = self.known and self.ephemeral and not self.online
        return self.since + limits.EPHEMERAL_MS if away else None

    def count(self, n: int, size: int, priority: int, hub: bool, via: bool) -> None:
        """``n`` copies of ``size`` bytes in all came (or, below zero, ended)."""
        self.unsettled += n
        self.size += size
        self.by_priority[priority - 1] += n
        if not hub:
            self.messages += n
            self.bytes += size
        if via:
            self.via += n


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """What questions are told of a mailbox: as it was after the last commit."""

    record: AgentRecord | None
    count: int
    size: int
    by_priority: tuple[int, ...]


def snapshot(box: Mailbox) -> Snapshot:
    """The present state of ``box`` for questions."""
    record = None
    if box.known:
        record = AgentRecord(
            box.name,
            box.capabilities,
            box.groups,
            box.online,
            box.ephemeral,
            box.status,
            box.node,
            box.since,
            box.epoch,
            box.unsettled,
            box.paused,
            box.folder,
        )
    return Snapshot(record, box.unsettled, box.size, tuple(box.by_priority))
