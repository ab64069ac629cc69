"""A connected socket to Redis: commands go out as they are given, answers come in that order.

redis-py connects, proves who this is and asks what it must; then the socket is taken over, because
a request through its streams costs several times what it costs to pack and to read it. Knows
nothing of scripts, and neither waits nor retries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import InvalidResponse

_NOT_YET: Final = object()
_pack: Final[Callable[..., bytes]] = hiredis.pack_command

Answers = asyncio.Future[list[Any]]


class _Request:
    """Commands that were sent together, and what has been answered of them."""

    __slots__ = ("answers", "count", "done", "failed")

    def __init__(self, count: int, done: Answers) -> None:
        self.count = count
        self.done = done
        self.answers: list[Any] = []
        self.failed: Exception | None = None

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever waits hears of it; perhaps nobody does any more


class Wire(asyncio.Protocol):
    """What is left of ``connection`` once nobody speaks through it any more.

    Raises:
        Lost: it is not connected.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        writer = connection._writer
        if writer is None:
            raise Lost("Connection closed by server.")
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOT_YET,
        )
        self._waiting: deque[_Request] = deque()
        self._lost: Exception | None = None
        self._transport = writer.transport
        self._before = self._transport.get_protocol()
        self._transport.set_protocol(self)
        if self._transport.is_closing():
            self._lost = Lost("Connection closed by server.")

    def __repr__(self) -> str:
        state = "open" if self._lost is None else "lost"
        return f"<Wire {state}, {len(self._waiting)} under way>"

    def send(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> Answers:
        """Send ``commands`` at once; their answers, or the first error among them."""
        request = _Request(len(commands), self._loop.create_future())
        if not commands:
            request.done.set_result([])
            return request.done
        if self._lost is not None:
            request.fail(self._lost)
            return request.done
        self._waiting.append(request)
        self._transport.write(b"".join([_pack(each) for each in commands]))
        return request.done

    async def close(self, *, nowait: bool) -> None:
        """End the connection; what is under way fails."""
        self._lose(Lost("Connection closed."))
        await self._connection.disconnect(nowait=nowait)

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not _NOT_YET:
                if isinstance(answer, hiredis.PushNotification):
                    continue
                if not waiting:
                    raise InvalidResponse("an answer that nobody asked for")
                request = waiting[0]
                if isinstance(answer, Exception):
                    request.failed = request.failed or answer
                request.answers.append(answer)
                if len(request.answers) == request.count:
                    waiting.popleft()
                    if request.failed is not None:
                        request.fail(request.failed)
                    elif not request.done.done():
                        request.done.set_result(request.answers)
        except InvalidResponse as error:
            self._lose(error)
            self._transport.close()

    def eof_received(self) -> None:
        self._lose(Lost("Connection closed by server."))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc if isinstance(exc, OSError) else Lost("Connection closed by server."))
        self._before.connection_lost(exc)  # redis-py waits for that when it disconnects

    def pause_writing(self) -> None:
        """Who sends waits for the answer before there is more."""

    def _lose(self, why: Exception) -> None:
        if self._lost is None:
            self._lost = why
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            request.fail(why)
