"""Spans of a message's way through this hub, made of what batches know.

The core has no part in this but for one call a batch that goes out; commits say the rest when they
are over. Nothing here knows OpenTelemetry: what is made goes to whoever exports it.

A message is in the trace that its ``traceparent`` names, if that says that the trace is recorded.
Of messages that have none, a share begins a trace here, whose ids come from the message itself, so
that every node finds the same ones. Its envelope is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from trishula_broker.store import base
from trishula_protocol.codec import Item
from trishula_protocol.envelope import Envelope
from trishula_protocol.trace_context import TRACEPARENT, parse_traceparent

REMEMBERED: Final = 10_000
"""Messages on their way, and copies of one agent, of which is known where they are in their trace;
then the oldest go."""
AGENTS: Final = 1_000
"""Agents whose copies are remembered."""
SECOND_NS: Final = 1_000_000_000
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_NEEDLE: Final = f'"{TRACEPARENT}":"'.encode()
_HEAD_BYTES: Final = 256 << 10
"""Where headers are in a stored envelope: before its payload, within as much as they may be."""


class Span(NamedTuple):
    """One step of a message.

    Attributes:
        name: ``accept``, ``commit``, ``deliver`` or ``settle``.
        trace_id: lower-case hex of 32 digits; ``span_id`` and ``parent_id`` of 16.
        parent_id: empty: it begins the trace.
        began: nanoseconds since the epoch; so is ``ended``.
        failed: why the step failed; empty when it did not.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    attributes: dict[str, str | int]
    failed: str = ""


class Place(NamedTuple):
    """Where a message is in its trace. ``parent_id`` is its sender's span; empty when the trace
    begins here: ``root_id`` is then the span of its acceptance."""

    trace_id: str
    parent_id: str
    root_id: str = ""


class _Headers(msgspec.Struct):
    headers: dict[str, str] = {}


_headers: Final = msgspec.json.Decoder(_Headers).decode


class Budget:
    """So many a second.

    Args:
        per_s: how many.
    """

    __slots__ = ("_left", "_per_s", "_until")

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._left = 0
        self._until = 0

    def left(self, now: int) -> int:
        """How many more there may be in this second; ``now`` in nanoseconds."""
        if not 0 < self._until - now <= SECOND_NS:  # over, or the clock was set back
            self._until = now + SECOND_NS
            self._left = self._per_s
        return self._left

    def take(self) -> None:
        """One of them."""
        self._left -= 1


