"""One WebSocket to a hub: asyncio around the Sans-I/O layer of ``websockets``.

Knows frames, not what they mean. The token travels in a header and is in no log and no repr.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl as tls
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from trishula.framing import TEXT, Masks, frame_size, text_frame
from trishula_protocol import limits
from trishula_protocol.client_session import ABNORMAL

WRITE_BUFFER: Final = 1 << 20
"""Bytes in the transport's buffer at which writing pauses."""
CLOSE_SECONDS: Final = 1.0
"""How long the hub may take to end the TCP connection after the close frames."""

START_ONE: Final = "is a hub running there? `broker serve` starts one"
SPEAKS_TLS: Final = "does it speak TLS? a hub does with --tls-cert; else use ws://"
TLS_PORT: Final = "This port speaks TLS"
"""What a hub with TLS answers to a request in plain text."""
PASSING: Final = frozenset({401, 403, 408, 425, 429})
"""HTTP refusals below 500 that another attempt, or another token, may overcome."""

NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})
"""What OpenSSL says of an answer in plain text, by version."""

UNTRUSTED: Final = {
    9: "its certificate is not valid yet: is the clock of this host right?",
    10: "its certificate has expired: put a new one there",
    62: "its certificate is for other names: use a URL with one of them",
    64: "its certificate is for other addresses: use a URL with a name that it is for",
}
"""What to do about a certificate, by OpenSSL's code (X509_V_ERR_…)."""
UNKNOWN_AUTHORITY: Final = (
    "its certificate is of an authority that is not known here: name that one's with ca_file, "
    "--ca-file or TRISHULA_CA_FILE"
)

_log = logging.getLogger("trishula.websocket")


