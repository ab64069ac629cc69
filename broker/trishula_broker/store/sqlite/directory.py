"""The directory as the writer of a SQLite store has it in memory.

Who there is and what each mailbox holds, counted when the store is opened and kept in step with
every operation. One process writes the database, so this is never out of date; when a
transaction fails it is thrown away and read again.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from trishula_broker.store.ordered import FolderOrder
from trishula_broker.store.sqlite.mailbox import Mailbox
from trishula_broker.store.sqlite.statements import statements
from trishula_broker.store.sqlite.trail import SpaceTrail, read_trails

SQL: Final = statements("commit")
RECENT: Final = 50_000
"""Copies kept in memory at most, some 12 MiB, for the settling that mostly follows at once."""

_order: Final = msgspec.json.Decoder(FolderOrder).decode


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
        self.trail = SpaceTrail(id_)
        self.folder_order: FolderOrder | None = None
        self._members: dict[str | None, list[Mailbox]] = {}

    def least_loaded(self, capability: str, sender: str) -> Mailbox | None:
        """The online agent offering ``capability`` that has the least to do, not ``sender``."""
        best = None
        for box in self.offering.get(capability, ()):
            if (
                box.online
                and box.paused is None
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
        self.seq: int = max(SQL["last_seq"].one(db) or 0, counters["seq"])
        self.log_bytes: int = counters["counted_bytes"] + SQL["bytes_after"].one(
            db, counters["counted_seq"]
        )
        self.newest_id: str = SQL["newest_id"].one(db) or ""
        self._read(db)

    def _read(self, db: sqlite3.Connection) -> None:
        spaces: dict[int, Space] = {}
        for id_, name, order in SQL["spaces"].execute(db):
            space = spaces[id_] = self.spaces[name] = Space(id_, name)
            space.folder_order = None if order is None else _order(order)
        for row in SQL["agents"].execute(db):
            id_, space_id, name, known, capabilities, groups, epoch, online = row[:8]
            box = self.by_id[id_] = Mailbox(id_, name, self.newest_id)
            box.known = bool(known)
            box.groups = msgspec.json.decode(groups, type=tuple[str, ...])
            box.epoch = epoch
            box.online = bool(online)
            box.ephemeral = bool(row[8])
            box.node, box.session, box.since, box.lease_ms, box.status, box.paused = row[9:15]
            box.folder = bool(row[15])
            space = spaces[space_id]
            space.mailboxes[name] = box
            space.changed(box, msgspec.json.decode(capabilities, type=tuple[str, ...]))
        for agent, priority, hub, via, count, size in SQL["mailboxes"].execute(db):
            self.by_id[agent].count(count, size, priority, bool(hub), bool(via))
        for agent, seq in SQL["leased_copies"].execute(db):
            self.by_id[agent].leased.add(seq)
        read_trails(db, spaces)

    def remove(self, id_: int) -> tuple[str, str]:
        """Take away a mailbox nothing points to; its namespace and name."""
        box = self.by_id.pop(id_)
        for space in self.spaces.values():
            if space.mailboxes.get(box.name) is box:
                del space.mailboxes[box.name]
                return space.name, box.name
        raise LookupError(box)
