"""The directory as the writer of a SQLite store has it in memory.

Who there is and what each mailbox holds, counted when the store is opened and kept in step with
every operation. One process writes the database, so this is never out of date; when a
transaction fails it is thrown away and read again.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from trishula_broker.store.base import AgentRecord, Settled
from trishula_broker.store.sqlite.statements import statements
from trishula_protocol import limits

SQL: Final = statements("commit")
RECENT: Final = 50_000
"""Copies kept in memory at most, some 12 MiB, for the settling that mostly follows at once."""


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
    written.
    """

    __slots__ = (
        "alone",
        "by_priority",
        "bytes",
        "capabilities",
        "cut_off",
        "ephemeral",
        "epoch",
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
        "recent",
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


class Snapshot(msgspec.Struct, frozen=True):
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
        )
    return Snapshot(record, box.unsettled, box.size, tuple(box.by_priority))


class Space:
    """A namespace: its mailboxes by name. A pool is there once its capability was offered.

    ``touched``: what questions are to be told of anew.
    """

    def __init__(self, id_: int, name: str) -> None:
        self.id = id_
        self.name = name
        self.mailboxes: dict[str, Mailbox] = {}
        self.offering: dict[str, set[Mailbox]] = {}
        self.touched: set[Mailbox] = set()
        self._members: dict[str | None, list[Mailbox]] = {}

    def least_loaded(self, capability: str, sender: str) -> Mailbox | None:
        """The online agent offering ``capability`` that has the least to do, not ``sender``."""
        best = None
        for box in self.offering.get(capability, ()):
            if (
                box.online
                and box.name != sender
                and (best is None or (box.unsettled, box.name) < (best.unsettled, best.name))
            ):
                best = box
        return best

    def members(self, group: str | None) -> list[Mailbox]:
        """The members of a group, or (None) who gets broadcasts, by name."""
        found = self._members.get(group)
        if found is None:
            found = self._members[group] = sorted(
                (
                    box
                    for box in self.mailboxes.values()
                    if box.known and (not box.ephemeral if group is None else group in box.groups)
                ),
                key=_by_name,
            )
        return found

    def changed(self, box: Mailbox, capabilities: tuple[str, ...]) -> None:
        """``box`` is now known or not, in other groups, or offers ``capabilities``."""
        for name in box.capabilities:
            self.offering[name].discard(box)
        box.capabilities = capabilities
        if box.known:
            for name in capabilities:
                self.offering.setdefault(name, set()).add(box)
        self._members.clear()


def _by_name(box: Mailbox) -> str:
    return box.name


class Directory:
    """All namespaces, and the store's counters."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.spaces: dict[str, Space] = {}
        self.by_id: dict[int, Mailbox] = {}
        self.recent = 0
        counters: dict[str, int] = dict(SQL["counters"].execute(db).fetchall())
        self.epoch = counters["epoch"]
        self.seq: int = max(SQL["last_seq"].one(db), counters["seq"])
        self.log_bytes: int = counters["counted_bytes"] + SQL["bytes_after"].one(
            db, counters["counted_seq"]
        )
        self.newest_id: str = SQL["newest_id"].one(db) or ""
        self._read(db)

    def _read(self, db: sqlite3.Connection) -> None:
        spaces: dict[int, Space] = {}
        for id_, name in SQL["spaces"].execute(db):
            spaces[id_] = self.spaces[name] = Space(id_, name)
        for row in SQL["agents"].execute(db):
            id_, space_id, name, known, capabilities, groups, epoch, online = row[:8]
            box = self.by_id[id_] = Mailbox(id_, name, self.newest_id)
            box.known = bool(known)
            box.groups = msgspec.json.decode(groups, type=tuple[str, ...])
            box.epoch = epoch
            box.online = bool(online)
            box.ephemeral = bool(row[8])
            box.node, box.session, box.since, box.lease_ms, box.status = row[9:]
            space = spaces[space_id]
            space.mailboxes[name] = box
            space.changed(box, msgspec.json.decode(capabilities, type=tuple[str, ...]))
        for agent, priority, hub, via, count, size in SQL["mailboxes"].execute(db):
            self.by_id[agent].count(count, size, priority, bool(hub), bool(via))
        for agent, seq in SQL["leased_copies"].execute(db):
            self.by_id[agent].leased.add(seq)

    def remove(self, id_: int) -> tuple[str, str]:
        """Take away a mailbox nothing points to; its namespace and name."""
        box = self.by_id.pop(id_)
        for space in self.spaces.values():
            if space.mailboxes.get(box.name) is box:
                del space.mailboxes[box.name]
                return space.name, box.name
        raise LookupError(box)
