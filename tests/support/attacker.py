"""Somebody at a hub's port who does not keep to the rules, and what comes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

GENEROUS_S: Final = 60.0
"""Only bounds a failure."""

Json = dict[str, Any]


class Answer(NamedTuple):
    """What somebody was told, and at which end of the connection."""

    said: str
    """The HTTP status of a refused upgrade, an ERROR's code, or the code of a close frame."""
    text: str
    peer: str
    """As the hub calls it: ``host:port``."""


class Wire:
    """One connection, spoken to in JSON.

    Attributes:
        peer: this end, as ``host:port``.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        host, port = socket.local_address[:2]
        self.peer = f"{host}:{port}"
        self._heard: list[Json] = []

    async def say(self, **envelope: Any) -> None:
        """Send one envelope; ``sender`` is its ``from``."""
        if "sender" in envelope:
            envelope["from"] = envelope.pop("sender")
        await self._socket.send(json.dumps(envelope))

    async def hear(self) -> Json:
        """The next envelope."""
        while not self._heard:
            async with asyncio.timeout(GENEROUS_S):
                decoded = json.loads(await self._socket.recv())
            self._heard += decoded if isinstance(decoded, list) else [decoded]
        return self._heard.pop(0)

    async def answer(self, **envelope: Any) -> Json:
        """Send one envelope; the first thing that the hub itself says to it, as it is."""
        await self.say(**envelope)
        while True:
            heard = await self.hear()
            if "seq" not in heard and heard["type"] in ("ERROR", "RESULT", "ACK"):
                return heard

    async def ask(self, op: str, **fields: Any) -> Json:
        """A hub operation; its RESULT or ERROR."""
        payload = {"op": op, **fields}
        return await self.answer(type="COMMAND", to="hub", id=f"ask-{op}", payload=payload)

    async def register(self, agent: str, **fields: Any) -> Json:
        """Register; the answer."""
        return await self.ask("register", agent=agent, heartbeat_ms=60_000, **fields)

    async def mail(self) -> Json:
        """The next stored message."""
        while "seq" not in (heard := await self.hear()):
            pass
        return heard

    def told(self, heard: Json) -> Answer:
        """``heard`` as an answer."""
        if heard["type"] != "ERROR":
            return Answer(heard["type"], json.dumps(heard), self.peer)
        return Answer(heard["payload"]["code"], heard["payload"]["message"], self.peer)

    async def closed(self) -> Answer:
        """Wait until the hub has closed the connection."""
        end: ConnectionClosed | None = None
        while end is None:
            try:
                await self.hear()
            except ConnectionClosed as closed:
                end = closed
        assert end.rcvd is not None, "no close frame"
        return Answer(str(end.rcvd.code), end.rcvd.reason, self.peer)


@asynccontextmanager
async def wire(url: str, token: str | None = None, **headers: str) -> AsyncIterator[Wire]:
    """A connection with ``token`` and more ``headers``, a dash written as ``_``.

    Raises:
        InvalidStatus: the upgrade was refused.
    """
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    async with connect(
        url, additional_headers=sent, ping_interval=None, max_size=None, proxy=None
    ) as socket:
        yield Wire(socket)


async def knock(url: str, token: str | None = None, **headers: str) -> Answer:
    """What an upgrade is answered with; ``101`` when it is let in."""
    try:
        async with wire(url, token, **headers) as open_wire:
            return Answer("101", "", open_wire.peer)
    except InvalidStatus as refused:
        response = refused.response
        return Answer(str(response.status_code), (response.body or b"").decode(), "")
