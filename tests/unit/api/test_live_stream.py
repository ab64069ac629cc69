"""A stream gives back what it holds, however early it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from trishula_broker.api.live import Stream


async def said() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


@pytest.mark.parametrize("most", [0, 1, 2, 9])
async def test_a_stream_whose_reader_leaves_holds_nothing_any_more(most: int) -> None:
    given_back: list[str] = []
    kept = AsyncExitStack()
    kept.callback(given_back.append, "it")
    left = asyncio.Event()
    sent = 0

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal sent
        if sent == most:  # nobody reads: there is no room for more
            left.set()
            await asyncio.Event().wait()
        sent += 1

    async with asyncio.timeout(60):
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        await Stream(kept, said())(scope, receive, send)
    assert given_back == ["it"]