class ConnectFailed(Exception):
    """A hub could not be reached, or did not speak WebSocket.

    Attributes:
        reason: for people.
        hint: what to do about it; may be empty.
        status: the HTTP status that refused the upgrade, None when it did not come to that.
        retry_after: seconds the hub asks us to wait.
        final: there is no hub under this URL, and waiting will not bring one.
    """

    def __init__(
        self,
        reason: str,
        hint: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(reason, hint)
        self.reason = reason
        self.hint = hint
        self.status = status
        self.retry_after = retry_after
        self.final = final

    def __str__(self) -> str:
        return self.reason

    @property
    def refused(self) -> bool:
        """The hub is there, and does not take the token."""
        return self.status in (401, 403)


def check_url(url: str) -> str:
    """``url`` as it may be shown: without credentials and query.

    Raises:
        ValueError: it is not a WebSocket URL.
    """
    try:
        uri = parse_uri(url)
    except (InvalidURI, ValueError) as error:
        raise ValueError(_url_fault(url)) from error
    return _shown(uri, uri.path)


def _shown(uri: WebSocketURI, path: str, secure: bool | None = None) -> str:
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    secure = uri.secure if secure is None else secure
    return f"{'wss' if secure else 'ws'}://{host}:{uri.port}{path}"


def _url_fault(url: str) -> str:
    """What is wrong with it, without credentials and query."""
    scheme, found, rest = url.partition("?")[0].rpartition("://")
    rest = rest.rpartition("@")[2]
    shown = f"{scheme}{found}{rest}"
    if scheme.lower() in ("ws", "wss") or not rest.strip("/"):
        return f"url: {shown!r} is not like ws://host:{limits.DEFAULT_PORT}{limits.WEBSOCKET_PATH}"
    right = "wss" if scheme.lower() == "https" else "ws"
    return f"url: {shown!r} must begin with ws:// or wss://; use {right}://{rest}"


class Link(asyncio.Protocol):
    """One connection. Made by :func:`open_link`.

    ``on_frame(bytes)``, ``on_alive()`` for pings and pongs, ``on_writable()`` when the
    transport's buffer has drained, ``on_lost(code, reason)`` once, are set by the owner.
    """

    def __init__(self, uri: WebSocketURI, token: str | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._ws = ClientProtocol(
            uri,
            subprotocols=[cast(Subprotocol, limits.SUBPROTOCOL_JSON)],
            max_size=limits.CLIENT_FRAME_BYTES,
            logger=_log,
        )
        # At debug level it would log every header, the token too.
        self._ws.debug = False
        self._uri = uri
        self._token = token
        self._transport: asyncio.Transport | None = None
        self._fragments: list[bytes] = []
        self._killer: asyncio.TimerHandle | None = None
        self._lost = False
        self._masks = Masks()
        self._aligned = False
        """Whether ``_ws`` is between two frames: whole text frames need not pass through it."""
        self._pieces: list[bytes] = []
        """The beginning of a frame, of which ``_missing`` bytes at least are still to come."""
        self._missing = 0
        self.paused = False
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.on_frame: Callable[[bytes], None] = lambda frame: None
        self.on_alive: Callable[[], None] = lambda: None
        self.on_writable: Callable[[], None] = lambda: None
        self.on_lost: Callable[[int, str], None] = lambda code, reason: None

    def __repr__(self) -> str:
        return f"<Link {self._ws.state.name.lower()}{' paused' if self.paused else ''}>"

    # what the owner does

    def send(self, frame: bytes) -> None:
        """Write a data frame; silently nothing once the connection is closing."""
        transport = self._transport
        if self._ws.state is State.OPEN and transport is not None and not transport.is_closing():
            transport.write(text_frame(frame, self._masks.next()))

    def close(self, code: int, reason: str) -> None:
        """Say why, and end the connection soon. ``on_lost`` is not called any more."""
        self._lost = True
        if self._ws.state is State.OPEN:
            self._ws.send_close(code if code == 1000 or 3000 <= code < 5000 else 1001, reason[:100])
            self._write()
            self._end_soon()
        else:
            self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self._lost = True
        if self._transport is not None:
            self._transport.abort()

    # what the transport does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        request = self._ws.connect()
        if self._token is not None:
            if "Authorization" in request.headers:
                del request.headers["Authorization"]
            request.headers["Authorization"] = f"Bearer {self._token}"
        self._ws.send_request(request)
        self._write()

    def data_received(self, data: bytes) -> None:
        if not self._aligned:
            self._feed(data)
            return
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces = []
        at, end = 0, len(data)
        while at < end:
            if self._lost or self._ws.state is not State.OPEN:
                self._feed(data[at:])  # nobody hears it any more
                return
            if at + 2 > end:
                self._keep(data[at:], 1)
                return
            if data[at + 1] > 127:  # masked, which is a mistake
                self._feed(data[at:])
                return
            head, size = frame_size(data, at)
            following = at + head + size
            if size > limits.CLIENT_FRAME_BYTES:
                self._feed(data[at:])
                return
            if not head or following > end:
                self._keep(data[at:], following - end if head else 1)
                return
            if data[at] == TEXT and not self._fragments:
                self.on_frame(data[at + head : following])
            else:
                self._feed(data[at:following])
            at = following

    # inside

    def _keep(self, beginning: bytes, missing: int) -> None:
        self._pieces = [beginning]
        self._missing = missing

    def _feed(self, data: bytes) -> None:
        """Have ``_ws`` make of it what it is."""
        ws = self._ws
        if ws.state is State.CLOSED:
            return
        opening = ws.state is State.CONNECTING
        ws.receive_data(data)
        for event in ws.events_received():
            if isinstance(event, Response):
                self._on_response(event)
            elif not self._lost:
                self._on_frame(event)
        if opening and ws.state is State.OPEN:
            # A hub says nothing before it was told something: behind its response is nothing.
            self._aligned = data.endswith(b"\r\n\r\n")
        self._write()
        if ws.parser_exc is not None:
            self._report(ws.close_sent.code if ws.close_sent else ABNORMAL, str(ws.parser_exc))
            self._end_soon()

    def eof_received(self) -> None:
        self._ws.receive_eof()
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ws.state is not State.CLOSED:
            self._ws.receive_eof()
        self._ws.data_to_send()
        self._transport = None
        if self._killer is not None:
            self._killer.cancel()
        why = str(exc) if exc else "the connection ended without a close frame"
        self._fail_opening(ConnectFailed(why))
        if not self.ended.done():
            self.ended.set_result(None)
        self._report(ABNORMAL, why)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.on_writable()

    def _write(self) -> None:
        transport = self._transport
        for data in self._ws.data_to_send():
            if transport is None or transport.is_closing():
                continue
            if data:
                transport.write(data)
            elif self._ws.state is State.CONNECTING or self._ws.state is State.CLOSED:
                transport.close()

    def _on_response(self, response: Response) -> None:
        error = self._ws.handshake_exc
        if self.opened.done():
            return
        if error is None:
            self.opened.set_result(None)
        elif isinstance(error, InvalidStatus):
            self._fail_opening(_refusal(response, self._uri))
        else:
            self._fail_opening(ConnectFailed(str(error)))

    def _fail_opening(self, error: ConnectFailed) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # nobody may be waiting any more; that is no mistake

    def _on_frame(self, frame: Frame | Any) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY or opcode is Opcode.CONT:
            if frame.fin and not self._fragments:
                self.on_frame(bytes(frame.data))
                return
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(self._fragments)
                self._fragments = []
                self.on_frame(whole)
        elif opcode is Opcode.CLOSE:
            close = self._ws.close_rcvd
            assert close is not None
            self._report(int(close.code), close.reason)
            self._end_soon()
        else:
            self.on_alive()

    def _report(self, code: int, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self.on_lost(code, reason)

    def _end_soon(self) -> None:
        if self._killer is None and self._transport is not None:
            self._killer = self._loop.call_later(CLOSE_SECONDS, self._transport.abort)


async def open_link(
    url: str, *, token: str | None, ssl: tls.SSLContext | None, seconds: float
) -> Link:
    """Connect and upgrade; names are resolved now.

    Raises:
        ConnectFailed: it did not succeed within ``seconds``, or was refused.
    """
    uri = parse_uri(url)
    loop = asyncio.get_running_loop()
    secure = (ssl or tls.create_default_context()) if uri.secure else None
    link: Link | None = None
    try:
        async with asyncio.timeout(seconds):
            _, link = await loop.create_connection(
                lambda: Link(uri, token),
                uri.host,
                uri.port,
                ssl=secure,
                server_hostname=uri.host if secure else None,
            )
            await link.opened
            return link
    except BaseException as error:
        if link is not None:
            link.abort()
        if isinstance(error, TimeoutError):
            hint = SPEAKS_TLS if uri.secure else START_ONE
            raise ConnectFailed(f"no answer within {seconds:g} s", hint) from error
        if isinstance(error, tls.SSLCertVerificationError):
            todo = UNTRUSTED.get(error.verify_code, UNKNOWN_AUTHORITY)
            raise ConnectFailed(f"{todo} ({error.verify_message})") from error
        if isinstance(error, tls.SSLError) and error.reason in NOT_TLS:
            use = f"it does not speak TLS; use {_shown(uri, uri.path, secure=False)}"
            raise ConnectFailed(_why(error), use, final=True) from error
        if isinstance(error, OSError):
            hint = "" if isinstance(error, (socket.gaierror, tls.SSLError)) else START_ONE
            if uri.secure and isinstance(error, ConnectionResetError):
                hint = SPEAKS_TLS
            raise ConnectFailed(_why(error), hint) from error
        if isinstance(error, UnicodeError):
            raise ConnectFailed(f"{uri.host!r} is not a host's name") from error
        raise


def _why(error: OSError) -> str:
    # asyncio tells the address again in place of the reason; names and TLS have their own errors.
    if error.errno and not isinstance(error, (socket.gaierror, tls.SSLError)):
        return os.strerror(error.errno)
    return error.strerror or str(error) or "the connection was cut"


def _refusal(response: Response, uri: WebSocketURI) -> ConnectFailed:
    status = response.status_code
    said = _detail(bytes(response.body or b"")) if status >= 400 else ""
    reason = f"HTTP {status} {response.reason_phrase}" + (f": {said}" if said else "")
    if said.startswith(TLS_PORT):
        use = f"use {_shown(uri, uri.path, secure=True)}"
        return ConnectFailed(reason, use, status=status, final=True)
    if status < 500 and status not in PASSING:
        use = f"no hub is under this path; use {_shown(uri, limits.WEBSOCKET_PATH)}"
        if uri.path == limits.WEBSOCKET_PATH:
            use = "what listens there is not a hub, or hides it under another path"
        return ConnectFailed(reason, use, status=status, final=True)
    wait = response.headers.get("Retry-After", "")
    seconds = float(wait) if wait.isdecimal() else None
    return ConnectFailed(reason, status=status, retry_after=seconds)


def _detail(body: bytes) -> str:
    """What a refusal says: the ``detail`` of a problem (RFC 9457), or else its beginning; nothing
    of a page for browsers, as proxies send."""
    try:
        return msgspec.json.decode(body, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeError):
        text = body[:200].decode(errors="replace").strip()
        return "" if text.startswith("<") else text


class _Problem(msgspec.Struct):
    detail: str
