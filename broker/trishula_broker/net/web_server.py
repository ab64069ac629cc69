"""The HTTP connections of a hub: what they share, and their end. One of them is :mod:`.web`."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trishula_broker.net.crowd import Place
from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.settings import NetSettings

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from trishula_broker.net.web import WebConnection

ALIVE: Final = "alive"
"""Where an answer without end finds :meth:`.web.WebConnection.alive`, in the scope's ``state``."""


class Begun(NamedTuple):
    """What there is once the first request has come: uvicorn's configuration and state, and what
    makes a connection of them."""

    config: Config
    state: ServerState
    connection: type[WebConnection]


class WebServer:
    """Answers HTTP requests with an ASGI application.

    Args:
        app: the application.
        settings: the limits.
        deadlines: of all connections of the hub.
    """

    def __init__(self, app: Any, settings: NetSettings, deadlines: Deadlines) -> None:
        self._loop = asyncio.get_running_loop()
        self._app = app
        self._settings = settings
        self._deadlines = deadlines
        self._dater: asyncio.TimerHandle | None = None
        self._begun: Begun | None = None

    @property
    def connections(self) -> int:
        """Those that are open."""
        return 0 if self._begun is None else len(self._begun.state.connections)

    def _begin(self) -> Begun:
        # Imported only now: with all that it imports it is 4 MB, and a hub of agents alone is asked
        # nothing over HTTP.
        from uvicorn.config import Config
        from uvicorn.server import ServerState

        from trishula_broker.net.web import WebConnection

        config = Config(
            self._app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=self._settings.http_keep_alive_s,
        )
        config.load()
        return Begun(config, ServerState(), WebConnection)

    def take(self, transport: asyncio.Transport, place: Place, data: bytes) -> None:
        """Serve a connection from here on; ``data`` is what it has sent so far.

        Args:
            transport: the connection.
            place: its place among the strangers, which it leaves when it ends.
            data: its first request's head, and what came behind.
        """
        if self._begun is None:
            self._begun = self._begin()
        config, state, connection = self._begun
        if self._dater is None:
            self._date(state)
        protocol = connection(config, state, self._settings, self._deadlines, place)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _date(self, state: ServerState) -> None:
        """Keep the Date header right while there are HTTP connections (RFC 9110 §6.6.1)."""
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._dater = self._loop.call_later(1, self._redate, state)

    def _redate(self, state: ServerState) -> None:
        self._dater = None
        if state.connections:
            self._date(state)

    def close(self) -> set[asyncio.Task[None]]:
        """Have every connection end; the tasks of requests that are still being answered."""
        if self._dater is not None:
            self._dater.cancel()
        if self._begun is None:
            return set()
        for connection in list(self._begun.state.connections):
            connection.shutdown()
        return self._begun.state.tasks
