"""One WebSocket connection: bytes in, envelopes to the driver; frames from the driver, bytes out.

Framing is the Sans-I/O layer of `websockets`, but for whole data frames (:mod:`.framing`), which
are nearly all there is. There is no task and no timer a connection, and nothing is kept of the
handshake, so that an idle one costs little. It knows no message's meaning, and of the hub only the
driver.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from websockets.frames import BINARY, CLOSE, CONT, TEXT, Frame
from websockets.protocol import OPEN, Protocol

from trishula_broker.auth.identity import Identity
from trishula_broker.net.crowd import Place
from trishula_broker.net.deadlines import Deadlines
from trishula_broker.net.driver import Driver
from trishula_broker.net.framing import BINARY as WHOLE_BINARY
from trishula_broker.net.framing import MASKED, head, masked_size, unmask
from trishula_broker.net.framing import TEXT as WHOLE_TEXT
from trishula_broker.net.ports import Core
from trishula_broker.net.settings import NetSettings
from trishula_protocol.codec import Codec
from trishula_protocol.errors import CloseCode, ErrorCode, ProtocolError

REASON_BYTES: Final = 123
"""A close frame's payload is 125 bytes at most, 2 of them the code (RFC 6455 §5.5)."""


class Surroundings(NamedTuple):
    """What all connections of a listener share."""

    driver: Driver
    settings: NetSettings
    deadlines: Deadlines


