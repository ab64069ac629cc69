"""The sockets that one port listens on: bound, accepted from, rested, closed.

They know no more of a connection than where it comes from.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from trishula_broker.net.peers import named
from trishula_broker.net.ports import Log

BACKLOG: Final = 2048
"""Connections the kernel keeps for us while we are busy or have no descriptors left."""
ACCEPTS_A_TURN: Final = 64
"""Connections taken at once before others get their turn."""
PAUSE_S: Final = 0.5
"""How long accepting rests when descriptors are used up."""
RESERVED_DESCRIPTORS: Final = 64
"""Descriptors no client gets: the store, the audit and the logs open files too."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class PortInUse(Exception):
    """Somebody else listens at ``host`` and ``port``."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.host = host
        self.port = port

    def __str__(self) -> str:
        return f"{self.host}:{self.port} is in use"


class Sockets:
    """Listens on every address of a host, and rests while there are no descriptors left.

    Args:
        arrived: is given each connection, with its peer as ``host:port``.
        count: how many connections are open.
        descriptors: file descriptors this process may have open; None is no limit.
        log: where it says that it rests, and that it goes on.
    """

    def __init__(
        self,
        arrived: Callable[[socket.socket, str], None],
        count: Callable[[], int],
        descriptors: int | None,
        log: Log,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = arrived
        self._count = count
        self._room = None if descriptors is None else descriptors - RESERVED_DESCRIPTORS
        self._log = log
        self._sockets: list[socket.socket] = []
        self._exhausted = False
        self._resume: asyncio.TimerHandle | None = None

    async def bind(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen on every address of ``host``; the port, also when 0 was asked for. A port that is
        ``shared`` may be listened on by other processes that share it.

        Raises:
            PortInUse: somebody else has it.
            OSError: ``host`` is not an address of this machine, or the port is not allowed.
        """
        addresses = await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        failure: OSError | None = None
        for family, _, _, _, address in dict.fromkeys(addresses):
            try:
                port = self._bind(family, (address[0], port, *address[2:]), shared)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    self._close_sockets()
                    raise PortInUse(host, port) from error
                failure = error  # localhost is often ::1 too, where there may be no IPv6
        if not self._sockets:
            raise failure or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
        self._listen()
        return port

    def _bind(self, family: int, address: tuple[Any, ...], shared: bool) -> int:
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            # A hub that is started again must not wait for its old connections' TIME_WAIT.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        self._sockets.append(listening)
        port: int = listening.getsockname()[1]
        return port

    def _listen(self) -> None:
        self._resume = None
        for listening in self._sockets:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _rest(self, why: str) -> None:
        """Leave new connections in the kernel's queue for a while."""
        if not self._exhausted:
            self._exhausted = True
            self._log.error("accepting_paused", why=why, connections=self._count())
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())
        self._resume = self._loop.call_later(PAUSE_S, self._listen)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._room is not None and self._count() >= self._room:
                self._rest("file descriptors used up")
                return
            try:
                taken, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._rest(f"file descriptors used up: {error.strerror}")
                return
            if self._exhausted:
                self._exhausted = False
                self._log.info("accepting_resumed", connections=self._count())
            self._arrived(taken, named(address))

    def close(self) -> None:
        """Accept nothing more."""
        if self._resume is not None:
            self._resume.cancel()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())
            listening.close()
        self._sockets = []
