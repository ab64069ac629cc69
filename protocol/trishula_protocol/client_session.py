"""The agent's end of one connection, as a state machine (docs/protocol.md §3).

Knows one connection and nothing that outlives it: it registers, says what an incoming envelope
is, keeps the heartbeat, and joins what is to be sent into frames. What must survive a connection
(unaccepted messages, unsettled mail) is ``trishula.core``'s.

Items as ``codec.decode()`` gave them and monotonic milliseconds go in, typed events come out::

    session = ClientSession(register, register_id, JSON, now)   # the transport is up
    write(session.frames())                                     # the registration
    for event in session.receive(JSON.decode(frame), now): ...
    session.send(part); write(session.frames())
    session.next_timeout(); session.timeout(now)                # heartbeat, silence
    session.closed(code, reason)                                # the transport is gone
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final
from zlib import crc32

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import HUB
from trishula_protocol.bodies import ErrorBody, HubAck, Register, Registered
from trishula_protocol.codec import Codec, Item
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import CloseCode, ErrorCode, ProtocolError


class State(Enum):
    """Where a connection is in its life."""

    REGISTERING = "registering"
    ACTIVE = "active"
    CLOSED = "closed"


class Trigger(Enum):
    """What moves a connection on."""

    REGISTERED = "registered"
    REFUSED = "refused"
    ENDED = "ended"


TRANSITIONS: Final[dict[State, dict[Trigger, State]]] = {
    State.REGISTERING: {
        Trigger.REGISTERED: State.ACTIVE,
        Trigger.REFUSED: State.CLOSED,
        Trigger.ENDED: State.CLOSED,
    },
    State.ACTIVE: {Trigger.ENDED: State.CLOSED},
    State.CLOSED: {Trigger.ENDED: State.CLOSED},
}

ABNORMAL: Final = 1006
"""Code of an ending without a close frame (RFC 6455 §7.1.5); never on the wire."""
LATE: Final = 4
"""A timer late by more than a heartbeat divided by this: we were stopped, not the hub."""


# --- events ------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of what a session reports."""


class Opened(Event, frozen=True, gc=False):
    """Registered; from now on anything may be sent."""

    info: Registered


class Accepted(Event, frozen=True, gc=False):
    """The hub has stored the messages with these ids."""

    ids: list[str]


class Settled(Event, frozen=True, gc=False):
    """These seqs are settled for good."""

    seqs: list[int]


class FolderMode(Event, frozen=True, gc=False):
    """The hub orders agents that have a shared folder to it (``on``), or back, from now on."""

    on: bool


class Receipt(Event, frozen=True, gc=False):
    """What became of messages sent with ``receipt``: ``delivered``, ``read`` or ``done``."""

    stage: str
    ids: list[str]
    by: str


class Mail(Event, frozen=True, gc=False):
    """Deliveries in their order; every one has ``sender`` and ``id``.

    One without ``seq`` (the hub's presence news, for instance) is never settled.
    """

    envelopes: list[Envelope]


class Answer(Event, frozen=True, gc=False):
    """The hub's RESULT for an operation asked with id ``reply_to``."""

    reply_to: str
    payload: Any


class Refused(Event, frozen=True, gc=False):
    """The hub's direct ERROR: about the envelope ``reply_to``, or None when it cannot say."""

    reply_to: str | None
    error: ErrorBody


class Trouble(Event, frozen=True, gc=False):
    """Something of the hub's that cannot be read. It costs itself alone."""

    reason: str


class Closed(Event, frozen=True, gc=False):
    """The connection is over, or must be ended by the transport.

    ``error`` is the hub's refusal when it did not let us register.
    """

    code: int
    reason: str
    error: ErrorBody | None = None


# --- the machine -------------------------------------------------------------------------------


