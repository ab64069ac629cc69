"""What a service manager hears of this process: systemd's notification protocol, sd_notify(3).

Off unless there is a NOTIFY_SOCKET, and nothing of the hub goes by it: a manager that does not
listen costs a line in the log. A beat is sent by a timer of the event loop, so that whoever waits
for beats learns when the loop hangs, whatever other threads do.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Final, Self

from trishula_broker.net.ports import Log

BEATS: Final = 4
"""In the time that the manager allows for one: some may come late without a restart."""
WAIT_S: Final = 1.0
"""How long a manager that is busy may take to hear what is said only once."""


class ServiceManager:
    """Whoever started this process and wants to know how it is; nobody, without an address.

    Args:
        log: hears once when it cannot be reached.
        address: its datagram socket: a path, or ``@name`` of the abstract kind.
        watchdog_s: it restarts a process that is silent for so long; 0: it does not.
    """

    def __init__(self, log: Log, address: str = "", watchdog_s: float = 0.0) -> None:
        self.watchdog_s = watchdog_s if address else 0.0
        self._log = log
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unheard = False
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int, log: Log) -> Self:
        """The one that ``environ`` tells of; ``pid`` is this process."""
        address = environ.get("NOTIFY_SOCKET", "")
        if address and address[0] not in "/@":
            log.warning("not_notified", why=f"NOTIFY_SOCKET is neither a path nor @name: {address}")
            address = ""
        within = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog = int(within) / 1e6 if meant and within.isascii() and within.isdigit() else 0.0
        return cls(log, address, watchdog)

    def __repr__(self) -> str:
        return f"<ServiceManager {'on' if self.on else 'off'} watchdog_s={self.watchdog_s:g}>"

    @property
    def on(self) -> bool:
        """Whether there is one."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """It serves now; ``status`` is a line for people."""
        self._say(f"READY=1\nSTATUS={status}", WAIT_S)

    def stopping(self, status: str) -> None:
        """It ends now, whoever asked for that."""
        self._say(f"STOPPING=1\nSTATUS={status}", WAIT_S)

    def alive(self) -> None:
        """One beat; one that cannot be sent at once is left out."""
        self._say("WATCHDOG=1", 0.0)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop beat from now on, as long as it turns."""
        if self.watchdog_s:
            self.alive()
            self._timer = loop.call_later(self.watchdog_s / BEATS, self.watch, loop)

    def close(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.watchdog_s = 0.0

    def _say(self, text: str, wait_s: float) -> None:
        if self._socket is None:
            return
        try:
            self._socket.settimeout(wait_s)
            self._socket.sendto(text.encode(), self._address)
            self._unheard = False
        except OSError as error:
            if not self._unheard:
                self._log.warning("not_notified", why=error.strerror or str(error))
            self._unheard = True
