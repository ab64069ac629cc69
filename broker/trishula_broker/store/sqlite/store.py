"""The store of one host, in a SQLite database: the default.

One thread writes, one reads, one folds. A commit is one synced record of the journal, or one synced
transaction of the database when its tables are to change anyway; pending.py says how the one
follows the other. What needs no look into the tables is applied in the event loop's thread, before
the writer makes it durable; when it is little, and the disk quick (pace.py), that thread does so
itself. What the operations mean is in the modules beside this one, one noun each; the SQL is in
``sql/``. Knows nothing of connections, frames or the hub.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from trishula_broker.store import base
from trishula_broker.store.sqlite import mail, sessions, trimming
from trishula_broker.store.sqlite.answers import answer
from trishula_broker.store.sqlite.directory import SQL, Directory, Space
from trishula_broker.store.sqlite.journal import Journal, make
from trishula_broker.store.sqlite.lock import DirectoryLock
from trishula_broker.store.sqlite.mailbox import Snapshot, snapshot
from trishula_broker.store.sqlite.nodes import Nodes
from trishula_broker.store.sqlite.operations import Operations
from trishula_broker.store.sqlite.pending import Pending
from trishula_broker.store.sqlite.schema import (
    FILE,
    JOURNAL,
    Connect,
    explain,
    make_directory,
    open_reader,
    open_writer,
)
from trishula_broker.store.sqlite.statements import roll_back
from trishula_broker.store.sqlite.trail import drop_silent
from trishula_broker.store.sqlite.work import Work
from trishula_broker.store.sqlite.worker import Worker
from trishula_broker.store.trail import dropped_warning
from trishula_protocol.address import Kind

_T = TypeVar("_T")

FEW: Final = 16
"""Operations of a commit at most, or messages that they settle, that the event loop's thread writes
down itself: their record is written in the time that any takes."""
FEW_BYTES: Final = 16 << 10
"""And bytes of their bodies."""
TRIM_AT_ONCE: Final = 5_000
"""Messages that one call of ``trim`` removes at most."""
TRIM_TRAILS: Final = 20
"""Pieces of the trails that one call removes at most."""
TRIM_LOOKS: Final = 4
"""How often one call looks further when what it sees must stay."""


class State(NamedTuple):
    """What a transaction works on."""

    db: sqlite3.Connection
    directory: Directory
    pending: Pending


class SqliteStore:
    """A :class:`~trishula_broker.store.base.Store` in ``directory``.

    Args:
        directory: where the files are; made when it is not there.
        mailbox_limits: what an unsettled mailbox may hold.
        node: this hub's name, told to whoever finds the store held.
        connect: ``sqlite3.connect``, or what tests put in its place.
    """

    def __init__(
        self,
        directory: Path,
        mailbox_limits: base.MailboxLimits | None = None,
        *,
        node: str = "",
        connect: Connect = sqlite3.connect,
    ) -> None:
        self._path = directory / FILE
        self._limits = mailbox_limits or base.MailboxLimits()
        self._node = node
        self._lock = DirectoryLock(directory, node)
        self._connect = connect
        self._workers: tuple[Worker, Worker] | None = None
        self._db: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._directory: Directory | None = None
        self._journal: Journal | None = None
        self._pending: Pending | None = None
        self._folder: ThreadPoolExecutor | None = None
        self._published: dict[str, dict[str, Snapshot]] = {}
        self._nodes = Nodes()
        self._operations = Operations(self._nodes)
        self._sessions_ended = False
        self._trim_after = 0
        self._problem: str | None = None

    def __repr__(self) -> str:
        state = "closed" if self._workers is None else self._problem or "open"
        return f"<SqliteStore {self._path}: {state}>"

    # --- opening and closing ----------------------------------------------------------------

    def on_hints(self, tell: Callable[[str, Sequence[base.Hint]], None]) -> None:
        pass  # one node: there is nobody to hear from

    async def open(self) -> None:
        if self._workers is not None:
            return
        workers = Worker("store-writer"), Worker("store-reader")
        try:
            await workers[0].run(self._open)
        except BaseException:
            await workers[0].run(self._close)
            for worker in workers:
                worker.stop()
            raise
        self._workers = workers

    def _open(self) -> None:
        make_directory(self._path.parent)
        self._lock.acquire()
        try:
            self._db = open_writer(self._path, self._connect)
            self._reader = open_reader(self._path, self._connect)
            path = self._path.with_name(JOURNAL)
            owner = SQL["journal_of"].one(self._db)
            needed = owner != 0
            if not needed:
                owner = secrets.randbits(62) | 1
                make(path, owner)
            self._journal = Journal(path, owner)
            self._folder = ThreadPoolExecutor(1, "store-folder")
            # The sessions of whoever had the store last are over. How long they have been
            # counts from the first commit, which brings the time.
            self._sessions_ended = False
            self._read(self._db)
            if not needed:
                SQL["set_counter"].execute(self._db, "journal_of", owner)
        except OSError as error:
            raise base.StoreError(f"cannot open {self._path}: {error}") from error
        except sqlite3.Error as error:
            raise base.StoreError(explain(error, self._path)) from error
        self._problem = None

    async def close(self) -> None:
        if self._workers is None:
            return
        (writer, reader), self._workers = self._workers, None
        reader.stop()
        try:
            await writer.run(self._close)
        finally:
            writer.stop()

    def _close(self) -> None:
        try:
            if self._db is not None and self._directory is not None:
                self._transaction(self._count)
        except base.StoreUnavailable:
            pass  # it will be counted when the store is opened
        finally:
            if self._folder is not None:
                self._folder.shutdown()
            for db in (self._reader, self._db):
                if db is not None:
                    db.close()
            if self._journal is not None:
                self._journal.close()
            self._reader = self._db = self._directory = self._journal = self._pending = None
            self._folder = None
            self._published = {}
            self._lock.release()

    def _count(self, now: State) -> None:
        now.pending.write()
        trimming.count(now.db, now.directory)
        SQL["set_counter"].execute(now.db, "journal_of", 0)

    def _read(self, db: sqlite3.Connection) -> tuple[Directory, Pending]:
        assert self._journal is not None
        assert self._folder is not None
        self._pending = Pending(db, self._journal, self._node, self._folder)
        self._pending.recover()
        directory = Directory(db)
        published: dict[str, dict[str, Snapshot]] = {}
        for space in directory.spaces.values():
            for box in space.mailboxes.values():
                if box.online and not self._sessions_ended:
                    box.online = False
                    box.epoch = 0
                    box.cut_off = True
            published[space.name] = {name: snapshot(box) for name, box in space.mailboxes.items()}
        self._published = published
        self._directory = directory
        return directory, self._pending

    # --- commits ----------------------------------------------------------------------------

    def commit(
        self, now: int, batches: Sequence[base.Batch]
    ) -> asyncio.Future[list[list[base.Outcome]]]:
        writer, _ = self._use()
        # Two threads that run Python hinder each other. What is at hand is applied in this one,
        # and while the other writes it down there is nothing to hinder.
        if writer.idle and (outcomes := self._apply_at_hand(now, batches)) is not None:
            pending = self._pending
            if pending is not None and pending.is_simple and _are_few(batches):
                return self._write_here(outcomes)
            return writer.run(partial(self._transaction, lambda _: outcomes))
        return writer.run(partial(self._commit, now, batches))

    def _write_here(
        self, outcomes: list[list[base.Outcome]]
    ) -> asyncio.Future[list[list[base.Outcome]]]:
        """Make what was applied durable in this thread: over when this returns, or failed."""
        assert self._pending is not None
        assert self._directory is not None
        try:
            self._pending.end()
        except (sqlite3.Error, OSError) as error:
            # What was applied is undone by the writer: it may have to wait for what is folded.
            return self._use()[0].run(partial(self._undo, error))
        self._ended(self._directory, self._pending)
        done: asyncio.Future[list[list[base.Outcome]]] = asyncio.get_running_loop().create_future()
        done.set_result(outcomes)
        return done

    def _undo(self, error: Exception) -> list[list[base.Outcome]]:
        assert self._db is not None
        with self._whole(self._db):
            raise error

    def _apply_at_hand(
        self, now: int, batches: Sequence[base.Batch]
    ) -> list[list[base.Outcome]] | None:
        """The outcomes, when the tables need not be asked; not durable yet."""
        db, directory, pending = self._db, self._directory, self._pending
        if db is None or directory is None or pending is None or not self._sessions_ended:
            return None
        work = Work(db, directory, pending, now, self._limits)
        spaces: list[Space] = []
        for batch in batches:
            space = directory.spaces.get(batch.namespace)
            if space is None or not mail.is_at_hand(work, space, batch.ops):
                return None
            spaces.append(space)
        with self._whole(db):
            return [
                self._operations.run(work, space, batch.ops)
                for space, batch in zip(spaces, batches, strict=True)
            ]

    def _commit(self, now: int, batches: Sequence[base.Batch]) -> list[list[base.Outcome]]:
        outcomes = self._transaction(partial(self._apply, now, batches))
        self._sessions_ended = True
        return outcomes

    def _apply(
        self,
        now: int,
        batches: Sequence[base.Batch],
        state: State,
    ) -> list[list[base.Outcome]]:
        work = Work(*state, now, self._limits)
        epoch = state.directory.epoch
        if not self._sessions_ended:
            sessions.end_sessions(work)
        outcomes = [
            self._operations.run_prepared(work, work.space(batch.namespace), batch.ops)
            for batch in batches
        ]
        if state.directory.epoch != epoch:
            SQL["set_counter"].execute(state.db, "epoch", state.directory.epoch)
        return outcomes

    def _transaction(self, change: Callable[[State], _T]) -> _T:
        """Do all of ``change`` durably, or nothing."""
        db = self._db
        assert db is not None
        with self._whole(db):
            directory, pending = self._directory, self._pending
            if directory is None or pending is None:
                roll_back(db)
                if db.in_transaction:  # half of something: nothing may be read from it or added
                    raise sqlite3.OperationalError("a transaction that failed does not end")
                directory, pending = self._read(db)
            result = change(State(db, directory, pending))
            pending.end()
        self._ended(directory, pending)
        return result

    def _ended(self, directory: Directory, pending: Pending) -> None:
        """What was done is durable: others may know."""
        self._problem = None
        self._publish(directory)
        for trail, entry, size in pending.entries:
            trail.publish(entry, size)

    @contextmanager
    def _whole(self, db: sqlite3.Connection) -> Iterator[None]:
        """Undo what is done here when not all of it can be."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._abandon(db)
            self._problem = explain(error, self._path)
            raise base.StoreUnavailable(self._problem) from error
        except BaseException:
            self._abandon(db)
            raise

    def _abandon(self, db: sqlite3.Connection) -> None:
        if self._pending is not None:
            self._pending.give_up()
        roll_back(db)
        # They tell of what was undone; the journal has what was not.
        self._directory = self._pending = None

    def _publish(self, directory: Directory) -> None:
        for space in directory.spaces.values():
            if space.touched:
                boxes = self._published.setdefault(space.name, {})
                for box in space.touched:
                    boxes[box.name] = snapshot(box)
                space.touched.clear()

    # --- questions and upkeep ---------------------------------------------------------------

    async def query(self, namespace: str, query: base.Query) -> Any:
        if isinstance(query, base.Nodes):
            agents = await self.query(namespace, base.Agents())
            return self._nodes.records(namespace, agents)
        if isinstance(query, base.Trail):
            space = self._directory and self._directory.spaces.get(namespace)
            if space and (found := space.trail.recent(query)) is not None:
                return found
        if not isinstance(query, base.Agents):
            await self._folded()
        return await self._by_reader(partial(self._answer, namespace, query))

    # The store may be closed between two steps, so each looks who there is to do it.

    def _by_writer(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        return self._use()[0].run(call)

    def _by_reader(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        return self._use()[1].run(call)

    async def _folded(self) -> None:
        """Have all that was committed in the tables. After a failure only the journal knows, and
        while the writer is at work nothing may be pending that is not in the tables yet."""
        writer, _ = self._use()
        if not writer.idle or self._pending or self._directory is None:
            await writer.run(self._fold)

    def _fold(self) -> None:
        self._transaction(lambda state: state.pending.fold())

    def _answer(self, namespace: str, query: base.Query) -> Any:
        db = self._reader
        assert db is not None
        try:
            return answer(db, self._published, namespace, query)
        except sqlite3.Error as error:
            roll_back(db)
            raise base.StoreUnavailable(explain(error, self._path)) from error

    async def trim(self, now: int, retention: base.Retention) -> int:
        removed = 0
        for _ in range(TRIM_TRAILS):
            if not await self._by_writer(partial(self._trim_trails, now, retention)):
                break
        await self._folded()
        for _ in range(TRIM_LOOKS):
            found = await self._by_reader(partial(self._look, now, retention))
            doomed = found.doomed[: TRIM_AT_ONCE - removed]
            for start in range(0, len(doomed), trimming.PIECE):
                piece = doomed[start : start + trimming.PIECE]
                await self._by_writer(partial(self._remove, piece))
                removed += len(piece)
            if len(doomed) < len(found.doomed):
                break
            self._trim_after = found.after
            if not found.after:
                await self._by_writer(self._remove_agents)
                break
        return removed

    def _trim_trails(self, now: int, retention: base.Retention) -> bool:
        def change(state: State) -> bool:
            work = Work(*state, now, self._limits)
            more = False
            for space in state.directory.spaces.values():
                more |= drop_silent(work, space.trail, retention)
            return more

        return self._transaction(change)

    def _look(self, now: int, retention: base.Retention) -> trimming.Found:
        db, directory = self._reader, self._directory
        if db is None or directory is None:
            raise base.StoreUnavailable(self._problem or "the store is closed")
        try:
            return trimming.look(
                db, now, retention, self._trim_after, directory.seq, directory.log_bytes
            )
        except sqlite3.Error as error:
            raise base.StoreUnavailable(explain(error, self._path)) from error

    def _remove(self, doomed: list[tuple[int, bool]]) -> None:
        def change(state: State) -> None:
            state.pending.fold()
            state.pending.write()
            state.directory.log_bytes = trimming.remove(state.db, state.directory, doomed)
            state.pending.forget()

        self._transaction(change)

    def _remove_agents(self) -> None:
        def change(state: State) -> list[tuple[str, str]]:
            state.pending.fold()
            state.pending.write()
            return [state.directory.remove(id_) for id_ in trimming.remove_agents(state.db)]

        for namespace, name in self._transaction(change):
            self._published[namespace].pop(name, None)

    async def health(self) -> dict[str, Any]:
        directory = self._directory
        return {
            "kind": "sqlite",
            "durability": "full",  # synchronous=FULL: each commit is synced
            "path": str(self._path),
            "bytes": sum(
                _size(path)
                for path in (self._path, f"{self._path}-wal", self._path.with_name(JOURNAL))
            ),
            "log_bytes": directory.log_bytes if directory else None,
            "problem": self._problem if self._workers else "the store is closed",
            "warnings": [
                dropped_warning(space.name, archiver.node)
                for space in (list(directory.spaces.values()) if directory else ())
                for archiver in list(space.trail.archivers.values())
                if archiver.dropped
            ],
        }

    def _use(self) -> tuple[Worker, Worker]:
        if self._workers is None:
            raise base.StoreUnavailable("the store is closed")
        return self._workers


def _are_few(batches: Sequence[base.Batch]) -> bool:
    """Whether the record of ``batches`` is a short one."""
    number = size = 0
    for batch in batches:
        number += len(batch.ops)
        if number > FEW:
            return False
        for op in batch.ops:
            if isinstance(op, base.Accept):
                if op.address.kind is not Kind.AGENT:
                    return False  # there may be many copies
                size += len(op.body)
            elif isinstance(op, (base.Settle, base.Read, base.Delivered)):
                number += len(op.seqs)
    return number <= FEW and size <= FEW_BYTES


def _size(path: str | Path) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0
