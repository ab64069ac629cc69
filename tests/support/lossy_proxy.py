"""A TCP proxy in front of a server, which loses answers when it is told to."""

from __future__ import annotations

import asyncio
import contextlib


class LossyProxy:
    """Passes on what comes, both ways; ``port`` is where.

    ``swallow`` is how many more answers are read from the server before one is lost and its
    connection cut; None: none is. With ``every`` it is set to that again each time. ``silent``
    drops everything without a sign; :meth:`hold` keeps it, as a cable pulled for a while does,
    and :meth:`cut` resets whoever is connected or comes.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self.port = 0
        self.swallow: int | None = None
        self.every: int | None = None
        self.silent = False
        self.lost = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everybody off."""
        if self._server is not None:
            self._server.close()
        self._abort()
        self._flowing.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def hold(self) -> None:
        """Keep all that comes until :meth:`restore`, when it goes on, late."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset every connection, and those that come until :meth:`restore`."""
        self._refusing = True
        self._abort()

    def restore(self) -> None:
        """After :meth:`hold` or :meth:`cut`: pass on again."""
        self._refusing = False
        self._flowing.set()

    def _abort(self) -> None:
        for stream in list(self._streams):
            stream.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._refusing:
                writer.transport.abort()
                return
            try:
                there, here = await asyncio.open_connection("127.0.0.1", self._server_port)
            except OSError:  # the server is away
                writer.transport.abort()
                return
            await self._connected(reader, writer, there, here)
        finally:
            self._tasks.discard(task)

    async def _connected(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        here: asyncio.StreamWriter,
    ) -> None:
        streams = {writer, here}
        self._streams |= streams
        asking = asyncio.create_task(self._ask(reader, here))
        with contextlib.suppress(OSError):
            await self._answer(there, writer)
        for stream in streams:
            stream.transport.abort()
        for stream in streams:
            with contextlib.suppress(OSError):
                await stream.wait_closed()
        await asking
        self._streams -= streams

    async def _ask(self, reader: asyncio.StreamReader, here: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                if not self.silent:
                    here.write(data)
                    await here.drain()
        here.transport.abort()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(65536):
            if self.swallow is not None:
                self.swallow -= 1
                if self.swallow < 0:
                    self.swallow = self.every
                    self.lost += 1
                    return
            await self._flowing.wait()
            if not self.silent:
                writer.write(data)
                await writer.drain()
