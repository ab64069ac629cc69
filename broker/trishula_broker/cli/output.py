"""Standard output: text for people or JSON for programs, and readers that leave.

Written with ``os.write``, so that nothing is left in a buffer when a reader leaves, and what was
printed before a message is settled is really out.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import click

from trishula_broker.cli.exits import ExitCode, Failure, PipeClosed

T = TypeVar("T")

as_json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="JSON, and nothing else, on stdout."
)
"""Of every command that has an :class:`Output`; its value is what that takes."""


class Output:
    """Where a command's results go.

    Args:
        as_json: whether they are JSON, UTF-8 whatever the terminal's encoding.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.terminal = sys.stdout is not None and sys.stdout.isatty()
        # Without standard output its number may be a socket's.
        self._fd = -1 if sys.stdout is None else sys.stdout.fileno()

    def lines(self, *lines: str) -> None:
        """Text for people."""
        self._write(_text(lines))

    def document(self, value: Any) -> None:
        """A JSON document on one line."""
        self._write(_json(value))

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._write(data)

    async def line_later(self, line: str) -> None:
        """As :meth:`lines`, while the event loop goes on whatever the reader does."""
        await self._write_later(_text([line]))

    async def document_later(self, value: Any) -> None:
        """As :meth:`document`, while the event loop goes on whatever the reader does."""
        await self._write_later(_json(value))

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BrokenPipeError:
            raise PipeClosed from None
        except OSError as error:
            text = f"standard output: {error.strerror}; what was not printed is not settled"
            raise Failure(ExitCode.REFUSED, text) from None

    async def _write_later(self, data: bytes) -> None:
        """A reader that stops reading, such as a pager, must not stop the heartbeats."""
        if self._fd < 0 or (len(data) <= select.PIPE_BUF and self._ready(select.POLLOUT)):
            self._write(data)
            return
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()

        def write() -> None:
            error: Exception | None = None
            try:
                self._write(data)
            except Exception as failed:
                error = failed
            try:
                loop.call_soon_threadsafe(_resolve, written, error)
            except RuntimeError:  # interrupted meanwhile: the loop is closed
                pass

        threading.Thread(target=write, daemon=True).start()
        await written

    def _ready(self, what: int) -> bool:
        poll = select.poll()
        poll.register(self._fd, what)
        return any(events & what for _, events in poll.poll(0))

    async def while_read(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work``; when the reader of a pipe leaves before it ends, end it.

        Raises:
            PipeClosed: the reader has left.
        """
        if self._fd < 0 or not stat.S_ISFIFO(os.fstat(self._fd).st_mode):
            return await work
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        left = False

        def look() -> None:
            nonlocal left
            # A pipe's writing end is reported to a reader only when the other end is gone.
            loop.remove_reader(self._fd)
            if self._ready(select.POLLERR | select.POLLHUP) and not left:
                left = True
                task.cancel()

        loop.add_reader(self._fd, look)
        try:
            return await work
        except asyncio.CancelledError:
            if left:
                raise PipeClosed from None
            raise
        finally:
            loop.remove_reader(self._fd)


def _text(lines: Any) -> bytes:
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    return "".join(f"{line}\n" for line in lines).encode(encoding, "backslashreplace")


def _json(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value) + b"\n"


def _resolve(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
