"""Starts the workers of one port, starts again what ended, and passes signals on.

It serves nobody: no loop, no threads, no store, so that forking it is safe at any time. What a
worker does is a function it is given.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trishula_broker.config import Config
from trishula_broker.notify import ServiceManager
from trishula_broker.workers.board import Board
from trishula_broker.workers.watchdog import Watchdog
from trishula_broker.workers.worker import Worker

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

RunWorker = Callable[[int, Worker], int]
"""Serves as worker ``number`` until a signal ends it; its exit code."""

AGAIN_S: Final = 0.5
"""From a worker's end to its next start; twice as long for each life in a row that was short."""
AGAIN_MOST_S: Final = 30.0
SHORT_LIFE_S: Final = 10.0
"""Who lived no longer than this will probably end again."""
STOPPING: Final = frozenset({signal.SIGTERM, signal.SIGINT})
HEARD: Final = STOPPING | {signal.SIGCHLD, signal.SIGHUP}


class _Slot:
    """A worker's place, whoever has it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.ready = False
        self.reload = False
        """SIGHUP came before it was ready."""
        self.since = 0.0
        self.short = 0
        """How many short lives there were in a row."""
        self.due: float | None = None
        """When it is started, while it is not there."""


class Supervisor:
    """The parent of the workers.

    Args:
        config: of all of them.
        run: what a worker does, in its own process.
        serving: called once, when all of them serve.
        log: where it says who ended.
        manager: hears that all of them live; who hangs is killed, and so started again.
    """

    def __init__(
        self,
        config: Config,
        run: RunWorker,
        serving: Callable[[], None],
        log: FilteringBoundLogger,
        manager: ServiceManager,
    ) -> None:
        self._node = config.node
        self._manager = manager
        self._tls = bool(config.tls.cert)
        self._run = run
        self._serving: Callable[[], None] | None = serving
        self._log = log
        self._slots = [_Slot(number) for number in range(1, config.workers + 1)]
        self._board = Board(config.node, os.getpid(), config.workers)
        self._watchdog = Watchdog(self._board, manager)
        self._stopping = False
        self._code = 0
        # The first end of each is the parent's own.
        self._alive_end, self._alive = os.pipe()[::-1]
        self._ready, self._ready_end = os.pipe()
        self._woken, self._waking = socket.socketpair()

    def supervise(self) -> int:
        """Until all have ended because this process was asked to; the exit code."""
        for end in (self._woken, self._waking):
            end.setblocking(False)
        os.set_blocking(self._ready, False)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        for number in HEARD:
            # Else it ends this process, as any; a service manager means "read your files again".
            if number is not signal.SIGHUP or self._tls or self._manager.on:
                signal.signal(number, _heard)
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, self._signals)
            selector.register(self._ready, selectors.EVENT_READ, self._readies)
            self._slots[0].due = 0.0  # what is in the way of one is in the way of all: said once
            while not self._over():
                self._look()
                for key, _ in selector.select(self._wait(self._start())):
                    key.data()
        signal.set_wakeup_fd(-1)
        return self._code

    def _over(self) -> bool:
        return self._stopping and not any(slot.pid for slot in self._slots)

    def _wait(self, start: float | None) -> float | None:
        look = self._watchdog.wait(time.monotonic())
        return min((s for s in (start, look) if s is not None), default=None)

    def _look(self) -> None:
        """Kill who hangs: its agents go on with another, and it is started again."""
        serving = [slot.number for slot in self._slots if slot.pid and slot.ready]
        for number in self._watchdog.look(time.monotonic(), serving):
            pid = self._slots[number - 1].pid
            self._log.error("worker_hangs", node=f"{self._node}-{number}", pid=pid)
            os.kill(pid, signal.SIGKILL)

    # --- starting ---

    def _start(self) -> float | None:
        """Start who is due; seconds until the next one is, None for nobody."""
        now = time.monotonic()
        waits: list[float] = []
        for slot in self._slots:
            if slot.due is None or self._stopping:
                continue
            if slot.due <= now:
                self._fork(slot)
            else:
                waits.append(slot.due - now)
        return min(waits, default=None)

    def _fork(self, slot: _Slot) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # What is meant for the one must not be heard by the other in between.
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        pid = os.fork()
        if not pid:
            self._be_worker(slot.number)
        slot.pid, slot.due, slot.ready, slot.reload = pid, None, False, False
        slot.since = time.monotonic()
        self._board.started(slot.number, pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    def _be_worker(self, number: int) -> None:
        """The new process; does not return."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C is for the supervisor, which passes it on
            signal.set_wakeup_fd(-1)
            for each in HEARD:
                signal.signal(each, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
            for file in (self._alive_end, self._ready):
                os.close(file)
            self._woken.close()
            self._waking.close()
            code = self._run(number, self._worker(number))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _worker(self, number: int) -> Worker:
        return Worker(number, self._board, self._alive, self._ready_end, self._watchdog.worker_s)

    # --- what it hears ---

    def _readies(self) -> None:
        for line in os.read(self._ready, 4096).splitlines():
            number, pid = map(int, line.split())
            slot = self._slots[number - 1]
            if slot.pid != pid:
                continue  # it has ended since
            slot.ready = True
            if slot.reload:
                os.kill(pid, signal.SIGHUP)
        if self._serving is None:
            return
        for slot in self._slots:
            if not slot.pid and slot.due is None:
                slot.due = 0.0  # the first one serves: so can the others
        if all(slot.ready for slot in self._slots):
            serving, self._serving = self._serving, None
            serving()

    def _signals(self) -> None:
        numbers = self._woken.recv(4096)
        if signal.SIGHUP in numbers:
            self._reload()
        for number in numbers:
            if number in STOPPING:
                self._stop()
        if signal.SIGCHLD in numbers:
            self._reap()

    def _reload(self) -> None:
        if not self._tls:
            self._log.info("nothing_to_reload")
            return
        for slot in self._slots:
            slot.reload = not slot.ready
            if slot.pid and slot.ready:
                os.kill(slot.pid, signal.SIGHUP)

    def _stop(self) -> None:
        """All are to end; when they were told already, at once."""
        if not self._stopping:
            self._manager.stopping("draining")
        self._stopping = True
        for slot in self._slots:
            if slot.pid:
                os.kill(slot.pid, signal.SIGTERM)

    def _reap(self) -> None:
        for slot in self._slots:
            if not slot.pid:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid:
                self._ended(slot, os.waitstatus_to_exitcode(status))

    def _ended(self, slot: _Slot, code: int) -> None:
        pid, slot.pid = slot.pid, 0
        self._board.ended(slot.number)
        node = f"{self._node}-{slot.number}"
        if self._stopping:
            # Before it serves a signal just ends it, which is what was asked for.
            if code not in (0, -signal.SIGTERM):
                self._code = self._code or (code if code > 0 else 128 - code)
            return
        if self._serving is not None:
            self._log.error("worker_cannot_start", node=node, pid=pid, why=_why(code))
            self._code = code if code > 0 else 128 - code if code else 1
            self._stop()
            return
        now = time.monotonic()
        slot.short = slot.short + 1 if now - slot.since < SHORT_LIFE_S else 0
        wait = min(AGAIN_S * 2 ** max(slot.short - 1, 0), AGAIN_MOST_S)
        slot.due = now + wait
        self._log.error("worker_ended", node=node, pid=pid, why=_why(code), again_in_s=wait)


def _heard(*_: object) -> None:
    """The wakeup pipe has it."""


def _why(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
