"""What a hub at an address says of itself, asked over HTTP from the same host."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, NamedTuple

import msgspec

TIMEOUT_S: Final = 3.0
"""How long whoever holds the port has to say who it is: a hub may be busy."""
ANSWER_BYTES: Final = 64 << 10
TLS_PORT: Final = b"This port speaks TLS"
"""How a hub with TLS answers what is none."""


class Neighbour(NamedTuple):
    """A hub's process, as its ``/health`` tells; of several workers their supervisor's."""

    node: str
    pid: int
    agents: int
    """Those connected to it."""
    alone: bool
    """It knows of no other hub that its agents could go to."""


async def who_listens(host: str, port: int) -> str:
    """Who holds a port that this hub wanted, in words: ``a trishula hub (node a, pid 12)``."""
    try:
        found = await neighbour(host, port, TIMEOUT_S)
    except OSError:
        found = None
    return f"a trishula hub (node {found.node}, pid {found.pid})" if found else "another program"


async def neighbour(host: str, port: int, seconds: float) -> Neighbour | None:
    """The hub that listens there; None when it is another program.

    Raises:
        OSError: nobody listens, or nobody answered within ``seconds``.
    """
    async with asyncio.timeout(seconds):
        answer = await _ask(host, port, None)
        if TLS_PORT in answer:
            answer = await _ask(host, port, _any_certificate())
    try:
        health: Any = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])
        alone = all(namespace.get("alone", True) for namespace in health["namespaces"].values())
        if (workers := health.get("workers")) is not None:
            agents = sum(each["agents_online"] for each in workers["each"])
            return Neighbour(str(workers["node"]), int(workers["pid"]), agents, alone)
        return Neighbour(str(health["node"]), int(health["pid"]), health["agents_online"], alone)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _any_certificate() -> ssl.SSLContext:
    """For a hub of this host, of which only its process is asked: whose certificate it shows, for
    which name, says nothing here. No token is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _ask(host: str, port: int, context: ssl.SSLContext | None) -> bytes:
    # An address to listen on, such as 0.0.0.0, is also one to reach oneself by.
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = bytearray()
        while len(answer) < ANSWER_BYTES and (piece := await reader.read(ANSWER_BYTES)):
            answer += piece
        return bytes(answer)
    finally:
        writer.close()
