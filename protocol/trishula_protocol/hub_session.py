"""The hub's end of one connection: a state machine without I/O.

It knows how a session begins, lives and ends, when it must be heard from, and how what it has
to say is packed into frames. It does not know what messages mean or where they go: that is the
hub's core. Time is an argument, in milliseconds of a clock that never jumps.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, TypeVar

from trishula_protocol import limits
from trishula_protocol.address import HUB
from trishula_protocol.bodies import HubAck, Register, error_payload
from trishula_protocol.codec import Codec, Item
from trishula_protocol.envelope import DirectError, Envelope
from trishula_protocol.errors import CloseCode, ErrorCode, ProtocolError

_Item = TypeVar("_Item", str, int)

ACK_ITEMS: Final = limits.PREFETCH_MAX
"""Ids or seqs of one ACK at most, so that the longest ids fit a frame that clients must take."""
FRAME_TARGET: Final = 256 << 10
"""Bytes after which a frame is closed and the next begun; a frame holds one envelope at least."""


class State(Enum):
    """Where a session is in its life."""

    NEW = "new"
    REGISTERING = "registering"
    ACTIVE = "active"
    CLOSED = "closed"


# Python 3.11 is slow to look a member of an Enum up, and these are asked for all the time.
_ACTIVE: Final = State.ACTIVE
_CLOSED: Final = State.CLOSED

_MOVES: Final = {
    State.NEW: {State.REGISTERING, State.CLOSED},
    # Back to NEW when the registration was refused: the client may try again.
    State.REGISTERING: {State.NEW, State.ACTIVE, State.CLOSED},
    State.ACTIVE: {State.CLOSED},
    State.CLOSED: set[State](),
}


class HubSession:
    """One connection, seen from the hub.

    Args:
        link: the connection's number.
        codec: what was negotiated.
        peer: the other side's address, for people.
        outlet: gets this session appended when it begins to have something to say; whoever
            empties it calls :meth:`frames`.
        troubled: gets it appended when it was told an error, and when it is closed.
        now: milliseconds.
    """

    __slots__ = (
        "_accepted",
        "_outlet",
        "_parts",
        "_receipts",
        "_settled",
        "_size",
        "_touched",
        "_troubled",
        "agent",
        "bad_frames",
        "close_code",
        "close_reason",
        "codec",
        "ephemeral",
        "epoch",
        "errors",
        "heard_at",
        "heartbeat_ms",
        "lease_ms",
        "link",
        "peer",
        "prefetch",
        "receive",
        "session",
        "since",
        "stalled_at",
        "standing",
        "state",
        "unaccepted",
        "unaccepted_bytes",
        "waiting",
    )

    def __init__(
        self,
        link: int,
        codec: Codec,
        peer: str,
        outlet: list[HubSession],
        troubled: list[HubSession],
        now: int,
    ) -> None:
        self.link = link
        self.codec = codec
        self.peer = peer
        self.standing: Any = None
        """What the other side may do by what it has proven; the hub's own type, unknown here."""
        self.state = State.NEW
        self.agent = ""
        self.session = ""
        self.epoch = 0
        self.receive = False
        self.ephemeral = False
        self.prefetch = limits.PREFETCH_DEFAULT
        self.lease_ms = limits.LEASE_DEFAULT_MS
        self.heartbeat_ms = limits.HEARTBEAT_DEFAULT_MS
        self.since = now
        self.heard_at = now
        self.stalled_at: int | None = None
        self.bad_frames = 0
        self.unaccepted = 0
        self.unaccepted_bytes = 0
        self.waiting: list[Item] = []
        self.errors: list[tuple[ProtocolError, dict[str, Any]]] = []
        """Those that were said, each with what it was about; whoever wants them takes them."""
        self.close_code: int | None = None
        self.close_reason = ""
        self._outlet = outlet
        self._troubled = troubled
        self._touched = False
        self._parts: list[bytes] = []
        self._size = 0
        self._accepted: list[str] = []
        self._settled: list[int] = []
        self._receipts: dict[tuple[str, str], list[str]] = {}

    def __repr__(self) -> str:
        who = self.agent or self.peer
        return f"<HubSession {self.link} {who} {self.state.value} epoch={self.epoch}>"

    # --- life ---

    def _move(self, state: State) -> None:
        if state not in _MOVES[self.state]:
            raise AssertionError(f"{self!r} cannot become {state.value}")
        self.state = state

    def registering(self, request: Register) -> None:
        """The client asked to register; the answer waits for a commit."""
        self._move(State.REGISTERING)
        self.agent = request.agent
        self.receive = request.receive
        self.ephemeral = request.ephemeral
        self.prefetch = request.prefetch
        self.lease_ms = request.lease_ms

    def refused(self) -> None:
        """The registration failed; the client may ask again."""
        self._move(State.NEW)
        self.agent = ""

    def activate(self, session: str, epoch: int, heartbeat_ms: int) -> None:
        """The registration is durable."""
        self._move(State.ACTIVE)
        self.session = session
        self.epoch = epoch
        self.heartbeat_ms = heartbeat_ms

    def close(self, code: CloseCode, reason: str) -> None:
        """End the session; what it has to say already is still said before the close frame."""
        if self.state is not State.CLOSED:
            self._move(State.CLOSED)
            self.close_code = int(code)
            self.close_reason = reason
            self._troubled.append(self)
            self.touch()

    def lost(self) -> None:
        """The connection is gone: nothing can be said any more."""
        if self.state is not State.CLOSED:
            self._move(State.CLOSED)
        self._clear()

    @property
    def live(self) -> bool:
        """Registered and not closed."""
        return self.state is _ACTIVE

    @property
    def closed(self) -> bool:
        """Over, whoever ended it."""
        return self.state is _CLOSED

    # --- being heard ---

    def deadline(self, reading: bool) -> int | None:
        """When this session has been silent, unregistered or not reading for too long.

        ``reading`` is False while the hub itself does not read the socket: silence then
        proves nothing.
        """
        if self.state is State.CLOSED:
            return None
        if self.state is not State.ACTIVE:
            return self.since + limits.REGISTER_TIMEOUT_MS
        silence = limits.HEARTBEATS_MISSED * self.heartbeat_ms
        if self.stalled_at is not None:
            return self.stalled_at + max(silence, limits.REGISTER_TIMEOUT_MS)
        return self.heard_at + silence if reading else None

    # --- what it has to say ---

    def touch(self) -> None:
        """Make sure that :meth:`frames` is asked for."""
        if not self._touched:
            self._touched = True
            self._outlet.append(self)

    def withhold(self) -> None:
        """The outlet was emptied, but the socket takes nothing now: :meth:`touch` again later."""
        self._touched = False

    def say(self, envelope: Envelope | DirectError) -> None:
        """Queue an envelope from the hub."""
        if self.state is not _CLOSED:
            self._add(self.codec.encode(envelope))

    def deliver(self, parts: list[bytes]) -> None:
        """Queue stored envelopes, each as :meth:`Codec.stored` made it."""
        self._parts += parts
        self._size += sum(map(len, parts))
        self.touch()

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if not self._touched:
            self.touch()

    def answer(self, reply_to: str | None, payload: Any) -> None:
        """Queue a RESULT."""
        self.say(Envelope("RESULT", sender=HUB, reply_to=reply_to, payload=payload))

    def error(self, error: ProtocolError, **about: Any) -> None:
        """Queue an ERROR; its ``reply_to`` is null when it answers nothing in particular.

        ``about`` is what was at fault, for records: it is not said.
        """
        if not self.errors:
            self._troubled.append(self)
        self.errors.append((error, about))
        self.say(DirectError("ERROR", HUB, error.reply_to, error_payload(error)))

    def withdrawn(self, seqs: list[int]) -> None:
        """Tell that these, which went out, are not for this session any more. Nothing was at
        fault: this is in no record of refusals."""
        error = ProtocolError(
            ErrorCode.STALE_ACK,
            "seqs: taken back before they were read; do not begin them",
            details={"seqs": seqs},
        )
        self.say(DirectError("ERROR", HUB, None, error_payload(error)))

    def accepted(self, envelope_id: str) -> None:
        """Acknowledge a message; acknowledgements of one moment share an envelope."""
        self._accepted.append(envelope_id)
        if not self._touched:
            self.touch()

    def settled(self, seqs: list[int]) -> None:
        """Tell that these are settled for good."""
        self._settled += seqs
        self.touch()

    def receipt(self, stage: str, by: str, envelope_id: str) -> None:
        """Tell the sender what became of a message."""
        self._receipts.setdefault((stage, by), []).append(envelope_id)
        self.touch()

    @property
    def buffered(self) -> int:
        """Bytes queued and not yet taken by :meth:`frames`."""
        return self._size

    def frames(self) -> list[bytes]:
        """All there is to say, packed; nothing is left afterwards."""
        self._touched = False
        if self._accepted:
            for ids in _shared(self._accepted):
                self._say_ack(HubAck("accepted", ids=ids))
            self._accepted = []
        if self._settled:
            for seqs in _shared(self._settled):
                self._say_ack(HubAck("settled", seqs=seqs))
            self._settled = []
        for (stage, by), told in self._receipts.items():
            for ids in _shared(told):
                self._say_ack(HubAck(stage, ids=ids, by=by))  # type: ignore[arg-type]
        self._receipts.clear()
        parts = self._parts
        if not parts:
            return []
        whole = self._size + len(parts) <= FRAME_TARGET and len(parts) <= limits.BATCH
        frames = [self.codec.frame(parts)] if whole else self._pack(parts)
        parts.clear()  # not a new one: it would be among the young that a collector looks at
        self._size = 0
        return frames

    def _say_ack(self, ack: HubAck) -> None:
        part = self.codec.encode(Envelope("ACK", sender=HUB, payload=ack))
        self._parts.append(part)
        self._size += len(part)

    def _pack(self, parts: list[bytes]) -> list[bytes]:
        frames: list[bytes] = []
        start, size = 0, 0
        for n, part in enumerate(parts):
            if n > start and (size + len(part) > FRAME_TARGET or n - start == limits.BATCH):
                frames.append(self.codec.frame(parts[start:n]))
                start, size = n, 0
            size += len(part) + 1
        frames.append(self.codec.frame(parts[start:]))
        return frames

    def _clear(self) -> None:
        self._parts = []
        self._size = 0
        self._accepted = []
        self._settled = []
        self._receipts.clear()
        self.waiting = []


def _shared(items: list[_Item]) -> list[list[_Item]]:
    """``items`` in pieces, each for one ACK."""
    if len(items) <= ACK_ITEMS:
        return [items]
    return [items[n : n + ACK_ITEMS] for n in range(0, len(items), ACK_ITEMS)]
