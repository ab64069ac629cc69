"""An agent for load tests, over a blocking socket: for threads or for gevent's greenlets.

The protocol is ``trishula_protocol.ClientSession``. What survives a connection is as little as a
load test needs: what was sent and not accepted is sent again under its id, and whoever waits for an
answer goes on waiting.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from time import monotonic, sleep
from typing import Any, Final

from loadtests.swarm.wire import Wire
from trishula_protocol import client_session as said
from trishula_protocol.address import HUB
from trishula_protocol.bodies import Deregister, Op, Register, Settle
from trishula_protocol.client_session import ClientSession, State
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode

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
        self._url = url
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
        self._session: ClientSession
        self._wire: Wire | None = None
        self._lock = threading.RLock()
        self._reader: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<SocketAgent {self.name} {'open' if self.is_open else 'closed'}>"

    # --- life ---

    @property
    def is_open(self) -> bool:
        """Whether it is registered."""
        return self._wire is not None

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
        wire = Wire(self._url, self._token, self._seconds)
        try:
            self._session = ClientSession(self._register, next(self._ids), JSON, _now())
            registering = self._session.frames()
            while self._session.state is State.REGISTERING:
                frames = wire.receive()
                if frames is None:
                    raise LoadError(f"connect: {wire.error}")
                if wire.opened:
                    wire.send(registering)
                    registering = []
                self._on_frames(frames)
            if self._session.state is State.CLOSED:
                raise LoadError(f"register: {self.error}")
        except BaseException:
            wire.close()
            raise
        wire.patience(TICK_SECONDS)
        with self._lock:
            self._wire = wire
            for part in self._unaccepted.values():
                self._session.send(part)
            wire.send(self._session.frames())
        self._reader = threading.Thread(target=self._read, args=[wire], daemon=True)
        self._reader.start()

    def drop(self) -> None:
        """Cut the connection without a word, as a crash does."""
        with self._lock:
            wire, self._wire = self._wire, None
        if wire is not None:
            wire.cut()
        if self._reader is not None:
            self._reader.join(self._seconds)

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
        self._submit(kind, id, to, payload, **fields).wait("accepted", self._seconds)

    def command(self, to: str, payload: Any) -> Any:
        """Send a COMMAND and wait for its RESULT; that one's payload.

        Raises:
            LoadError: as :meth:`send`, or there was no answer, or an ERROR.
        """
        id = next(self._ids)
        answer = self._answers[id] = _Waiter()
        try:
            self._submit("COMMAND", id, to, payload).wait("accepted", self._seconds)
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
            if self._wire is None:
                raise LoadError(f"ask: not connected: {self.error}")
            self._asking[id] = waiter
            self._session.send(JSON.encode(Envelope("COMMAND", id=id, to=HUB, payload=op)))
            self._wire.send(self._session.frames())
        return waiter.wait("answer", self._seconds)

    def _submit(self, kind: Any, id: str, to: str, payload: Any, **fields: Any) -> _Waiter:
        part = JSON.encode(Envelope(kind, id=id, to=to, payload=payload, **fields))
        waiter = self._accepting[id] = _Waiter()
        with self._lock:
            self._unaccepted[id] = part
            if self._wire is not None:
                self._session.send(part)
                self._wire.send(self._session.frames())
        return waiter

    # --- what it hears ---

    def _read(self, wire: Wire) -> None:
        """The reader's thread: until the connection ends."""
        try:
            while self._session.state is State.ACTIVE:
                try:
                    frames = wire.receive()
                except TimeoutError:
                    frames = []
                if frames is None:
                    break
                with self._lock:
                    self._on_frames(frames)
                    wire.send(self._session.frames())
            self.error = wire.error or self.error
        except OSError as error:
            self.error = error.strerror or str(error)
        with self._lock:
            if self._wire is wire:
                self._wire = None  # not our doing: the next request opens a new one
            wire.close()
            for waiter in self._asking.values():
                waiter.fail(LoadError(f"ask: not connected: {self.error}"))
            self._asking.clear()

    def _on_frames(self, frames: list[bytes]) -> None:
        now = _now()
        for frame in frames:
            self._hear(self._session.receive(JSON.decode(frame, from_hub=True), now))
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
                    if seq is not None:
                        self._settle([seq])  # who asked has gone
                case said.Mail(envelopes):
                    self._on_mail(envelopes)
                case said.Closed(_, reason, error):
                    self.error = error.message if error is not None else reason
                case _:
                    pass

    def _on_mail(self, envelopes: list[Envelope]) -> None:
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
        self._session.send(JSON.encode(Envelope("ACK", to=HUB, payload=Settle(seqs))))


def _now() -> int:
    return int(monotonic() * 1000)
