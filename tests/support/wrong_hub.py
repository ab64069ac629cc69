"""Hubs that break the protocol: a real one seen through a fault, and a little one that says yes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, NegotiationError
from websockets.typing import Subprotocol

Envelope = dict[str, Any]
Change = Callable[[list[Envelope]], list[Envelope]]
KNOWN = ("trishula.v2.json", "trishula.v2.msgpack")


def as_it_is(envelopes: list[Envelope]) -> list[Envelope]:
    return envelopes


class Fault(NamedTuple):
    """What is done otherwise to frames of JSON, and with close codes."""

    up: Change = as_it_is
    """To what the client says."""
    down: Change = as_it_is
    """To what the hub says."""
    code: Callable[[int], int] = int


@asynccontextmanager
async def wrong_hub(url: str, fault: Fault) -> AsyncIterator[str]:
    """The URL of the hub at ``url`` as it would be with that fault."""

    async def serve_one(client: ServerConnection) -> None:
        chosen = client.subprotocol
        async with connect(
            url, subprotocols=[chosen] if chosen else None, ping_interval=None, max_size=None
        ) as hub:

            async def upward() -> None:
                await _pass_on(client, hub, fault.up)
                await hub.close()

            up = asyncio.create_task(upward())
            await _pass_on(hub, client, fault.down)
            code = hub.close_code or 1006
            await client.close(fault.code(1011 if code == 1006 else code))
            await up

    async with serve(
        serve_one, "127.0.0.1", 0, select_subprotocol=_known, ping_interval=None, max_size=None
    ) as server:
        yield _url(server)


async def _pass_on(
    source: ClientConnection | ServerConnection,
    target: ClientConnection | ServerConnection,
    change: Change,
) -> None:
    """Until one of them closes."""
    try:
        async for frame in source:
            for part in _changed(frame, change):
                await target.send(part)
    except ConnectionClosed:
        pass


def _changed(frame: str | bytes, change: Change) -> list[str | bytes]:
    if isinstance(frame, bytes):
        return [frame]
    try:
        found = json.loads(frame)
    except (ValueError, RecursionError):
        return [frame]
    envelopes = found if isinstance(found, list) else [found]
    if not envelopes or not all(isinstance(each, dict) for each in envelopes):
        return [frame]
    before = json.dumps(envelopes)
    after = change(envelopes)
    if json.dumps(after) == before:
        return [frame]
    return [json.dumps(after)] if after else []


@asynccontextmanager
async def yes_hub() -> AsyncIterator[str]:
    """The URL of a hub that takes everything and does nothing."""

    async def serve_one(client: ServerConnection) -> None:
        try:
            async for frame in client:
                for each in _read(frame):
                    await client.send(json.dumps(_yes(each)))
        except ConnectionClosed:
            pass

    async with serve(
        serve_one, "127.0.0.1", 0, select_subprotocol=_any, ping_interval=None, max_size=None
    ) as server:
        yield _url(server)


def _read(frame: str | bytes) -> list[Envelope]:
    """Whatever is an object in it."""
    try:
        found = json.loads(frame)
    except (ValueError, RecursionError):
        return []
    return [each for each in (found if isinstance(found, list) else [found]) if type(each) is dict]


def _known(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    if not offered:
        return None
    for each in offered:
        if each in KNOWN:
            return each
    raise NegotiationError("none of them is known")


def _any(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next(iter(offered), None)


def _yes(said: Envelope) -> Envelope:
    id_, payload = said.get("id"), said.get("payload")
    if said.get("to") == "hub" and said.get("type") == "COMMAND":
        return {"type": "RESULT", "from": "hub", "reply_to": id_, "payload": {}}
    if said.get("type") == "ACK" and isinstance(payload, dict):
        seqs = payload.get("seqs", [])
        return {"type": "ACK", "from": "hub", "payload": {"stage": "settled", "seqs": seqs}}
    return {"type": "ACK", "from": "hub", "payload": {"stage": "accepted", "ids": [id_]}}


def _url(server: Server) -> str:
    return f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
