"""An agent over a plain blocking socket, for threads or for gevent's greenlets.

The protocol is ``trishula_protocol.ClientSession`` and the Sans-I/O layer of ``websockets``; this
file moves bytes. What survives a connection is as little as a load test needs: what was sent and
not accepted is sent again under its id, and whoever waits for an answer goes on waiting.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import ssl as tls
import threading
from time import monotonic, sleep
from typing import Any, Final, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State as Open
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from trishula_protocol import client_session as said
from trishula_protocol import limits
from trishula_protocol.address import HUB
from trishula_protocol.bodies import Deregister, Op, Register, Settle
from trishula_protocol.client_session import ClientSession, State
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode

RECEIVE_BYTES: Final = 1 << 16
TICK_SECONDS: Final = 5.0
"""How often heartbeats are looked after."""
HEARTBEAT_MS: Final = 20_000
AGAIN_SECONDS: Final = 0.05
"""Between two requests to be forgotten."""


class LoadError(Exception):
    """What a request failed by: the hub's refusal, silence, or a lost connection."""


class Counters:
    """What all agents of a process have seen."""

    def __init__(self) -> None:
        self.accepted = 0
        self.delivered = 0


class _Waiter:
    """Somebody who waits for an acceptance or an answer."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._error: LoadError | None = None
        self.value: Any = None

    def resolve(self, value: Any) -> None:
        self.value = value
        self._over.set()

    def fail(self, error: LoadError) -> None:
        self._error = error
        self._over.set()

    def wait(self, what: str, seconds: float) -> Any:
        if not self._over.wait(seconds):
            raise LoadError(f"{what}: nothing within {seconds:g} s")
        if self._error is not None:
            raise self._error
        return self.value


class SocketAgent:
    """One agent. It answers every command with its payload, and settles all else.

    Args:
        url: the hub.
        name: the agent's.
        counters: where to count.
        token: sent as ``Authorization: Bearer``.
        seconds: how long the hub may take for anything.
    """

    def __init__(
        self,
        url: str,
        name: str,
        counters: Counters,
        *,
        token: str | None = None,
        seconds: float = 10.0,
    ) -> None:
        self.name = name
        self.error = ""
        self._uri = parse_uri(url)
        self._token = token
        self._seconds = seconds
        self._counters = counters
        self._register = Register(name, heartbeat_ms=HEARTBEAT_MS, prefetch=1000)
        self._ids = (f"{secrets.token_hex(4)}-{number}" for number in itertools.count())
        self._unaccepted: dict[str, bytes] = {}
        self._accepting: dict[str, _Waiter] = {}
        self._answers: dict[str, _Waiter] = {}
        self._asking: dict[str, _Waiter] = {}
        self._answering: dict[str, int] = {}
        self._ws: ClientProtocol
        self._session: ClientSession | None = None
        self._fragments: list[bytes] = []
        self._sock: socket.socket | None = None
        self._lock = threading.RLock()
        self._reader: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<SocketAgent {self.name} {'open' if self.is_open else 'closed'}>"

    # --- life ---

    @property
    def is_open(self) -> bool:
        """Whether it is registered."""
        return self._sock is not None

    def open(self) -> None:
        """Connect and register.

        Raises:
            LoadError: the hub did not let it in, or there is none.
        """
        try:
            self._open()
        except OSError as error:
            raise LoadError(f"connect: {error.strerror or error}") from error

    def _open(self) -> None:
        sock = socket.create_connection((self._uri.host, self._uri.port), self._seconds)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._uri.secure:
                context = tls.create_default_context(cafile=os.environ.get("TRISHULA_CA_FILE"))
                sock = context.wrap_socket(sock, server_hostname=self._uri.host)
            self._upgrade(sock)
            session = self._session
            while session is None or session.state is State.REGISTERING:
                if not self._receive(sock):
                    raise LoadError(f"connect: {self.error or 'the hub hung up'}")
                session = self._session
            if session.state is State.CLOSED:
                raise LoadError(f"register: {self.error}")
        except BaseException:
            sock.close()
            raise
        sock.settimeout(TICK_SECONDS)
        with self._lock:
            self._sock = sock
            for part in self._unaccepted.values():
                session.send(part)
            self._flush(sock)
        self._reader = threading.Thread(target=self._read, args=[sock], daemon=True)
        self._reader.start()

    def _upgrade(self, sock: socket.socket) -> None:
        """Ask for a WebSocket."""
        self._session = None
        self._fragments = []
        self._ws = ClientProtocol(
            self._uri,
            subprotocols=[cast(Subprotocol, limits.SUBPROTOCOL_JSON)],
            max_size=limits.CLIENT_FRAME_BYTES,
        )
        self._ws.debug = False  # it would log the token
        request = self._ws.connect()
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        self._ws.send_request(request)
        for data in self._ws.data_to_send():
            sock.sendall(data)

    def drop(self) -> None:
        """Cut the connection without a word, as a crash does."""
        with self._lock:
            sock, self._sock = self._sock, None
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the hub was first
        if self._reader is not None:
            self._reader.join(self._seconds)  # it closes the socket

    def leave(self) -> None:
        """Be forgotten by the hub, and go.

        Raises:
            LoadError: it was not; something goes on being left in the mailbox, for one.
        """
        give_up = monotonic() + self._seconds
        try:
            while True:
                try:
                    self.ask(Deregister())
                    return
                except LoadError as error:
                    # What it holds is on its way to be settled.
                    if str(error) != ErrorCode.FORBIDDEN or monotonic() > give_up:
                        raise
                sleep(AGAIN_SECONDS)
        finally:
            self.drop()

    # --- what it says ---

    def send(self, kind: str, to: str, payload: Any, **fields: Any) -> None:
        """Send a message; returns once the hub has accepted it.

        Raises:
            LoadError: it was refused, or nothing was heard of it.
        """
        id = next(self._ids)
        self._submit(kind, id, to, payload, _Waiter(), **fields).wait("accepted", self._seconds)

    def command(self, to: str, payload: Any) -> Any:
        """Send a COMMAND and wait for its RESULT; that one's payload.

        Raises:
            LoadError: as :meth:`send`, or there was no answer, or an ERROR.
        """
        id = next(self._ids)
        answer = self._answers[id] = _Waiter()
        try:
            accepting = self._submit("COMMAND", id, to, payload, _Waiter())
            accepting.wait("accepted", self._seconds)
            return answer.wait("answer", self._seconds)
        finally:
            del self._answers[id]

    def ask(self, op: Op) -> Any:
        """Ask the hub; its answer's payload.

        Raises:
            LoadError: it was refused, or nothing was heard of it.
        """
        id, waiter = next(self._ids), _Waiter()
        with self._lock:
            if self._sock is None or self._session is None:
                raise LoadError(f"ask: not connected: {self.error}")
            self._asking[id] = waiter
            self._session.send(JSON.encode(Envelope("COMMAND", id=id, to=HUB, payload=op)))
            self._flush(self._sock)
        return waiter.wait("answer", self._seconds)

    def _submit(
        self, kind: Any, id: str, to: str, payload: Any, waiter: _Waiter | None, **fields: Any
    ) -> _Waiter:
        waiter = waiter or _Waiter()
        part = JSON.encode(Envelope(kind, id=id, to=to, payload=payload, **fields))
        self._accepting[id] = waiter
        with self._lock:
            self._unaccepted[id] = part
            if self._sock is not None and self._session is not None:
                self._session.send(part)
                self._flush(self._sock)
        return waiter

    # --- what it hears ---

    def _read(self, sock: socket.socket) -> None:
        """The reader's thread: until the connection ends."""
        try:
            while self._receive(sock):
                pass
        except OSError as error:
            self.error = error.strerror or str(error)
        with self._lock:
            if self._sock is sock:
                self._sock = None  # not our doing: the next request opens a new one
            sock.close()
            for waiter in self._asking.values():
                waiter.fail(LoadError(f"ask: not connected: {self.error}"))
            self._asking.clear()

    def _receive(self, sock: socket.socket) -> bool:
        """What one read brings; whether the connection goes on."""
        try:
            data = sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            if self._session is None or self._session.state is State.REGISTERING:
                raise
            with self._lock:
                self._hear(self._session.timeout(_now()))
                self._flush(sock)
            return self._session.state is State.ACTIVE
        with self._lock:
            ws = self._ws
            if data:
                ws.receive_data(data)
            else:
                ws.receive_eof()
            for event in ws.events_received():
                if isinstance(event, Response):
                    if ws.handshake_exc is not None:
                        self.error = str(ws.handshake_exc)
                        return False
                    self._session = ClientSession(self._register, next(self._ids), JSON, _now())
                else:
                    self._on_frame(event)
            self._flush(sock)
            if ws.close_rcvd is not None:
                self.error = f"closed by the hub: {ws.close_rcvd.code} {ws.close_rcvd.reason}"
                return False
        return bool(data)

    def _on_frame(self, frame: Frame | Any) -> None:
        assert self._session is not None
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT):
            return
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            whole, self._fragments = b"".join(self._fragments), []
            now = _now()
            self._hear(self._session.receive(JSON.decode(whole, from_hub=True), now))
            due = self._session.next_timeout()
            if due is not None and due <= now:
                self._hear(self._session.timeout(now))

    def _hear(self, events: list[said.Event]) -> None:
        for event in events:
            match event:
                case said.Accepted(ids):
                    self._counters.accepted += len(ids)
                    for id in ids:
                        self._unaccepted.pop(id, None)
                        self._answering.pop(id, None)
                        waiter = self._accepting.pop(id, None)
                        if waiter is not None:
                            waiter.resolve(None)
                case said.Answer(reply_to, payload):
                    waiter = self._asking.pop(reply_to, None)
                    if waiter is not None:
                        waiter.resolve(payload)
                case said.Refused(reply_to, error):
                    id = reply_to or ""
                    self._unaccepted.pop(id, None)
                    waiter = self._accepting.pop(id, None) or self._asking.pop(id, None)
                    if waiter is not None:
                        waiter.fail(LoadError(error.code))
                    seq = self._answering.pop(id, None)
                    if seq is not None and self._session is not None:
                        self._settle([seq])  # who asked has gone
                case said.Mail(envelopes):
                    self._on_mail(envelopes)
                case said.Closed(_, reason, error):
                    self.error = error.message if error is not None else reason
                case _:
                    pass

    def _on_mail(self, envelopes: list[Envelope]) -> None:
        assert self._session is not None
        done: list[int] = []
        self._counters.delivered += len(envelopes)
        for envelope in envelopes:
            if envelope.seq is None:
                continue
            if envelope.type == "COMMAND" and envelope.sender is not None:
                id = next(self._ids)
                answer = Envelope(
                    "RESULT",
                    id=id,
                    to=envelope.sender,
                    reply_to=envelope.id,
                    settles=envelope.seq,
                    payload=envelope.payload,
                )
                self._answering[id] = envelope.seq
                self._unaccepted[id] = part = JSON.encode(answer)
                self._session.send(part)
                continue
            done.append(envelope.seq)
            answered = self._answers.get(envelope.reply_to or "")
            if answered is None:
                continue
            if envelope.type == "RESULT":
                answered.resolve(envelope.payload)
            elif envelope.type == "ERROR":
                answered.fail(LoadError(f"answered by ERROR: {envelope.payload}"))
        if done:
            self._settle(done)

    def _settle(self, seqs: list[int]) -> None:
        assert self._session is not None
        self._session.send(JSON.encode(Envelope("ACK", to=HUB, payload=Settle(seqs))))

    def _flush(self, sock: socket.socket) -> None:
        """Write what is ready; the lock is held, so that frames do not mix."""
        if self._session is not None and self._ws.state is Open.OPEN:
            for frame in self._session.frames():
                self._ws.send_text(frame)
        try:
            for data in self._ws.data_to_send():
                if data:
                    sock.sendall(data)
        except OSError as error:
            self.error = error.strerror or str(error)
            self._sock = None  # the reader hears of it, too


def _now() -> int:
    return int(monotonic() * 1000)