class WebSocketConnection(asyncio.Protocol):
    """One connection after its upgrade.

    It is *open*, then *closing* once either side began to close: from then on the driver hears
    nothing of what arrives; then *lost*. The driver hears of the end once.
    """

    __slots__ = (
        "__weakref__",
        "_around",
        "_beginning",
        "_binary",
        "_codec",
        "_deaf",
        "_message",
        "_missing",
        "_place",
        "_transport",
        "_ws",
        "core",
        "link",
    )

    core: Core
    link: int

    def __init__(
        self,
        around: Surroundings,
        transport: asyncio.Transport,
        ws: Protocol,
        codec: Codec,
        place: Place,
    ) -> None:
        self._around = around
        self._place: Place | None = place
        self._transport = transport
        self._ws = ws
        self._codec = codec
        self._beginning: bytearray | None = None
        """Of a frame, of which ``_missing`` bytes at least are still to come; ``_ws`` has none of
        it, and so is always between two frames."""
        self._missing = 0
        self._message: bytearray | None = None
        """The beginning of a fragmented message; ``_binary`` is its kind."""
        self._binary = False
        self._deaf = False
        """Set once the driver has been told of the end, or has asked for it."""

    def __repr__(self) -> str:
        size = self._transport.get_write_buffer_size() if self._ws.state is OPEN else 0
        return f"<WebSocketConnection {self.link} {self._ws.state.name} unsent={size}>"

    # --- the transport's side ---

    def start(self, namespace: str, peer: str, identity: Identity | None, data: bytes) -> None:
        """Begin, with the bytes that came behind the upgrade request."""
        self._transport.set_write_buffer_limits(high=self._around.settings.write_pause_bytes)
        self._around.driver.connect(namespace, self, self._codec, peer, identity)
        if data:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        beginning = self._beginning
        if beginning is not None:
            beginning += data
            self._missing -= len(data)
            if self._missing > 0 and not self._deaf:
                return
            data = bytes(beginning)
            self._beginning = None
        whole = WHOLE_BINARY if self._codec.binary else WHOLE_TEXT
        at, end = 0, len(data)
        while at < end:
            if self._deaf:
                self._feed(data[at:])  # nobody hears it any more, but for a close frame
                return
            if end - at < 2:
                self._keep(data[at:], 1)
                return
            size = data[at + 1] - MASKED
            if 0 <= size < 126 and self._message is None:
                body = at + 6
            else:
                length, size = masked_size(data, at)
                body = at + length
                if data[at + 1] < MASKED or size > self._room():
                    self._feed(data[at:])  # which says what is wrong
                    return
                if not length:
                    self._keep(data[at:], 1)
                    return
            following = body + size
            if following > end:
                self._keep(data[at:], following - end)
                return
            if data[at] == whole and self._message is None:
                self._take(unmask(data[body:following], data[body - 4 : body]))
            else:
                self._feed(data[at:following])
            at = following

    def _room(self) -> int:
        """Bytes that a frame may have now."""
        begun = 0 if self._message is None else len(self._message)
        return self._around.settings.frame_bytes - begun

    def _keep(self, beginning: bytes, missing: int) -> None:
        self._beginning = bytearray(beginning)
        self._missing = missing

    def _feed(self, data: bytes) -> None:
        """Have ``_ws`` make of it what it is."""
        ws = self._ws
        ws.receive_data(data)
        if ws.events:
            for event in ws.events_received():
                if not self._deaf and isinstance(event, Frame):
                    self._on_frame(event)
        if ws.writes:
            self.flush()
        if ws.state is not OPEN:
            self._ended(_why(ws))

    def _on_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is TEXT or opcode is BINARY:
            if frame.fin:
                self._on_message(opcode is BINARY, frame.data)
            else:
                self._binary = opcode is BINARY
                self._message = bytearray(frame.data)
        elif opcode is CONT:
            assert self._message is not None, "the Sans-I/O layer checks the order of fragments"
            self._message += frame.data
            if frame.fin:
                message, self._message = self._message, None
                self._on_message(self._binary, message)
        elif opcode is not CLOSE:
            self._around.driver.alive(self)

    def _on_message(self, binary: bool, data: bytes | bytearray | memoryview) -> None:
        driver, codec = self._around.driver, self._codec
        if binary is not codec.binary:
            kinds = ("text", "binary")
            problem = (
                f"frame: {codec.subprotocol} takes {kinds[codec.binary]} frames, "
                f"not {kinds[binary]} ones"
            )
            driver.unreadable(self, ProtocolError(ErrorCode.BAD_MESSAGE, problem))
        else:
            self._take(data if isinstance(data, bytes) else bytes(data))

    def _take(self, data: bytes) -> None:
        """A whole message of the kind that was agreed on."""
        driver = self._around.driver
        try:
            items = self._codec.decode(data)
        except ProtocolError as error:
            driver.unreadable(self, error)
        except Exception as error:
            driver.bug(self, error)
        else:
            driver.receive(self, items, len(data))

    def pause_writing(self) -> None:
        """More is unsent than a session should have."""
        if not self._deaf:
            self._around.driver.writable(self, False)

    def resume_writing(self) -> None:
        """The peer has read most of it."""
        if not self._deaf:
            self._around.driver.writable(self, True)

    def eof_received(self) -> None:
        """The peer writes no more; the transport closes itself."""
        self._ended("connection lost: end of stream")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._ended(f"connection lost: {exc}" if exc else "connection lost")
        self._around.deadlines.clear(self)

    def expired(self) -> None:
        """The peer took too long to close its end."""
        self._transport.abort()

    def _ended(self, reason: str) -> None:
        """The connection serves nobody any more; what is left is to see the socket off."""
        if not self._deaf:
            self._deaf = True
            self._around.deadlines.set(self, self._around.settings.close_s)
        self._message = None
        self._beginning = None
        self.registered()
        self._around.driver.disconnect(self, reason)

    # --- the driver's side ---

    def registered(self) -> None:
        """Its agent is known, or it serves nobody any more: it is no stranger."""
        place, self._place = self._place, None
        if place is not None:
            place.leave()

    def send(self, frame: bytes, binary: bool) -> None:
        """Add a frame to what :meth:`flush` writes."""
        ws = self._ws
        if ws.state is not OPEN:
            return
        if not ws.extensions:
            ws.writes.append(head(WHOLE_BINARY if binary else WHOLE_TEXT, len(frame)) + frame)
        elif binary:
            ws.send_binary(frame)
        else:
            ws.send_text(frame)

    def flush(self) -> None:
        """Write what was added with one call."""
        writes = self._ws.writes  # emptied, where `data_to_send` would have a new one made
        transport = self._transport
        if not writes or transport.is_closing():
            writes.clear()
            return
        end = not writes[-1]
        if end:
            writes.pop()
        if writes:
            transport.writelines(writes)
            writes.clear()
        if end:
            # Half-closed, not closed: closing a socket with unread bytes resets it, and the
            # peer would lose the close frame. TLS cannot; its own end reads what is left.
            if transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()
        elif (
            transport.get_write_buffer_size() > self._around.settings.write_limit_bytes
            and not self._deaf
        ):
            self.close(CloseCode.TRY_LATER, "this connection does not read what it is sent")

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake. What arrives from now on is not heard."""
        if self._ws.state is not OPEN:
            return
        self._deaf = True
        self._ws.send_close(code, reason.encode()[:REASON_BYTES].decode(errors="ignore"))
        self.flush()
        self._around.deadlines.set(self, self._around.settings.close_s)
        self.resume()  # or the peer's answer is never seen

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def pause(self) -> None:
        """Stop reading: the peer's bytes stay in the kernel's buffers, then in its own."""
        if not self._deaf:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()


def _why(ws: Protocol) -> str:
    """Why ``ws`` is not open any more, for a log."""
    if ws.close_rcvd is not None:
        return f"closed by the peer: {ws.close_rcvd.code}"
    if ws.close_sent is not None:
        return f"closed: {ws.close_sent.code} {ws.close_sent.reason}"
    return "connection lost"
