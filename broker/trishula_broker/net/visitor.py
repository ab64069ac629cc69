"""A connection that has not said what it wants: its first request head is read here, once.

It knows neither WebSocket nor routes; the listener decides whose the connection is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from trishula_broker.net.arrival import HANDSHAKE
from trishula_broker.net.crowd import Place

if TYPE_CHECKING:
    from trishula_broker.net.listener import Listener

HEAD_END: Final = b"\r\n\r\n"


class Visitor(asyncio.Protocol):
    """A connection of which nothing is known yet: reads one request head.

    Args:
        listener: whose visitor it is.
        peer: where it comes from, as ``host:port``.
        place: its place among the strangers; it is passed on, or left.
        until: when the head must be complete, by the loop's clock.
    """

    __slots__ = ("_data", "_listener", "_transport", "_until", "peer", "place")

    _transport: asyncio.Transport

    def __init__(self, listener: Listener, peer: str, place: Place, until: float) -> None:
        self._listener = listener
        self._data = bytearray()
        self._until = until
        self.peer = peer
        self.place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Its bytes may come."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._listener.visitors.add(self)
        left = self._until - asyncio.get_running_loop().time()
        self._listener.deadlines.set(self, max(0.0, left))

    def data_received(self, data: bytes) -> None:
        """Some of the head, or all of it and more."""
        listener = self._listener
        searched = max(0, len(self._data) - len(HEAD_END))
        self._data += data
        end = self._data.find(HEAD_END, searched) + len(HEAD_END)
        if self._data.startswith(HANDSHAKE):
            # Clients that speak TLS say of this that it is none, and so do we.
            self._refuse(b"400 Bad Request", "tls", b"This port does not speak TLS: use ws://\n")
        elif end > listener.settings.http_head_bytes or (
            end < len(HEAD_END) and len(self._data) > listener.settings.http_head_bytes
        ):
            self._refuse(b"431 Request Header Fields Too Large", "too_large")
        elif end >= len(HEAD_END):
            self._leave()
            listener.hand_over(self, self._transport, self._data[:end], bytes(self._data[end:]))

    def connection_lost(self, exc: Exception | None) -> None:
        """It went before it said what it wants."""
        self._leave()
        self.place.leave()

    def expired(self) -> None:
        """The head took too long."""
        self._refuse(b"408 Request Timeout", "slow")

    def _leave(self) -> None:
        self._listener.visitors.discard(self)
        self._listener.deadlines.clear(self)

    def _refuse(self, status: bytes, reason: str, body: bytes = b"") -> None:
        self._leave()
        self._listener.refusals.note("request", reason, self.peer, int(status[:3]))
        self._transport.write(answer(status, body))
        self._transport.close()


def answer(status: bytes, body: bytes = b"", headers: bytes = b"") -> bytes:
    """An HTTP answer that ends the connection."""
    kind = b"content-type: text/plain\r\n" if body else b""
    return b"HTTP/1.1 %b\r\nconnection: close\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
        status,
        headers,
        kind,
        len(body),
        body,
    )
