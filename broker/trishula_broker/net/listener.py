"""One port: WebSocket upgrades at ``/ws`` go to the hub, everything else to an ASGI server.

A connection is a :class:`.visitor.Visitor` until its first request head was read; then the
transport is handed over with the bytes read so far, and this module is done with it: an upgrade
must be a connection's first request, as clients make it. Where the hub speaks TLS itself it is an
:class:`.arrival.Arrival` before that. It knows no frames and no routes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, Final

from trishula_broker.net.admission import Admission, shared_addresses
from trishula_broker.net.arrival import HANDSHAKE, Arrival
from trishula_broker.net.crowd import Crowd, Place
from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.door import Door
from trishula_broker.net.driver import Driver
from trishula_broker.net.handshake import RETRY_AFTER_S, Gate
from trishula_broker.net.hardening import Hardening
from trishula_broker.net.peers import address_of
from trishula_broker.net.ports import Log
from trishula_broker.net.refusals import Refusals
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.shares import Shares
from trishula_broker.net.sockets import Sockets
from trishula_broker.net.tls import Tls
from trishula_broker.net.visitor import Visitor, answer
from trishula_broker.net.web_server import WebServer
from trishula_broker.net.websocket import Surroundings, WebSocketConnection
from trishula_protocol.limits import WEBSOCKET_PATH

CROWDED: Final = answer(
    b"503 Service Unavailable",
    b"Too many connections at once; try again.\n",
    b"retry-after: %d\r\n" % RETRY_AFTER_S,
)
NOT_TLS: Final = answer(b"400 Bad Request", b"This port speaks TLS: use wss:// or https://\n")
DEFAULT_NAMESPACE: Final = "default"


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
        self._around = Surroundings(driver, settings, self.deadlines)
        self._gate = Gate(settings, admission, self._loop.time)
        self._tls = tls
        self._handshakes = Shares(
            settings.handshakes_per_s, self._loop.time, shared_addresses(settings)
        )
        self._arrivals: set[Arrival] = set()
        self._sockets = Sockets(self._arrived, lambda: self.count, descriptors, log)
        self._taking: set[asyncio.Task[None]] = set()
        door = Door(app, admission, refusals)
        self._web = WebServer(Hardening(door, settings.origins), settings, self.deadlines)

    async def bind(self, host: str, port: int, *, shared: bool = False) -> int:
        """Accept what comes to this address; takes, returns and raises as :meth:`Sockets.bind`."""
        return await self._sockets.bind(host, port, shared=shared)

    # --- accepting ---

    @property
    def count(self) -> int:
        """Open connections of every kind."""
        coming = len(self._arrivals) + len(self._taking) + len(self.visitors)
        return coming + self._driver.connections + self._web.connections

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
            self._web.take(transport, visitor.place, head + data)
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

    # --- the end ---

    def stop(self) -> None:
        """Accept nothing more. Connections that are served go on."""
        self._sockets.close()

    async def close(self) -> None:
        """Stop, and cut what is left of connections that are not the driver's."""
        self.stop()
        for arrival in list(self._arrivals):
            arrival.expired()
        for visitor in list(self.visitors):
            visitor.expired()
        tasks = [*self._taking, *self._web.close()]
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
