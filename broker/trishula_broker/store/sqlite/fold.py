"""Changes on their way from the journal into the tables: one transaction, in whose thread ever.

What it is given nobody changes any more.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from trishula_broker.store.sqlite import pages
from trishula_broker.store.sqlite.fans import Fan
from trishula_broker.store.sqlite.mailbox import CopyRecord
from trishula_broker.store.sqlite.statements import roll_back, statements

SQL: Final = statements("commit")

Said = tuple[str, Sequence[Any]]
"""One of :data:`SAYING`, and what it is told."""
REST_S: Final = 0.0001
"""Long enough for another thread to begin, which would wait for several times as long until Python
takes turns by itself."""
LEISURE: Final = 3_000
"""Messages at most, of those that come in a second, for which there is time to rest: it costs as
much again as folding them does."""
WORTHWHILE: Final = 16
"""Copies that must be alike for a statement of their own: fewer are quicker one by one."""


class Fold:
    """Changes as :class:`~trishula_broker.store.sqlite.pending.Pending` has them.

    ``number`` is that of the last record of the journal that they are in; ``carried`` is what the
    tables are to say of messages that are not among them, None when they say it already.
    """

    def __init__(
        self,
        log: list[pages.Row],
        fans: dict[int, Fan],
        new: list[CopyRecord],
        done: list[CopyRecord],
        changed: list[CopyRecord],
        moved: list[int],
        trail: list[Any],
        trails: dict[int, int],
        said: list[Said],
        carried: bytes | None,
        number: int,
    ) -> None:
        self._log = log
        self._fans = fans
        self._new = new
        self._done = done
        self._changed = changed
        self._moved = moved
        self._trail = trail
        self._trails = trails
        self._said = said
        self._carried = carried
        self._number = number

    def commit(self, db: sqlite3.Connection) -> dict[int, int]:
        """Do it, as a transaction; as :meth:`run`. While there is little to do others go first.

        Raises:
            sqlite3.Error: nothing of it was done.
        """
        try:
            db.execute("BEGIN IMMEDIATE")
            removed = self.run(db, _rest if len(self._log) <= LEISURE else None)
            db.execute("COMMIT")
        except BaseException:
            roll_back(db)
            raise
        return removed

    def run(self, db: sqlite3.Connection, rest: Callable[[], None] | None = None) -> dict[int, int]:
        """Do it, inside a transaction; what was removed of trails, in bytes by namespace.

        ``rest`` is called once in a while.
        """
        if self._log:
            _insert(db, pages.write(db, self._log, self._new, self._fans, rest))
        if self._done:
            _settle(db, self._done)
        if self._changed:
            _update(db, self._changed)
        if self._moved:
            SQL["move_copies"].run(db, self._moved)
        if self._trail:
            SQL["insert_trail"].run(db, self._trail)
        for space, last in self._trails.items():
            SQL["set_trail"].execute(db, space, last)
        removed: dict[int, int] = {}
        for what, values in self._said:
            SAYING[what](db, removed, *values)
        if self._carried is not None:
            SQL["set_carried"].execute(db, self._carried)
        SQL["set_counter"].execute(db, "journal", self._number)
        return removed


def _rest() -> None:
    time.sleep(REST_S)


def _set_archiver(db: sqlite3.Connection, _: dict[int, int], *values: Any) -> None:
    SQL["set_archiver"].execute(db, *values)


def _remove_archiver(db: sqlite3.Connection, _: dict[int, int], space: int, node: str) -> None:
    SQL["remove_archiver"].execute(db, space, node)


def _set_digests(db: sqlite3.Connection, _: dict[int, int], *values: Any) -> None:
    SQL["set_digests"].run(db, values)


def _keep_digests(
    db: sqlite3.Connection, _: dict[int, int], space: int, node: str, keep: int
) -> None:
    SQL["remove_digests"].execute(db, space=space, node=node, keep=keep)


def _remove_trail(
    db: sqlite3.Connection, removed: dict[int, int], space: int, first: int, last: int
) -> None:
    size = SQL["trail_bytes"].one(db, first, last)
    removed[space] = removed.get(space, 0) + size
    SQL["remove_trail"].execute(db, first, last)


SAYING: Final[dict[str, Callable[..., None]]] = {
    "set_archiver": _set_archiver,
    "remove_archiver": _remove_archiver,
    "set_digests": _set_digests,
    "keep_digests": _keep_digests,
    "remove_trail": _remove_trail,
}
"""What can be said of trails and who archives them; journals have these names."""


def _insert(db: sqlite3.Connection, new: Iterable[CopyRecord]) -> None:
    waiting: list[Any] = []
    others: list[Any] = []
    for record in new:
        if (
            record.outcome is None
            and record.delivered_at is None
            and record.due_at is None
            and not (record.attempts or record.deliveries or record.read_at)
        ):
            waiting += (
                record.agent, record.seq, record.priority, record.size, record.hub, record.via,
                record.expires_at,
            )  # fmt: skip
        else:
            others += (
                record.agent, record.seq, record.priority, record.size, record.hub, record.via,
                record.expires_at, record.attempts, record.deliveries, record.due_at,
                record.delivered_at, record.read_at, record.lease_until, record.settled_at,
                record.outcome, record.reason,
            )  # fmt: skip
    SQL["insert_copies"].run(db, waiting)
    SQL["insert_changed"].run(db, others)


def _settle(db: sqlite3.Connection, done: list[CopyRecord]) -> None:
    groups: dict[tuple[int, int | None, int | None], list[int]] = {}
    for record in done:
        groups.setdefault((record.agent, record.delivered_at, record.settled_at), []).append(
            record.seq
        )
    if len(groups) * WORTHWHILE <= len(done):
        for (agent, delivered_at, settled_at), seqs in groups.items():
            SQL["settle_alike"].run(db, seqs, settled_at, delivered_at, agent)
    else:
        values: list[Any] = []
        for record in done:
            values += (record.agent, record.seq, record.settled_at, record.delivered_at)
        SQL["settle_copies"].run(db, values)


def _update(db: sqlite3.Connection, changed: Iterable[CopyRecord]) -> None:
    values: list[Any] = []
    for record in changed:
        values += (
            record.agent, record.seq, record.attempts, record.deliveries, record.due_at,
            record.delivered_at, record.read_at, record.lease_until, record.settled_at,
            record.outcome, record.reason,
        )  # fmt: skip
    SQL["update_copies"].run(db, values)
