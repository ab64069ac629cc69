"""Who holds a port that this hub wanted: asked over HTTP, for one clear line."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

TIMEOUT_S: Final = 1.0
ANSWER_BYTES: Final = 64 << 10


async def who_listens(host: str, port: int) -> str:
    """The other side in words, such as ``a trishula hub (node a, pid 12)``."""
    try:
        answer = await asyncio.wait_for(_ask(host, port), TIMEOUT_S)
        health: Any = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])
        return f"a trishula hub (node {health['node']}, pid {health['pid']})"
    except (OSError, TimeoutError, ValueError, LookupError, TypeError):
        return "another program"


async def _ask(host: str, port: int) -> bytes:
    # An address to listen on, such as 0.0.0.0, is also one to reach oneself by.
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = bytearray()
        while len(answer) < ANSWER_BYTES and (piece := await reader.read(ANSWER_BYTES)):
            answer += piece
        return bytes(answer)
    finally:
        writer.close()
