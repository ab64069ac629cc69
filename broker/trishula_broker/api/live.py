"""What passes, as it happens: a stream of server-sent events.

Each has a session of its own that listens (the operations ``tap`` and ``watch``). Who reads too
slowly misses copies, is told how many, and slows nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from random import uniform
from typing import Any, Final

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from trishula_broker.api import shapes
from trishula_broker.api.endpoint import Call
from trishula_broker.api.failures import Failure
from trishula_broker.api.link import Link
from trishula_broker.api.news import News
from trishula_broker.net.web_server import ALIVE

EVENT_STREAM: Final = "text/event-stream"
QUIET_S: Final = 10.0
"""Silence after which a comment is sent, so that both ends know that the other is there; sooner
where a request has less than three times that."""
PAUSE_S: Final = (0.05, 0.25)
"""Between two writes: what comes meanwhile is written together, for writing costs more than what is
written; and at other moments for each stream, for many pages are told the same at the same time."""
_encode: Final = msgspec.json.Encoder().encode


async def stream_live(call: Call) -> Stream:
    """First the event ``agents``, who there is; then ``accepted`` and ``settled`` for messages, and
    ``missed`` for how many there was no room; ``presence``, ``status``, ``paused``, ``resumed`` and
    ``forgotten`` for agents; ``end`` at the end, with why."""
    query: shapes.LiveQuery = call.query
    async with AsyncExitStack() as making:
        link = await making.enter_async_context(call.links.stream(call.caller))
        wanted = {
            "from": query.sender,
            "to": query.to,
            "type": query.type,
            "thread": query.thread,
            "most": query.most,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        await link.ask(op="tap", **given)
        picture = await link.ask(op="watch") if query.presence else None
        kept = making.pop_all()
    alive: Callable[[], float] = call.request.scope["state"][ALIVE]
    return Stream(
        kept,
        _events(link, picture, alive),
        media_type=EVENT_STREAM,
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


class Stream(StreamingResponse):
    """An answer that holds something until it has ended, also where it ends before its first byte:
    a generator that was never begun would not give it back.

    Args:
        kept: what it holds.
        events: what it says.
    """

    def __init__(self, kept: AsyncExitStack, events: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(events, **options)
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        async with self._kept:
            await super().__call__(scope, receive, send)


async def _events(link: Link, picture: Any, alive: Callable[[], float]) -> AsyncIterator[bytes]:
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
        yield b"".join([_told(each) for each in (news, *link.all_news())])
        await asyncio.sleep(uniform(*PAUSE_S))


def _told(news: News) -> bytes:
    if news.shown is None:
        payload = news.envelope.payload
        kind = payload.pop("tap", None) or payload.get("event", "news")
        news.shown = _event(kind, payload)
    return news.shown


def _event(kind: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(data))
