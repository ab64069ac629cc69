"""A connection to a port that speaks TLS, of which not one byte has come yet.

Its first byte says whether it speaks TLS; it is looked at and not taken, so that whoever goes on
reads all. Until then it costs a descriptor and no buffers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from trishula_broker.net.crowd import Place
from trishula_broker.net.deadlines import Deadlines

HANDSHAKE: Final = b"\x16"
"""What a TLS connection begins with (RFC 8446 §5.1: the content type of a handshake record)."""


class Arrival:
    """Waits for the first byte.

    Args:
        taken: the socket, not blocking.
        place: its place among the strangers.
        speaks: called with this and the first byte.
        gone: called with this when it went or was silent for too long.
    """

    def __init__(
        self,
        taken: socket.socket,
        peer: str,
        place: Place,
        speaks: Callable[[Arrival, bytes], None],
        gone: Callable[[Arrival], None],
    ) -> None:
        self.socket = taken
        self.peer = peer
        self.place = place
        self._speaks = speaks
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._deadlines: Deadlines | None = None

    def __repr__(self) -> str:
        return f"<Arrival {self.peer}>"

    def wait(self, deadlines: Deadlines, seconds: float) -> None:
        """Wait for it, for so long."""
        self._deadlines = deadlines
        deadlines.set(self, seconds)
        self._loop.add_reader(self.socket.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            first = self.socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            first = b""
        self._stop()
        if first:
            self._speaks(self, first)
        else:
            self._leave()

    def expired(self) -> None:
        """It said nothing."""
        self._stop()
        self._leave()

    def _leave(self) -> None:
        self.socket.close()
        self._gone(self)

    def _stop(self) -> None:
        self._loop.remove_reader(self.socket.fileno())
        if self._deadlines is not None:
            self._deadlines.clear(self)
