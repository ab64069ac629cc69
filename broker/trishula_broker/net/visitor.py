"""A connection that has not said what it wants: its first request head is read here, once.

It knows neither WebSocket nor routes; the listener decides whose the connection is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from trishula_broker.net.handshake import RETRY_AFTER_S

if TYPE_CHECKING:
    from trishula_broker.net.listener import Listener

HEAD_END: Final = b"\r\n\r\n"


class Visitor(asyncio.Protocol):
    """A connection of which nothing is known yet: reads one request head."""

    __slots__ = ("_data", "_listener", "_transport")

    _transport: asyncio.Transport

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The clock starts."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._listener.visitors.add(self)
        if self._listener.crowded:
            self._refuse(b"503 Service Unavailable\r\nretry-after: %d" % RETRY_AFTER_S)
        else:
            self._listener.deadlines.set(self, self._listener.settings.handshake_s)

    def data_received(self, data: bytes) -> None:
        """Some of the head, or all of it and more."""
        listener = self._listener
        searched = max(0, len(self._data) - len(HEAD_END))
        self._data += data
        end = self._data.find(HEAD_END, searched) + len(HEAD_END)
        if end > listener.settings.http_head_bytes or (
            end < len(HEAD_END) and len(self._data) > listener.settings.http_head_bytes
        ):
            self._refuse(b"431 Request Header Fields Too Large")
        elif end >= len(HEAD_END):
            self._leave()
            listener.hand_over(self._transport, bytes(self._data[:end]), bytes(self._data[end:]))

    def connection_lost(self, exc: Exception | None) -> None:
        """It went before it said what it wants."""
        self._leave()

    def expired(self) -> None:
        """The head took too long."""
        self._refuse(b"408 Request Timeout")

    def _leave(self) -> None:
        self._listener.visitors.discard(self)
        self._listener.deadlines.clear(self)

    def _refuse(self, status: bytes) -> None:
        self._leave()
        self._transport.write(
            b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status
        )
        self._transport.close()
