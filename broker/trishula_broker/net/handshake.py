"""Who may upgrade to a WebSocket, and to what.

Turns the head of an upgrade request into an HTTP answer and, when that is 101, into the state
a :class:`~trishula_broker.net.websocket.WebSocketConnection` starts from. Does not touch
sockets. Nothing of the request is kept, and its query, which may hold a token, is never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from websockets.exceptions import NegotiationError
from websockets.extensions.base import ServerExtensionFactory
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from trishula_broker.auth.identity import Identity
from trishula_broker.net.admission import Admission, Guest, shared_addresses
from trishula_broker.net.crowd import Crowd, Place
from trishula_broker.net.denied import Denied
from trishula_broker.net.peers import address_of
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.shares import Shares
from trishula_protocol.codec import CODECS, JSON, Codec

RETRY_AFTER_S: Final = 1
"""Seconds a client that found the door crowded is told to wait; the bucket is full by then."""
WINDOW_BITS: Final = 12
"""Window of both deflate directions: 4 KiB, as `websockets` chooses. Larger windows gain
little on small JSON and cost memory for every message in work."""


class Upgrade(NamedTuple):
    """The answer to an upgrade request; what is behind ``codec`` only counts when it is 101."""

    status: int
    response: bytes
    protocol: Protocol | None
    codec: Codec
    peer: str
    """Where it came from; behind a listed proxy, what that says."""
    identity: Identity | None = None
    """Who was proven to be there."""
    reason: str = ""
    """Why it was refused: a code."""
    place: Place | None = None
    """Its place among those that have not registered."""


class Gate:
    """Decides on upgrade requests.

    Args:
        settings: the limits.
        admission: who may come in.
        seconds: a clock that never jumps.
    """

    def __init__(
        self, settings: NetSettings, admission: Admission, seconds: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._admission = admission
        proxies = shared_addresses(settings)
        self._shares = Shares(settings.handshakes_per_s, seconds, proxies)
        self._strangers = Crowd(settings.unregistered, proxies)
        """Connections that have upgraded and not registered yet."""
        self._extensions: Sequence[ServerExtensionFactory] = []
        if settings.compression:
            # Without context takeover: with it an idle connection costs 46 KiB instead of 6.
            self._extensions = [
                ServerPerMessageDeflateFactory(
                    server_no_context_takeover=True,
                    client_no_context_takeover=True,
                    server_max_window_bits=WINDOW_BITS,
                    client_max_window_bits=WINDOW_BITS,
                    compress_settings={"memLevel": 5},
                )
            ]
        # The library logs whole frames at DEBUG. Its logger must never be that loud.
        self._logger = logging.getLogger("trishula_broker.websocket")
        self._logger.setLevel(logging.WARNING)

    def answer(self, head: bytes, peer: str) -> Upgrade:
        """What to answer to the request with this ``head``, its last empty line included."""
        opening = ServerProtocol(
            extensions=self._extensions,
            select_subprotocol=_select_subprotocol,
            logger=self._logger,
        )
        opening.receive_data(head)
        request = next(iter(opening.events_received()), None)
        guest = Guest(None, peer, False)
        place: Place | None = None
        reason = "bad_request"
        if isinstance(request, Request):
            try:
                self._hold_back(peer)
                headers = _by_name(request)
                guest = self._admission.look(headers, peer)
                query = request.path.partition("?")[2]
                guest = self._admission.enter(guest, headers, query)
                place = self._strangers.enter(address_of(guest.peer))
                if place is None:
                    raise _busy("crowded")
                opening.send_response(opening.accept(request))
            except Denied as denied:
                reason = denied.reason
                response = opening.reject(denied.status, f"{denied.text}\n")
                for name, value in denied.headers:
                    response.headers[name] = value
                opening.send_response(response)
        response_bytes = b"".join(opening.data_to_send())
        status = int(response_bytes[9:12]) if response_bytes else HTTPStatus.BAD_REQUEST
        if opening.state is not OPEN:
            if place is not None:
                place.leave()
            return Upgrade(status, response_bytes, None, JSON, guest.peer, reason=reason)
        # A second object, because the first one's parser holds on to the request.
        protocol = Protocol(SERVER, max_size=self._settings.frame_bytes, logger=self._logger)
        protocol.extensions = opening.extensions
        codec = CODECS[opening.subprotocol] if opening.subprotocol else JSON
        return Upgrade(
            status, response_bytes, protocol, codec, guest.peer, guest.identity, place=place
        )

    def _hold_back(self, peer: str) -> None:
        if not self._shares.take(address_of(peer)):
            raise _busy("rate")


def _by_name(request: Request) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.raw_items():
        headers.setdefault(name.lower(), []).append(value)
    return headers


def _busy(reason: str) -> Denied:
    return Denied(
        HTTPStatus.SERVICE_UNAVAILABLE,
        reason,
        "too many connections at once; try again",
        (("Retry-After", str(RETRY_AFTER_S)),),
    )


def _select_subprotocol(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first offered one that is known; none when none is offered (docs/protocol.md §1)."""
    for subprotocol in offered:
        if subprotocol in CODECS:
            return subprotocol
    if offered:
        raise NegotiationError("invalid subprotocol; expected one of " + ", ".join(CODECS))
    return None
