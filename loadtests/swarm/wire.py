"""A WebSocket over a plain blocking socket, for threads or for gevent's greenlets.

The protocol is the Sans-I/O layer of ``websockets``; this moves its bytes. One thread receives, any
may send. Knows frames, not what they mean.
"""

from __future__ import annotations

import os
import socket
import ssl as tls
import threading
from collections.abc import Iterable
from typing import Any, Final, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from trishula_protocol import limits

RECEIVE_BYTES: Final = 1 << 16


class Wire:
    """One connection, from the moment of the TCP connection on.

    Args:
        url: the hub.
        token: sent as ``Authorization: Bearer``.
        seconds: how long connecting may take.

    Attributes:
        opened: whether the hub has accepted the upgrade.
        error: why it is over, once it is.

    Raises:
        OSError: nobody is there, or not in time.
    """

    def __init__(self, url: str, token: str | None, seconds: float) -> None:
        uri = parse_uri(url)
        self.opened = False
        self.error = ""
        self._lock = threading.Lock()
        self._fragments: list[bytes] = []
        self._ws = ClientProtocol(
            uri,
            subprotocols=[cast(Subprotocol, limits.SUBPROTOCOL_JSON)],
            max_size=limits.CLIENT_FRAME_BYTES,
        )
        self._ws.debug = False  # it would log the token
        self._sock = socket.create_connection((uri.host, uri.port), seconds)
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if uri.secure:
                context = tls.create_default_context(cafile=os.environ.get("TRISHULA_CA_FILE"))
                self._sock = context.wrap_socket(self._sock, server_hostname=uri.host)
            request = self._ws.connect()
            if token is not None:
                request.headers["Authorization"] = f"Bearer {token}"
            self._ws.send_request(request)
            for data in self._ws.data_to_send():
                self._sock.sendall(data)
        except BaseException:
            self._sock.close()
            raise

    def patience(self, seconds: float) -> None:
        """After how long :meth:`receive` raises TimeoutError."""
        self._sock.settimeout(seconds)

    def receive(self) -> list[bytes] | None:
        """The text frames that one read brings; None when the connection is over.

        Raises:
            OSError: it broke, or nothing came in time (TimeoutError).
        """
        data = self._sock.recv(RECEIVE_BYTES)
        frames: list[bytes] = []
        with self._lock:
            if data:
                self._ws.receive_data(data)
            else:
                self._ws.receive_eof()
            for event in self._ws.events_received():
                if isinstance(event, Response):
                    self.opened = self._ws.handshake_exc is None
                    self.error = "" if self.opened else str(self._ws.handshake_exc)
                elif (frame := self._whole(event)) is not None:
                    frames.append(frame)
            self._write()
            closed = self._ws.close_rcvd
        if closed is not None:
            self.error = f"closed by the hub: {closed.code} {closed.reason}"
        elif not data:
            self.error = self.error or "the hub hung up"
        over = not data or self.error
        return None if over and not frames else frames

    def _whole(self, frame: Frame | Any) -> bytes | None:
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT):
            return None
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return None
        found, self._fragments = b"".join(self._fragments), []
        return found

    def send(self, frames: Iterable[bytes]) -> None:
        """Write text frames; nothing once the connection is closing. The reader hears of that."""
        with self._lock:
            for frame in frames:
                if self._ws.state is State.OPEN:
                    self._ws.send_text(frame)
            self._write()

    def _write(self) -> None:
        for data in self._ws.data_to_send():
            if not data:
                continue
            try:
                self._sock.sendall(data)
            except OSError as error:
                self.error = self.error or error.strerror or str(error)

    def cut(self) -> None:
        """End it without a word, as a crash does; whoever receives hears of it."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the hub was first

    def close(self) -> None:
        """Give the socket back; the reader does it at its end."""
        self._sock.close()
