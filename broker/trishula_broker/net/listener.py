"""One port: WebSocket upgrades at ``/ws`` go to the hub, everything else to an ASGI server.

A connection is a :class:`.visitor.Visitor` until its first request head was read; then the
transport is handed over with the bytes read so far, and this module is done with it: an upgrade
must be a connection's first request, as clients make it. It knows no frames and no routes.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from email.utils import formatdate
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.driver import Driver
from trishula_broker.net.handshake import Gate
from trishula_broker.net.ports import Log
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.visitor import Visitor
from trishula_broker.net.websocket import Surroundings, WebSocketConnection
from trishula_protocol.limits import WEBSOCKET_PATH

BACKLOG: Final = 2048
"""Connections the kernel keeps for us while we are busy or have no descriptors left."""
ACCEPTS_A_TURN: Final = 64
"""Connections taken at once before others get their turn."""
PAUSE_S: Final = 0.5
"""How long accepting rests when descriptors are used up."""
RESERVED_DESCRIPTORS: Final = 64
"""Descriptors no client gets: the store, the audit and the logs open files too."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
DEFAULT_NAMESPACE: Final = "default"


class PortInUse(Exception):
    """Somebody else listens at ``host`` and ``port``."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.host = host
        self.port = port

    def __str__(self) -> str:
        return f"{self.host}:{self.port} is in use"


class Listener:
    """Accepts connections and gives each to whom it belongs.

    Args:
        driver: where WebSocket connections go.
        app: the ASGI application for everything else.
        settings: the limits.
        log: where it says what people should know.
        descriptors: file descriptors this process may have open; None is no limit.
    """

    def __init__(
        self,
        driver: Driver,
        app: Any,
        settings: NetSettings,
        log: Log,
        descriptors: int | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(self._loop)
        self.settings = settings
        self.visitors: set[Visitor] = set()
        """Those whose first request is still being read."""
        self._driver = driver
        self._log = log
        self._around = Surroundings(driver, settings, self.deadlines)
        self._gate = Gate(settings, self._strangers, self._loop.time)
        self._room = None if descriptors is None else descriptors - RESERVED_DESCRIPTORS
        self._sockets: list[socket.socket] = []
        self._exhausted = False
        self._taking: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._dater: asyncio.TimerHandle | None = None
        self._http = ServerState()
        self._http_config = Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.http_keep_alive_s,
        )
        self._http_config.load()

    async def bind(self, host: str, port: int) -> int:
        """Listen on every address of ``host``; the port, also when 0 was asked for.

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
                port = self._bind(family, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    self._close_sockets()
                    raise PortInUse(host, port) from error
                failure = error  # localhost is often ::1 too, where there may be no IPv6
        if not self._sockets:
            raise failure or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
        self._listen()
        return port

    def _bind(self, family: int, address: tuple[Any, ...]) -> int:
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            # A hub that is started again must not wait for its old connections' TIME_WAIT.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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

    @property
    def crowded(self) -> bool:
        """Whether too many connections have not said what they want."""
        return len(self.visitors) > self.settings.unregistered

    def _strangers(self) -> int:
        """Connections of which nobody knows yet whose they are."""
        return self._driver.unregistered + len(self.visitors)

    # --- accepting ---

    def _listen(self) -> None:
        self._resume = None
        for listening in self._sockets:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _rest(self, why: str) -> None:
        """Leave new connections in the kernel's queue for a while."""
        if not self._exhausted:
            self._exhausted = True
            self._log.error("accepting_paused", why=why, connections=self.count)
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())
        self._resume = self._loop.call_later(PAUSE_S, self._listen)

    @property
    def count(self) -> int:
        """Open connections of every kind."""
        http = len(self._http.connections)
        return len(self._taking) + len(self.visitors) + self._driver.connections + http

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._room is not None and self.count >= self._room:
                self._rest("file descriptors used up")
                return
            try:
                taken, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._rest(f"file descriptors used up: {error.strerror}")
                return
            if self._exhausted:
                self._exhausted = False
                self._log.info("accepting_resumed", connections=self.count)
            task = self._loop.create_task(self._take(taken))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    async def _take(self, taken: socket.socket) -> None:
        try:
            taken.setblocking(False)
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(lambda: Visitor(self), taken)
        except OSError:  # it has gone already
            taken.close()

    # --- handing over ---

    def hand_over(self, transport: asyncio.Transport, head: bytes, data: bytes) -> None:
        """Give a connection to whom its first request is for.

        Args:
            transport: the connection.
            head: the request's head, its last empty line included.
            data: what came behind it.
        """
        if not _is_upgrade(head):
            self._to_http(transport, head + data)
            return
        upgrade = self._gate.answer(head)
        if upgrade.protocol is None:
            self._log.info("upgrade_refused", peer=peer_name(transport), status=upgrade.status)
            transport.write(upgrade.response)
            transport.close()
            return
        connection = WebSocketConnection(self._around, transport, upgrade.protocol, upgrade.codec)
        transport.set_protocol(connection)
        transport.write(upgrade.response)
        connection.start(DEFAULT_NAMESPACE, peer_name(transport), data)

    def _to_http(self, transport: asyncio.Transport, data: bytes) -> None:
        if self._dater is None:
            self._date()
        protocol = HttpToolsProtocol(
            config=self._http_config, server_state=self._http, app_state={}, _loop=self._loop
        )
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _date(self) -> None:
        """Keep the Date header right while there are HTTP connections (RFC 9110 §6.6.1)."""
        self._http.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._dater = self._loop.call_later(1, self._redate)

    def _redate(self) -> None:
        self._dater = None
        if self._http.connections:
            self._date()

    # --- the end ---

    def stop(self) -> None:
        """Accept nothing more. Connections that are served go on."""
        if self._resume is not None:
            self._resume.cancel()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())
            listening.close()
        self._sockets = []

    async def close(self) -> None:
        """Stop, and cut what is left of connections that are not the driver's."""
        self.stop()
        if self._dater is not None:
            self._dater.cancel()
        for visitor in list(self.visitors):
            visitor.expired()
        for connection in list(self._http.connections):
            connection.shutdown()
        tasks = [*self._taking, *self._http.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for the connection_lost of those that were closed
        self.deadlines.close()


def _is_upgrade(head: bytes) -> bool:
    """Whether this is a WebSocket upgrade at the hub's path."""
    line, _, headers = head.partition(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3 or parts[1].partition(b"?")[0] != WEBSOCKET_PATH.encode():
        return False
    for header in headers.lower().split(b"\r\n"):
        name, _, value = header.partition(b":")
        if name == b"upgrade" and value.strip() == b"websocket":
            return True
    return False


def peer_name(transport: asyncio.Transport) -> str:
    """The other side as ``host:port``."""
    name = transport.get_extra_info("peername")
    if not isinstance(name, tuple):
        return "unknown"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}"
