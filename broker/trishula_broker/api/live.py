"""What passes, as it happens: a stream of server-sent events.

Each has a session of its own that listens (the operations ``tap`` and ``watch``). Who reads too
slowly misses copies, is told how many, and slows nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
from starlette.responses import StreamingResponse

from trishula_broker.api import shapes
from trishula_broker.api.endpoint import Call
from trishula_broker.api.failures import Failure
from trishula_broker.api.link import Link
from trishula_broker.net.web import ALIVE

EVENT_STREAM: Final = "text/event-stream"
QUIET_S: Final = 10.0
"""Silence after which a comment is sent, so that both ends know that the other is there; sooner
where a request has less than three times that."""
_encode: Final = msgspec.json.Encoder().encode


async def stream_live(call: Call) -> StreamingResponse:
    """First the event ``agents``, who there is; then ``accepted`` and ``settled`` for messages, and
    ``missed`` for how many there was no room; ``presence``, ``status``, ``paused``, ``resumed`` and
    ``forgotten`` for agents; ``end`` at the end, with why."""
    query: shapes.LiveQuery = call.query
    async with AsyncExitStack() as making:
        link = await making.enter_async_context(call.links.stream(call.caller))
        wanted = {"from": query.sender, "to": query.to, "type": query.type, "thread": query.thread}
        given = {name: value for name, value in wanted.items() if value is not None}
        await link.ask(op="tap", **given)
        picture = await link.ask(op="watch") if query.presence else None
        kept = making.pop_all()
    alive: Callable[[], float] = call.request.scope["state"][ALIVE]
    return StreamingResponse(
        _events(link, kept, picture, alive),
        media_type=EVENT_STREAM,
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(
    link: Link, kept: AsyncExitStack, picture: Any, alive: Callable[[], float]
) -> AsyncIterator[bytes]:
    async with kept:
        yield b": trishula\n\n"
        if picture is not None:
            yield _event("agents", picture)
        while True:
            quiet_s = min(QUIET_S, alive() / 3)
            try:
                async with asyncio.timeout(quiet_s):
                    news = await link.news()
            except TimeoutError:
                yield b": \n\n"
                continue
            except Failure as failure:
                yield _event("end", {"code": failure.code, "why": failure.text})
                return
            payload = news.payload
            kind = payload.pop("tap", None) or payload.get("event", "news")
            yield _event(kind, payload)


def _event(kind: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(data))
