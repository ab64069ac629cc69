"""The hub's port without a socket: the real listener, driver, core and HTTP side over a memory
store, and a transport that keeps what is written.

Made once a process, used for one connection after another; each leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from trishula_broker.hub.hub import Hub
from trishula_broker.hub.now import Now
from trishula_broker.net.admission import Admission
from trishula_broker.net.driver import Driver
from trishula_broker.net.health import Health
from trishula_broker.net.http import make_app
from trishula_broker.net.listener import Listener
from trishula_broker.net.peers import named
from trishula_broker.net.refusals import Refusals
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.visitor import Visitor
from trishula_broker.store.memory import MemoryStore

PEER: Final = ("192.0.2.7", 40000)
TURNS: Final = 500
"""Iterations of the loop after which something that should end has not."""
UNSENT_BYTES: Final = 1 << 20
"""What one connection may have written to it before its peer reads; input is a few KiB."""


class Pipe(asyncio.Transport):
    """A transport whose other side is a test: it reads everything, at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": PEER, "sockname": ("127.0.0.1", 8765)})
        self._loop = loop
        self._protocol: asyncio.Protocol | None = None
        self._closing = False
        self.lost = False
        self.paused = False
        self.written = bytearray()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def feed(self, data: bytes) -> None:
        """Bytes arrive."""
        assert self._protocol is not None
        self._protocol.data_received(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._lose)

    abort = close

    def _lose(self) -> None:
        assert self._protocol is not None
        self.lost = True
        self._protocol.connection_lost(None)

    def end(self) -> None:
        """The other side writes no more."""
        assert self._protocol is not None
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.lost, "written to after the end"
        if not self._closing:
            self.written += data
            assert len(self.written) <= UNSENT_BYTES, "more is written than anybody asked for"

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_reading(self) -> bool:
        return not self.paused

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Alarms(logging.Handler):
    """What was logged as an error or with a traceback, by the hub or by a library."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.heard.append(self.format(record))

    def info(self, event: str, **fields: Any) -> None:
        """The hub's own log line; those that are no error are only made sure to be text."""
        "".join(str(value) for value in fields.values()).encode()

    warning = info

    def error(self, event: str, **fields: Any) -> None:
        self.heard.append(f"{event} {fields!r}")

    def loop_failed(self, _: asyncio.AbstractEventLoop, found: dict[str, Any]) -> None:
        """The loop caught what nobody else did."""
        self.heard.append(repr(found))


class Front:
    """A hub's port.

    Args:
        settings: the limits; many connections in little time are no attack here.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("handshakes_per_s", 1 << 30)
        self.settings = NetSettings(**settings)
        self.alarms = Alarms()
        root = logging.getLogger()
        root.addHandler(self.alarms)
        self._level = root.level
        root.setLevel(logging.INFO)
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self.alarms.loop_failed)
        self.loop.run_until_complete(self._open())

    def close(self) -> None:
        """Leave the process as it was."""
        self.loop.run_until_complete(self._close())
        self.loop.close()
        root = logging.getLogger()
        root.removeHandler(self.alarms)
        root.setLevel(self._level)

    async def _close(self) -> None:
        await self.listener.close()
        await self.driver.close()

    async def _open(self) -> None:
        store = MemoryStore()
        self.driver = Driver(
            store, self._make_core, lambda: Now(int(self.loop.time() * 1000), 1), self.alarms
        )
        await store.open()
        self.driver.core("default")
        about = {"node": "front", "role": "primary", "version": "0"}
        health = Health(self.driver, store, about)
        self.listener = Listener(
            self.driver,
            make_app(health.report),
            Admission(self.settings, None, self.loop.time),
            Refusals(self.alarms, self.driver.record),
            self.settings,
            self.alarms,
            None,
        )

    def _make_core(self, namespace: str) -> Hub:
        return Hub(namespace=namespace, node="front", role="primary")

    def serve(self, pieces: Iterable[bytes]) -> bytes:
        """One connection, from which ``pieces`` arrive one after another; all that it is sent.

        Raises:
            AssertionError: it failed, hung, or left something behind.
        """
        return self.loop.run_until_complete(self._serve(pieces))

    async def _serve(self, pieces: Iterable[bytes]) -> bytes:
        pipe = Pipe(self.loop)
        place = self.listener.crowd.enter(PEER[0])
        assert place is not None, "connections that were over keep their places"
        visitor = Visitor(self.listener, named(PEER), place, self.loop.time() + 60)
        pipe.set_protocol(visitor)
        visitor.connection_made(pipe)
        for piece in pieces:
            # A paused transport hands nothing over; what is in the kernel comes when it goes on.
            await self._until(lambda: not pipe.paused or pipe.is_closing())
            if pipe.is_closing():
                break
            pipe.feed(piece)
            await asyncio.sleep(0)
        await self._until(lambda: self._idle() or pipe.is_closing())
        pipe.end()
        if not pipe.is_closing():
            pipe.close()
        await self._until(lambda: pipe.lost and self._empty())
        assert not self.alarms.heard, self.alarms.heard
        return bytes(pipe.written)

    async def _until(self, done: Any) -> None:
        for _ in range(TURNS):
            if done():
                return
            await asyncio.sleep(0)
        assert done(), f"{self.driver!r} {self.listener.count=} {len(self.listener.deadlines)=}"

    def _idle(self) -> bool:
        return self._http is None or not self._http.tasks

    @property
    def _http(self) -> Any:
        """What uvicorn knows of its connections, once there was one."""
        begun = self.listener._web._begun
        return None if begun is None else begun.state

    def _empty(self) -> bool:
        listener = self.listener
        return self._idle() and not (
            listener.visitors
            or listener.count
            or len(listener.crowd)
            or len(listener.deadlines)
            or self.driver.unregistered
        )


def pieces_of(data: bytes) -> list[bytes]:
    """``data`` as it may arrive: its first byte says in how large pieces the rest comes."""
    if not data:
        return []
    step = (1 << 16, 1, 2, 3, 7, 16, 61, 1000)[data[0] % 8]
    return [data[n : n + step] for n in range(1, len(data), step)]
