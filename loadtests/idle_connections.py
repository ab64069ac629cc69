"""What an idle agent costs a hub: opens registered connections and reads the hub's memory.

python -m loadtests.idle_connections --connections 5000
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import tempfile
import time
from pathlib import Path

import uvloop

from loadtests.figures import raise_descriptors, resident
from tests.support.hub_process import HubProcess

PORTS_A_SOURCE = 20_000
"""Connections from one loopback address; the kernel has some 28 000 ports for each."""
AT_ONCE = 200
"""Connections being opened at the same time."""
HEARTBEAT_MS = 60_000


def text_frame(payload: bytes) -> bytes:
    """A client's frame, masked with zeros; short enough for 16 bits of length."""
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + payload


class Idler(asyncio.Protocol):
    """An agent that registers and then says nothing. ``ready`` when it was answered."""

    def __init__(self, name: str, deflate: bool) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self._name = name
        self._deflate = deflate
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert hasattr(transport, "write")
        key = base64.b64encode(os.urandom(16)).decode()
        extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if self._deflate else ""
        transport.write(
            f"GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{extra}\r\n".encode()
        )
        transport.write(
            text_frame(
                b'{"type":"COMMAND","to":"hub","id":"r","payload":{"op":"register",'
                b'"agent":"%b","heartbeat_ms":%d}}' % (self._name.encode(), HEARTBEAT_MS)
            )
        )

    def data_received(self, data: bytes) -> None:
        if self.ready.done():
            return
        self._data += data
        if not self._data.startswith(b"HTTP/1.1 101"):
            self.ready.set_exception(RuntimeError(self._data.decode(errors="replace")))
        elif b"server_time" in self._data or b"\r\n\r\n\xc1" in self._data:
            # Answered, in clear or, with the first byte of a compressed text frame, in deflate.
            self.ready.set_result(None)
            self._data = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("closed"))


async def open_all(port: int, count: int, deflate: bool) -> list[asyncio.BaseTransport]:
    """Open and register ``count`` connections."""
    loop = asyncio.get_running_loop()
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(n: int) -> asyncio.BaseTransport:
        async with turn:
            source = f"127.0.0.{1 + n // PORTS_A_SOURCE}"
            transport, idler = await loop.create_connection(
                lambda: Idler(f"idle-{n}", deflate), "127.0.0.1", port, local_addr=(source, 0)
            )
            await idler.ready
            return transport

    return await asyncio.gather(*(one(n) for n in range(count)))


async def measure(count: int, deflate: bool) -> float:
    """KiB of the hub's memory for each of ``count`` idle registered connections."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--config", str(_generous(Path(folder))))
        async with HubProcess(Path(folder) / "data", *options) as hub:
            await open_all(hub.port, 50, deflate)  # what is made once is made now
            before = resident(hub.pid)
            started = time.perf_counter()
            transports = await open_all(hub.port, count, deflate)
            took = time.perf_counter() - started
            after = resident(hub.pid)
            each = (after - before) / count / 1024
            print(
                f"{count} idle agents: hub {before >> 20} -> {after >> 20} MiB, "
                f"{each:.1f} KiB each; registered in {took:.1f} s, {count / took:.0f}/s"
            )
            for transport in transports:
                transport.close()
            return each


def _generous(folder: Path) -> Path:
    """A configuration that admits everybody at once."""
    path = folder / "broker.toml"
    path.write_text("[websocket]\nhandshakes_per_s = 100000\nunregistered = 100000\n")
    return path


def main() -> None:
    """Measure and print; exit code 1 over the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--deflate", action="store_true", help="offer permessage-deflate")
    parser.add_argument("--limit-kib", type=float, default=25.0)
    args = parser.parse_args()
    raise_descriptors()
    each = uvloop.run(measure(args.connections, args.deflate))
    raise SystemExit(each > args.limit_kib)


if __name__ == "__main__":
    main()
