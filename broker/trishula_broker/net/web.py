"""An HTTP connection: uvicorn's, with limits it does not have itself.

The visitor has read the first head within its limits; of those that follow on the same connection
this sees to size and time, so that a connection that asks for nothing does not stay.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from trishula_broker.net.crowd import Place
from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.settings import NetSettings


class WebConnection(HttpToolsProtocol):
    """One connection to the ASGI application.

    Args:
        config: uvicorn's, loaded.
        state: uvicorn's, of all connections.
        settings: the limits.
        deadlines: of all connections.
        place: among those of which nobody knows whose they are; it stays there.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        settings: NetSettings,
        deadlines: Deadlines,
        place: Place,
    ) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._settings = settings
        self._deadlines = deadlines
        self._place = place
        self._head_bytes = 0
        self._in_head = True
        self._seen: object = None
        """The request that was the last one when it was looked."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """From here on somebody has to ask now and then."""
        super().connection_made(transport)
        self._deadlines.set(self, self._settings.handshake_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._deadlines.clear(self)
        self._place.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A request, or some of one."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._settings.http_head_bytes and not self._closing:
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                    b"connection: close\r\ncontent-length: 0\r\n\r\n"
                )
                self.transport.close()

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request has ended: what comes is the next one's head."""
        self._in_head = True
        super().on_message_complete()

    def expired(self) -> None:
        """Nothing was asked since the last look: it goes. A request that is answered may stay."""
        cycle: Any = self.cycle  # None before the first one, whatever uvicorn says
        answered = cycle is None or cycle.response_complete
        if self._closing or (answered and cycle is self._seen):
            self.transport.abort()
            return
        self._seen = cycle
        self._deadlines.set(self, self._settings.handshake_s)

    @property
    def _closing(self) -> bool:
        return self.transport.is_closing()
