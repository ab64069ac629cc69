"""One port: WebSocket upgrades at ``/ws`` go to the hub, everything else to an ASGI server.

A connection is a :class:`.visitor.Visitor` until its first request head was read; then the
transport is handed over with the bytes read so far, and this module is done with it: an upgrade
must be a connection's first request, as clients make it. Where the hub speaks TLS itself it is an
:class:`.arrival.Arrival` before that. It knows no frames and no routes.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from email.utils import formatdate
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from trishula_broker.net.admission import Admission, shared_addresses
from trishula_broker.net.arrival import HANDSHAKE, Arrival
from trishula_broker.net.crowd import Crowd, Place
from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.door import Door
from trishula_broker.net.driver import Driver
from trishula_broker.net.handshake import RETRY_AFTER_S, Gate
from trishula_broker.net.peers import address_of, named
from trishula_broker.net.ports import Log
from trishula_broker.net.refusals import Refusals
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.shares import Shares
from trishula_broker.net.tls import Tls
from trishula_broker.net.visitor import Visitor, answer
from trishula_broker.net.web import WebConnection
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
CROWDED: Final = answer(
    b"503 Service Unavailable",
    b"Too many connections at once; try again.\n",
    b"retry-after: %d\r\n" % RETRY_AFTER_S,
)
NOT_TLS: Final = answer(b"400 Bad Request", b"This port speaks TLS: use wss:// or https://\n")
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
        admission: who may come in.
        refusals: told of those who may not; ended with this.
        settings: the limits.
        log: where it says what people should know.
        descriptors: file descriptors this process may have open; None is no limit.
        tls: what it speaks; None for plain TCP.
    """

    def __init__(
        self,
        driver: Driver,
        app: Any,
        admission: Admission,
        refusals: Refusals,
        settings: NetSettings,
        log: Log,
        descriptors: int | None,
        tls: Tls | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(self._loop)
        self.settings = settings
        self.visitors: set[Visitor] = set()
        """Those whose first request is still being read."""
        self.refusals = refusals
        self.crowd = Crowd(settings.unregistered, shared_addresses(settings))
        """Connections that have not said yet what they want, and those over HTTP."""
        self._driver = driver
        self._log = log
        self._around = Surroundings(driver, settings, self.deadlines)
        self._gate = Gate(settings, admission, self._loop.time)
        self._tls = tls
        self._handshakes = Shares(
            settings.handshakes_per_s, self._loop.time, shared_addresses(settings)
        )
        self._arrivals: set[Arrival] = set()
        self._room = None if descriptors is None else descriptors - RESERVED_DESCRIPTORS
        self._sockets: list[socket.socket] = []
        self._exhausted = False
        self._taking: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._dater: asyncio.TimerHandle | None = None
        self._http = ServerState()
        self._http_config = Config(
            Door(app, admission, refusals),
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
        coming = len(self._arrivals) + len(self._taking) + len(self.visitors)
        return coming + self._driver.connections + http

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._room is not None and self.count >= self._room:
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
                self._log.info("accepting_resumed", connections=self.count)
            self._arrived(taken, named(address))

    def _arrived(self, taken: socket.socket, peer: str) -> None:
        taken.setblocking(False)
        place = self.crowd.enter(address_of(peer))
        if place is None:
            self._turn_away(taken, "crowded", peer, b"" if self._tls else CROWDED)
        elif self._tls is None:
            self._begin(taken, peer, place, self._loop.time() + self.settings.handshake_s)
        else:
            arrival = Arrival(taken, peer, place, self._spoke, self._went)
            self._arrivals.add(arrival)
            arrival.wait(self.deadlines, self.settings.handshake_s)

    def _spoke(self, arrival: Arrival, first: bytes) -> None:
        """The first byte has come to a port that speaks TLS."""
        self._arrivals.discard(arrival)
        peer = arrival.peer
        if first != HANDSHAKE:
            self._turn_away(arrival.socket, "not_tls", peer, NOT_TLS)
            arrival.place.leave()
        elif not self._handshakes.take(address_of(peer)):  # the costly part is what comes now
            self._turn_away(arrival.socket, "rate", peer, b"")
            arrival.place.leave()
        else:
            until = self._loop.time() + self.settings.handshake_s
            self._begin(arrival.socket, peer, arrival.place, until)

    def _went(self, arrival: Arrival) -> None:
        """Nothing came."""
        self._arrivals.discard(arrival)
        arrival.place.leave()
        self.refusals.note("connection", "silent", arrival.peer)

    def _turn_away(self, taken: socket.socket, reason: str, peer: str, said: bytes) -> None:
        """Close a socket nobody serves, with an answer if there is one."""
        self.refusals.note("connection", reason, peer, int(said[9:12]) if said else 0)
        try:
            if said:
                while taken.recv(1 << 16):  # what is left unread would make a reset of this
                    pass
        except OSError:
            pass
        try:
            if said:
                taken.send(said)
                taken.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has gone already
        taken.close()

    def _begin(self, taken: socket.socket, peer: str, place: Place, until: float) -> None:
        task = self._loop.create_task(self._take(taken, peer, place, until))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, taken: socket.socket, peer: str, place: Place, until: float) -> None:
        options: dict[str, Any] = {}
        if self._tls is not None:
            options = {
                "ssl": self._tls.context,
                "ssl_handshake_timeout": self.settings.handshake_s,
                "ssl_shutdown_timeout": self.settings.close_s,
            }
        try:
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                lambda: Visitor(self, peer, place, until), taken, **options
            )
        except OSError as error:  # it has gone already, or does not trust our certificate
            place.leave()
            taken.close()
            if self._tls is not None:
                self.refusals.note("tls", _tls_reason(error), peer)

    # --- handing over ---

    def hand_over(
        self, visitor: Visitor, transport: asyncio.Transport, head: bytes | bytearray, data: bytes
    ) -> None:
        """Give a connection to whom its first request is for.

        Args:
            visitor: who it was so far.
            transport: the connection.
            head: the request's head, its last empty line included.
            data: what came behind it.
        """
        head = bytes(head)
        if not _is_upgrade(head):
            self._to_http(visitor, transport, head + data)
            return
        upgrade = self._gate.answer(head, visitor.peer)
        visitor.place.leave()
        if upgrade.protocol is None or upgrade.place is None:
            self.refusals.note("upgrade", upgrade.reason, upgrade.peer, upgrade.status)
            transport.write(upgrade.response)
            transport.close()
            return
        connection = WebSocketConnection(
            self._around, transport, upgrade.protocol, upgrade.codec, upgrade.place
        )
        transport.set_protocol(connection)
        transport.write(upgrade.response)
        identity = upgrade.identity
        namespace = DEFAULT_NAMESPACE if identity is None else identity.namespace
        connection.start(namespace, upgrade.peer, identity, data)

    def _to_http(self, visitor: Visitor, transport: asyncio.Transport, data: bytes) -> None:
        if self._dater is None:
            self._date()
        protocol = WebConnection(
            self._http_config, self._http, self.settings, self.deadlines, visitor.place
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
        for arrival in list(self._arrivals):
            arrival.expired()
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
        self.refusals.close()


def _tls_reason(error: OSError) -> str:
    """A code for a TLS handshake that failed."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower()
    return "slow" if "timeout" in str(error) or "longer than" in str(error) else "cut_off"


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
