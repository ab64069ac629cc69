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
from urllib.parse import urlsplit

from websockets.exceptions import NegotiationError
from websockets.extensions.base import ServerExtensionFactory
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from trishula_broker.net.settings import NetSettings
from trishula_protocol.codec import CODECS, JSON, Codec

RETRY_AFTER_S: Final = 1
"""Seconds a client that found the door crowded is told to wait; the bucket is full by then."""
WINDOW_BITS: Final = 12
"""Window of both deflate directions: 4 KiB, as `websockets` chooses. Larger windows gain
little on small JSON and cost memory for every message in work."""


class Upgrade(NamedTuple):
    """The answer to an upgrade request; ``protocol`` and ``codec`` only when it is 101."""

    status: int
    response: bytes
    protocol: Protocol | None
    codec: Codec


class Gate:
    """Decides on upgrade requests.

    Args:
        settings: the limits.
        unregistered: how many connections have not registered yet.
        seconds: a clock that never jumps.
    """

    def __init__(
        self, settings: NetSettings, unregistered: Callable[[], int], seconds: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._unregistered = unregistered
        self._seconds = seconds
        self._tokens = float(settings.handshakes_per_s)
        self._filled_at = seconds()
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

    def answer(self, head: bytes) -> Upgrade:
        """What to answer to the request with this ``head``, its last empty line included."""
        opening = ServerProtocol(
            extensions=self._extensions,
            select_subprotocol=_select_subprotocol,
            logger=self._logger,
        )
        opening.receive_data(head)
        request = next(iter(opening.events_received()), None)
        if isinstance(request, Request):
            opening.send_response(self._refuse(opening, request) or opening.accept(request))
        response = b"".join(opening.data_to_send())
        status = int(response[9:12]) if response else HTTPStatus.BAD_REQUEST
        if opening.state is not OPEN:
            return Upgrade(status, response, None, JSON)
        # A second object, because the first one's parser holds on to the request.
        protocol = Protocol(SERVER, max_size=self._settings.frame_bytes, logger=self._logger)
        protocol.extensions = opening.extensions
        codec = CODECS[opening.subprotocol] if opening.subprotocol else JSON
        return Upgrade(status, response, protocol, codec)

    def _refuse(self, opening: ServerProtocol, request: Request) -> Response | None:
        if self._unregistered() >= self._settings.unregistered or not self._take_token():
            response = opening.reject(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections at once; try again.\n"
            )
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
            return response
        origins = request.headers.get_all("Origin")
        hosts = request.headers.get_all("Host")
        if any(not self._may_come_from(origin, hosts) for origin in origins):
            return opening.reject(
                HTTPStatus.FORBIDDEN,
                "Pages of this origin may not connect; see websocket.origins.\n",
            )
        return None

    def _may_come_from(self, origin: str, hosts: list[str]) -> bool:
        """Whether a page of ``origin`` may connect: this host's own, and those configured.

        Without it any page in a browser on this machine could speak as any agent.
        """
        allowed = self._settings.origins
        if "*" in allowed or origin in allowed:
            return True
        try:
            return urlsplit(origin).netloc in hosts
        except ValueError:  # brackets without an address, letters no host has
            return False

    def _take_token(self) -> bool:
        """One of ``handshakes_per_s``, from a bucket that holds a second's worth."""
        rate = self._settings.handshakes_per_s
        now = self._seconds()
        self._tokens = min(rate, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _select_subprotocol(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first offered one that is known; none when none is offered (docs/protocol.md §1)."""
    for subprotocol in offered:
        if subprotocol in CODECS:
            return subprotocol
    if offered:
        raise NegotiationError("invalid subprotocol; expected one of " + ", ".join(CODECS))
    return None
