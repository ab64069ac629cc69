"""The HTTP connections of a hub: what they share, and their end. One of them is :mod:`.web`."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from trishula_broker.net.crowd import Place
from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.web import WebConnection


class WebServer:
    """Answers HTTP requests with an ASGI application.

    Args:
        app: the application.
        settings: the limits.
        deadlines: of all connections of the hub.
    """

    def __init__(self, app: Any, settings: NetSettings, deadlines: Deadlines) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._deadlines = deadlines
        self._dater: asyncio.TimerHandle | None = None
        self._state = ServerState()
        self._config = Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.http_keep_alive_s,
        )
        self._config.load()

    @property
    def connections(self) -> int:
        """Those that are open."""
        return len(self._state.connections)

    def take(self, transport: asyncio.Transport, place: Place, data: bytes) -> None:
        """Serve a connection from here on; ``data`` is what it has sent so far.

        Args:
            transport: the connection.
            place: its place among the strangers, which it leaves when it ends.
            data: its first request's head, and what came behind.
        """
        if self._dater is None:
            self._date()
        protocol = WebConnection(self._config, self._state, self._settings, self._deadlines, place)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _date(self) -> None:
        """Keep the Date header right while there are HTTP connections (RFC 9110 §6.6.1)."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._dater = self._loop.call_later(1, self._redate)

    def _redate(self) -> None:
        self._dater = None
        if self._state.connections:
            self._date()

    def close(self) -> set[asyncio.Task[None]]:
        """Have every connection end; the tasks of requests that are still being answered."""
        if self._dater is not None:
            self._dater.cancel()
        for connection in list(self._state.connections):
            connection.shutdown()
        return self._state.tasks
