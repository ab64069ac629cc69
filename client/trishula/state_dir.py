"""What survives the agent's own crash: unaccepted messages and finished ids, in one SQLite file.

One writer thread; all that is given to it while it commits is its next commit. The directory is
locked by one process, and belongs to one agent.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import queue
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from trishula.errors import StateDirError, StateDirHeld
from trishula.inbox import FINISHED, Key

TRIM_EVERY: Final = 1_000
"""Commits between two removals of the oldest finished ids."""

_SCHEMA: Final = Path(__file__).with_name("state_dir.sql")
_log = logging.getLogger("trishula")

Statement = tuple[str, tuple[object, ...]]


def keep(id: str, envelope: bytes) -> Statement:
    """A message is to be sent."""
    return "INSERT OR REPLACE INTO outbox (id, envelope) VALUES (?, ?)", (id, envelope)


def drop(id: str) -> Statement:
    """It was accepted, or refused for good."""
    return "DELETE FROM outbox WHERE id = ?", (id,)


def finish(key: Key, reason: str | None) -> Statement:
    """The application has finished with a message."""
    return "INSERT OR REPLACE INTO finished (sender, id, reason) VALUES (?, ?, ?)", (*key, reason)


def unfinish(key: Key) -> Statement:
    """The answer that finished it was refused."""
    return "DELETE FROM finished WHERE sender = ? AND id = ?", key


class _Work(NamedTuple):
    statements: list[Statement]
    outcome: asyncio.Future[None] | None
    then: Callable[[], None] | None


class StateDir:
    """Open with :meth:`open`; every method is for the event loop's thread."""

    def __init__(self, path: Path, agent: str) -> None:
        self.path = path
        self.agent = agent
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = -1
        self._thread: threading.Thread | None = None
        self._db: sqlite3.Connection | None = None
        self.unaccepted: list[tuple[str, bytes]] = []
        """What an earlier life left: ids and envelopes, in order."""
        self.finished: list[tuple[Key, str | None]] = []
        """The ids it had finished, oldest first."""

    def __repr__(self) -> str:
        return f"<StateDir {self.path} of {self.agent}>"

    async def open(self) -> None:
        """Lock it, make its schema and read what is there.

        Raises:
            StateDirHeld: another process has it.
            StateDirError: it cannot be used, or is another agent's.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread cannot be stopped: let go of the directory once it has it.
            opening.add_done_callback(self._abandon)
            await asyncio.wait([opening])
            raise
        except (OSError, sqlite3.Error) as error:
            self._release()
            raise StateDirError(str(self.path), str(error)) from error
        except BaseException:
            self._release()
            raise
        self._thread = threading.Thread(target=self._write, name="trishula-state", daemon=True)
        self._thread.start()

    def submit(
        self, statements: Iterable[Statement], then: Callable[[], None] | None = None
    ) -> asyncio.Future[None]:
        """Write ``statements`` together; ``then`` is called in the loop once they are durable.

        ``then`` runs even when nobody waits for the future any more. The future fails with
        :class:`StateDirError`.
        """
        outcome: asyncio.Future[None] = self._loop.create_future()
        self._work.put(_Work(list(statements), outcome, then))
        return outcome

    def note(self, statements: Iterable[Statement]) -> None:
        """Write ``statements`` some time; that they may be lost in a crash does no harm."""
        self._work.put(_Work(list(statements), None, None))

    async def close(self) -> None:
        """Write what was given, then let go of the directory; also when this is cancelled."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._work.put(None)
            await asyncio.to_thread(thread.join)

    # inside

    def _abandon(self, opening: asyncio.Future[None]) -> None:
        if not opening.cancelled():
            opening.exception()
        self._release()

    def _open(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        db = self._db = sqlite3.connect(
            self.path / "agent.sqlite", isolation_level=None, check_same_thread=False
        )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA.read_text())
        db.execute("INSERT OR IGNORE INTO about VALUES ('agent', ?)", (self.agent,))
        (owner,) = db.execute("SELECT value FROM about WHERE name = 'agent'").fetchone()
        if owner != self.agent:
            raise StateDirError(str(self.path), f"belongs to agent {owner!r}, not {self.agent!r}")
        self.unaccepted = db.execute("SELECT id, envelope FROM outbox ORDER BY number").fetchall()
        rows = db.execute(
            "SELECT sender, id, reason FROM finished ORDER BY number DESC LIMIT ?", (FINISHED,)
        ).fetchall()
        self.finished = [((sender, id), reason) for sender, id, reason in reversed(rows)]

    def _take_lock(self) -> None:
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 500).decode(errors="replace").strip()
            os.close(lock)
            raise StateDirHeld(str(self.path), holder or "another process") from None
        os.ftruncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._lock = lock

    def _release(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write(self) -> None:
        """The writer thread."""
        try:
            self._commit_until_closed()
        finally:
            self._release()

    def _commit_until_closed(self) -> None:
        commits = 0
        more = True
        while more:
            batch: list[_Work] = []
            work = self._work.get()
            while True:
                if work is None:
                    more = False
                    break
                batch.append(work)
                try:
                    work = self._work.get_nowait()
                except queue.Empty:
                    break
            if batch:
                commits += 1
                error = self._commit(batch, trim=commits % TRIM_EVERY == 0)
                try:
                    self._loop.call_soon_threadsafe(_tell, batch, error)
                except RuntimeError:
                    return  # the loop is closed: nobody is left to be told

    def _commit(self, batch: list[_Work], *, trim: bool) -> StateDirError | None:
        db = self._db
        assert db is not None
        try:
            db.execute("BEGIN IMMEDIATE")
            for work in batch:
                for sql, values in work.statements:
                    db.execute(sql, values)
            if trim:
                db.execute(
                    "DELETE FROM finished WHERE number <= (SELECT max(number) FROM finished) - ?",
                    (FINISHED,),
                )
            db.execute("COMMIT")
        except sqlite3.Error as error:
            _log.error("state_dir %s: %s", self.path, error)
            if db.in_transaction:
                db.execute("ROLLBACK")
            return StateDirError(str(self.path), str(error))
        return None


def _tell(batch: list[_Work], error: StateDirError | None) -> None:
    for work in batch:
        if error is None and work.then is not None:
            work.then()
        if work.outcome is not None and not work.outcome.done():
            if error is None:
                work.outcome.set_result(None)
            else:
                work.outcome.set_exception(error)