class ClientSession:
    """One connection, from the moment its transport is up.

    Args:
        register: what to register as; times in milliseconds.
        register_id: the id of that envelope.
        codec: the encoding that was negotiated.
        now: monotonic milliseconds, as everywhere here.
    """

    def __init__(self, register: Register, register_id: str, codec: Codec, now: int) -> None:
        self.state = State.REGISTERING
        self.info: Registered | None = None
        self.hub_ready = True
        """What the hub's last heartbeat said: False when it could not reach its store."""
        self._folder_mode = False
        self._codec = codec
        self._register_id = register_id
        self._frame_bytes = limits.HUB_FRAME_BYTES
        self._batch = limits.BATCH
        self._parts: list[bytes] = []
        self._heartbeat_ms = register.heartbeat_ms
        # A hub that froze after the upgrade is left as soon as one that freezes later.
        patience = limits.HEARTBEATS_MISSED * register.heartbeat_ms
        self._silent_at = now + min(patience, limits.REGISTER_TIMEOUT_MS)
        self._beat_at: int | None = None
        self._beat = codec.encode(Envelope("HEARTBEAT"))
        hello = Envelope("COMMAND", id=register_id, to=HUB, payload=register)
        self._parts.append(codec.encode(_plain(hello)))

    def __repr__(self) -> str:
        return f"<ClientSession {self.state.value}, {len(self._parts)} to send>"

    @property
    def frame_bytes(self) -> int:
        """Bytes of the largest frame this hub takes."""
        return self._frame_bytes

    # what arrives

    def receive(self, items: Sequence[Item], now: int) -> list[Event]:
        """What the envelopes of a frame mean, in their order."""
        if self.state is State.CLOSED:
            return []
        self.alive(now)
        events: list[Event] = []
        mail: list[Envelope] = []
        for item in items:
            if isinstance(item, Envelope):
                if item.seq is not None and item.id is not None and item.sender is not None:
                    mail.append(item)
                    continue
                event = self._direct(item, now)
            else:
                event = Trouble(str(item))
            if event is None:
                continue
            if mail:
                events.append(Mail(mail))
                mail = []
            events.append(event)
        if mail:
            events.append(Mail(mail))
        return events

    def alive(self, now: int) -> None:
        """Something of the peer's arrived, a ping or pong for instance."""
        if self.state is State.ACTIVE:
            self._silent_at = now + limits.HEARTBEATS_MISSED * self._heartbeat_ms

    def closed(self, code: int, reason: str) -> list[Event]:
        """The transport has ended. Reported once, whoever ended it."""
        if self.state is State.CLOSED:
            return []
        self._advance(Trigger.ENDED)
        return [Closed(code, reason)]

    # what leaves

    def send(self, part: bytes) -> None:
        """Queue an envelope that was encoded with this session's codec.

        Raises:
            ProtocolError: ``too_large``; no frame of this hub can hold it.
        """
        if len(part) > self._frame_bytes:
            raise ProtocolError(
                ErrorCode.TOO_LARGE,
                f"envelope: {len(part)} bytes, this hub takes {self._frame_bytes}",
            )
        self._parts.append(part)

    def frames(self) -> list[bytes]:
        """All that is ready, in as few frames as the hub's limits allow; given out once."""
        parts = self._parts
        if not parts:
            return []
        self._parts = []
        # A frame of n parts has n - 1 commas and 2 brackets; MessagePack has less.
        size = sum(map(len, parts)) + len(parts) + 1
        if len(parts) == 1 or (len(parts) <= self._batch and size <= self._frame_bytes):
            return [self._codec.frame(parts)]
        frames: list[bytes] = []
        batch: list[bytes] = []
        size = 1
        for part in parts:
            if batch and (len(batch) == self._batch or size + len(part) + 1 > self._frame_bytes):
                frames.append(self._codec.frame(batch))
                batch = []
                size = 1
            batch.append(part)
            size += len(part) + 1
        frames.append(self._codec.frame(batch))
        return frames

    # time

    def next_timeout(self) -> int | None:
        """When to call :meth:`timeout`; it may move, so ask again after every call."""
        if self.state is State.CLOSED:
            return None
        if self._beat_at is None or self._silent_at < self._beat_at:
            return self._silent_at
        return self._beat_at

    def timeout(self, now: int) -> list[Event]:
        """Send the heartbeat that is due, or give up a hub that is silent."""
        if self.state is State.CLOSED:
            return []
        if now >= self._silent_at:
            late = now - self._silent_at
            if self.state is State.ACTIVE and late > self._heartbeat_ms // LATE:
                # What the hub said meanwhile may wait in the socket, unread: ask once more.
                self._silent_at = now + self._heartbeat_ms
                self._beat_at = now
            else:
                why = "hub is silent" if self.state is State.ACTIVE else "registration unanswered"
                self._advance(Trigger.ENDED)
                return [Closed(CloseCode.HEARTBEAT, why)]
        if self._beat_at is not None and now >= self._beat_at:
            self._parts.append(self._beat)
            # Of agents that were held up together each keeps its turn.
            following = self._beat_at + self._heartbeat_ms
            self._beat_at = following if following > now else now + self._heartbeat_ms
        return []

    # inside

    def _advance(self, trigger: Trigger) -> None:
        self.state = TRANSITIONS[self.state][trigger]
        if self.state is State.CLOSED:
            self._parts.clear()

    def _direct(self, envelope: Envelope, now: int) -> Event | None:
        """An envelope that is not a stored message."""
        kind = envelope.type
        if kind == "ACK":
            return _ack(envelope.payload)
        if kind == "HEARTBEAT":
            told = envelope.payload
            self.hub_ready = not (isinstance(told, dict) and told.get("ready") is False)
            on = isinstance(told, dict) and told.get("folder_mode") is True
            if self.state is not State.ACTIVE or on is self._folder_mode:
                return None
            self._folder_mode = on
            return FolderMode(on)
        if kind == "ERROR":
            error = _error(envelope.payload)
            if self.state is State.REGISTERING and envelope.reply_to in (None, self._register_id):
                self._advance(Trigger.REFUSED)
                return Closed(CloseCode.PROTOCOL, f"registration refused: {error.message}", error)
            return Refused(envelope.reply_to, error)
        if kind == "RESULT" and envelope.reply_to is not None and envelope.sender in (None, HUB):
            if self.state is State.REGISTERING and envelope.reply_to == self._register_id:
                return self._opened(envelope.payload, now)
            return Answer(envelope.reply_to, envelope.payload)
        if envelope.sender is None:
            return Trouble(f"a {kind} without a sender")
        return Mail([envelope])

    def _opened(self, payload: Any, now: int) -> Event:
        try:
            info = msgspec.convert(payload, Registered)
        except msgspec.ValidationError as error:
            self._advance(Trigger.REFUSED)
            return Closed(CloseCode.PROTOCOL, f"the answer to register is not one: {error}")
        self._advance(Trigger.REGISTERED)
        self.info = info
        self._folder_mode = info.folder_mode
        self._heartbeat_ms = max(1, info.heartbeat_ms)
        self._frame_bytes = info.limits.frame_bytes
        self._batch = max(1, min(info.limits.batch, limits.BATCH))
        # The first one sooner, at a moment that the session's name decides: agents that register
        # together, as all do after a restart of their hub, would go on speaking together.
        self._beat_at = now + 1 + crc32(info.session.encode()) % self._heartbeat_ms
        self.alive(now)
        return Opened(info)


def _plain(envelope: Envelope) -> Envelope:
    """``envelope`` with its payload as plain values, which every codec can encode."""
    return msgspec.structs.replace(envelope, payload=msgspec.to_builtins(envelope.payload))


def _ack(payload: Any) -> Event:
    try:
        ack = msgspec.convert(payload, HubAck)
    except msgspec.ValidationError as error:
        return Trouble(f"ACK: {error}")
    if ack.stage == "accepted":
        return Accepted(ack.ids)
    if ack.stage == "settled":
        return Settled(ack.seqs)
    if ack.by is None:
        return Trouble(f"ACK: {ack.stage} without by")
    return Receipt(ack.stage, ack.ids, ack.by)


def _error(payload: Any) -> ErrorBody:
    try:
        return msgspec.convert(payload, ErrorBody)
    except msgspec.ValidationError as error:
        return ErrorBody(code=ErrorCode.INTERNAL, message=f"an ERROR that is not one: {error}")