class Spans:
    """Makes them.

    Args:
        emit: takes those that are over.
        clock: nanoseconds since the epoch.
        make_id: a new span's id.
        ratio: the share of messages without a ``traceparent`` that begin a trace here, 0 to 1.
        per_s: messages a second that are followed at most, at their acceptance, and again as many
            at their delivery.
    """

    def __init__(
        self,
        emit: Callable[[list[Span]], None],
        clock: Callable[[], int],
        make_id: Callable[[], str],
        *,
        ratio: float = 0.0,
        per_s: int = 50,
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._make_id = make_id
        self._share = int(ratio * (1 << 32))
        self._in = Budget(per_s)
        self._out = Budget(per_s)
        self._arrived: dict[str, int] = {}
        """id of an envelope → when it came; of what is followed only."""
        self._began: list[int] = []
        """When each commit under way began, oldest first."""
        self._durable: dict[tuple[str, int], int] = {}
        """namespace and seq → when it was committed."""
        self._held: dict[tuple[str, str], dict[int, tuple[str, str]]] = {}
        """namespace and agent → seq of a copy that went out → trace and span of that."""

    def __repr__(self) -> str:
        held = sum(map(len, self._held.values()))
        return f"<Spans arrived={len(self._arrived)} held={held}>"

    # --- what the driver tells ---

    def arrived(self, items: Sequence[Item]) -> None:
        """A frame came."""
        now = self._clock()
        left = self._in.left(now)
        share = self._share
        for item in items:
            if not left:
                return
            if not isinstance(item, Envelope) or item.id is None:
                continue
            if item.headers and (told := item.headers.get(TRACEPARENT)) is not None:
                found = parse_traceparent(told)
                wanted = share and _lot(item.id) < share if found is None else found.sampled
            else:
                wanted = share and _lot(item.id) < share
            if wanted:
                self._in.take()
                left -= 1
                _remember(self._arrived, item.id, now)

    def collected(self, any_: bool) -> None:
        """A commit begins, unless there was nothing to commit."""
        if any_:
            self._began.append(self._clock())

    def committed(
        self, batches: Sequence[base.Batch], outcomes: Sequence[Sequence[base.Outcome]], why: str
    ) -> None:
        """The oldest commit under way is over; it failed when there is a ``why``."""
        if not batches:
            return
        began = self._began.pop(0)
        if not self._arrived and not self._held:
            return
        now = self._clock()
        made: list[Span] = []
        for n, batch in enumerate(batches):
            if why:
                self._failed(batch, began, now, why, made)
                continue
            for op, outcome in zip(batch.ops, outcomes[n], strict=True):
                if type(op) is base.Accept:
                    if (at := self._arrived.pop(op.id, None)) is not None:
                        self._accepted(batch, op, outcome, (at, began, now), made)
                    if op.settles is not None and type(outcome) is base.Accepted:
                        self._settled(batch, op.sender, op.settles, "done", (began, now), made)
                elif self._held:
                    agent, seqs, how = _ended(op, outcome)
                    mine = self._held.get((batch.namespace, agent)) if seqs else None
                    for seq in sorted(mine.keys() & seqs) if mine else ():
                        self._settled(batch, agent, seq, how, (began, now), made)
        if made:
            self._emit(made)

    def handed_out(self, namespace: str, agent: str, copies: Sequence[base.Copy]) -> None:
        """``copies`` went out to ``agent``; that is on its socket's way now."""
        now = self._clock()
        left = self._out.left(now)
        made: list[Span] = []
        for copy in copies:
            if not left:
                break
            message = copy.message
            place = self._place(namespace, message.sender, message.id, message.body)
            if place is None:
                continue
            self._out.take()
            left -= 1
            since = self._durable.get((namespace, message.seq), message.accepted_at * 1_000_000)
            span_id = self._make_id()
            made.append(
                Span(
                    "deliver",
                    place.trace_id,
                    span_id,
                    place.parent_id or place.root_id,
                    min(since, now),
                    now,
                    {
                        **_about(namespace, message.id, message.type, message.to, message.thread),
                        "trishula.agent": agent,
                        "trishula.seq": message.seq,
                        "trishula.attempt": copy.attempts + 1,
                    },
                )
            )
            if len(self._held) > AGENTS:
                del self._held[next(iter(self._held))]
            mine = self._held.setdefault((namespace, agent), {})
            _remember(mine, message.seq, (place.trace_id, span_id))
        if made:
            self._emit(made)

    # --- inside ---

    def _place(self, namespace: str, sender: str, id_: str, body: bytes) -> Place | None:
        if body.find(_NEEDLE, 0, _HEAD_BYTES) >= 0:  # in a header perhaps, or in the payload
            found = parse_traceparent(_headers(body).headers.get(TRACEPARENT, ""))
            if found is not None:
                return Place(found.trace_id, found.span_id) if found.sampled else None
        if self._share and _lot(id_) < self._share:
            digest = blake2b(f"{namespace} {sender} {id_}".encode(), digest_size=24).hexdigest()
            return Place(digest[:32], "", digest[32:])
        return None

    def _accepted(
        self,
        batch: base.Batch,
        op: base.Accept,
        outcome: Any,
        times: tuple[int, int, int],
        made: list[Span],
    ) -> None:
        place = self._place(batch.namespace, op.sender, op.id, op.body)
        if place is None:
            return  # an id that another agent used at the same time
        at, began, now = times
        told, failed = _told(outcome)
        about = _about(batch.namespace, op.id, op.type, str(op.address), op.thread)
        about["trishula.sender"] = op.sender
        about["trishula.outcome"] = told
        if isinstance(outcome, base.Accepted):
            about["trishula.seq"] = outcome.seq
            _remember(self._durable, (batch.namespace, outcome.seq), now)
        # What is sent again is not the span that its first sending was.
        first = isinstance(outcome, base.Accepted)
        span_id = place.root_id if first and place.root_id else self._make_id()
        parent = place.parent_id if place.parent_id or first else place.root_id
        began = max(at, began)
        size = {"messaging.batch.message_count": len(batch.ops)}
        made += (
            Span("accept", place.trace_id, span_id, parent, at, now, about, failed),
            Span("commit", place.trace_id, self._make_id(), span_id, began, now, {**size}, failed),
        )

    def _failed(self, batch: base.Batch, began: int, now: int, why: str, made: list[Span]) -> None:
        for op in batch.ops:
            if type(op) is base.Accept and (at := self._arrived.pop(op.id, None)) is not None:
                self._accepted(batch, op, why, (at, began, now), made)

    def _settled(
        self,
        batch: base.Batch,
        agent: str,
        seq: int,
        how: str,
        times: tuple[int, int],
        made: list[Span],
    ) -> None:
        mine = self._held.get((batch.namespace, agent), {})
        held = mine.pop(seq, None)
        if held is None:
            return
        if not mine:
            del self._held[batch.namespace, agent]
        about: dict[str, str | int] = {
            "messaging.system": "trishula",
            "trishula.namespace": batch.namespace,
            "trishula.agent": agent,
            "trishula.seq": seq,
            "trishula.outcome": how,
        }
        trace_id, span_id = held
        made.append(Span("settle", trace_id, self._make_id(), span_id, *times, about))


def _ended(op: base.Operation, outcome: base.Outcome) -> tuple[str, Collection[int], str]:
    """Copies whose attempt ``op`` has ended: whose mailbox, seqs, how."""
    if isinstance(op, base.Settle) and isinstance(outcome, base.Marked):
        return op.agent, outcome.seqs, "done"
    if isinstance(op, base.Requeue) and isinstance(outcome, base.Requeued):
        return op.agent, [seq for seq, _, _ in outcome.copies], "requeued"
    if isinstance(op, base.Discard) and isinstance(outcome, base.Discarded) and outcome.done:
        return op.agent, (op.seq,), op.outcome
    return "", (), ""


def _told(outcome: base.Outcome | str) -> tuple[str, str]:
    """How a message's commit ended, and why it failed, if it did."""
    if isinstance(outcome, str):
        return "unavailable", outcome
    if isinstance(outcome, base.Refused):
        return outcome.code, outcome.code
    if isinstance(outcome, base.Fenced):
        return "fenced", "fenced"
    return ("accepted" if isinstance(outcome, base.Accepted) else "duplicate"), ""


def _about(
    namespace: str, id_: str, type_: str, to: str, thread: str | None
) -> dict[str, str | int]:
    """Attributes of a message, after OpenTelemetry's conventions where it has some."""
    return {
        "messaging.system": "trishula",
        "messaging.message.id": id_,
        "messaging.message.conversation_id": thread or id_,
        "messaging.destination.name": to,
        "trishula.namespace": namespace,
        "trishula.type": type_,
    }


def _lot(id_: str) -> int:
    """A number below 2³² that is the same for the same id, on every node."""
    return crc32(id_.encode())


def _remember(where: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    where[key] = value
    if len(where) > REMEMBERED:
        del where[next(iter(where))]
