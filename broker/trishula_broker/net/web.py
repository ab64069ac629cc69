"""An HTTP connection: uvicorn's, with limits it does not have itself.

The visitor has read the first head within its limits. uvicorn limits neither the size of what
follows on the same connection nor how long it takes, and forgets its keep-alive timer when a body
comes behind its answer. This knows no routes.
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from trishula_broker.net.crowd import Place
from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.web_server import ALIVE

_ANSWER: Final = b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class WebConnection(HttpToolsProtocol):
    """One connection to the ASGI application.

    It is idle, for ``http_keep_alive_s`` at most, or busy with a request, for ``http_request_s``
    from its first byte to the last of its answer.

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
        super().__init__(config, state, {ALIVE: self.alive}, asyncio.get_running_loop())
        self._settings = settings
        self._deadlines = deadlines
        self._place = place
        self._requests = 0
        self._arriving = False
        """A request has begun and not ended."""
        self._in_head = False
        self._bytes = 0
        """Of that request, but for the piece that it began in."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """From here on somebody has to ask now and then."""
        super().connection_made(transport)
        self._deadlines.set(self, self._settings.http_request_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._deadlines.clear(self)
        self._place.leave()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """A request, or some of one, or several."""
        known = self._requests
        super().data_received(data)
        if known == self._requests and self._arriving and not self.transport.is_closing():
            self._bytes += len(data)
            settings = self._settings
            if self._in_head and self._bytes > settings.http_head_bytes:
                self._refuse(b"431 Request Header Fields Too Large")
            elif self._bytes > settings.http_head_bytes + settings.http_body_bytes:
                self._refuse(b"413 Content Too Large")

    # --- the parser's side ---

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._requests += 1
        self._arriving = self._in_head = True
        self._bytes = 0
        self._deadlines.set(self, self._settings.http_request_s)

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of a request has arrived."""
        self._arriving = False
        super().on_message_complete()
        self._rest()

    def on_response_complete(self) -> None:
        """It is answered; maybe before it has all arrived."""
        super().on_response_complete()
        self._rest()

    # --- ends ---

    @property
    def _answered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until the first one
        return cycle is None or cycle.response_complete

    def _rest(self) -> None:
        if self._answered and not self._arriving and not self.transport.is_closing():
            self._deadlines.set(self, self._settings.http_keep_alive_s)

    def _refuse(self, status: bytes) -> None:
        if self._answered:  # or it would stand in the middle of an answer
            self.transport.write(_ANSWER % status)
        self.transport.close()
        self._deadlines.set(self, self._settings.close_s)

    def alive(self) -> float:
        """An answer that goes on has gone on: its time begins anew; how many seconds that is."""
        if not self.transport.is_closing():
            self._deadlines.set(self, self._settings.http_request_s)
        return self._settings.http_request_s

    def expired(self) -> None:
        """It was idle or busy for too long, or does not read what it asked for."""
        transport = self.transport
        if transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()
        elif self._arriving:
            self._refuse(b"408 Request Timeout")
        else:
            transport.close()
