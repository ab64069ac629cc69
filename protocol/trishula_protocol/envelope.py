"""The envelope: the one thing that travels (docs/protocol.md §2).

Both ends and the store use this type. Constraints stated here are checked by msgspec while
decoding, so a violation names the field; what depends on two fields is in :func:`fault`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import ID_PATTERN

MessageType = Literal["COMMAND", "STATUS", "RESULT", "ERROR", "HEARTBEAT", "ACK"]

EnvelopeId = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
IdLike = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.ID_LENGTH)]
"""An id whose characters are looked at elsewhere."""
Priority = Annotated[int, msgspec.Meta(ge=limits.PRIORITY_FIRST, le=limits.PRIORITY_LAST)]
Milliseconds = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
HeaderName = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.ID_LENGTH)]
HeaderValue = Annotated[str, msgspec.Meta(max_length=limits.HEADER_LENGTH)]


class Envelope(msgspec.Struct, omit_defaults=True, gc=False):
    """One message, in the order its fields are written.

    ``seq``, ``attempt`` and ``expires_in`` are the hub's, towards a recipient only.
    ``timestamp`` and ``ttl`` are milliseconds; ``timestamp`` counts from the Unix epoch.
    Its ids are checked by :func:`are_ids`, a frame's together: matching a pattern to each takes
    as long as the rest of decoding. Without gc: its payload is values, none of which leads back to
    it, and whoever has thousands of them would have them looked through again and again.
    """

    type: MessageType
    id: IdLike | None = None
    sender: str | None = msgspec.field(default=None, name="from")
    to: Annotated[str, msgspec.Meta(max_length=limits.AGENT_LENGTH + 1)] | None = None
    timestamp: Milliseconds | None = None
    priority: Priority = limits.PRIORITY_DEFAULT
    reply_to: IdLike | None = None
    ttl: Annotated[int, msgspec.Meta(ge=1, le=limits.TTL_MAX)] | None = None
    receipt: bool = False
    thread: IdLike | None = None
    headers: Annotated[
        dict[HeaderName, HeaderValue], msgspec.Meta(max_length=limits.HEADERS + 1)
    ] = {}
    settles: Sequence | None = None
    seq: Sequence | None = None
    attempt: Annotated[int, msgspec.Meta(ge=1)] | None = None
    expires_in: int | None = None
    payload: Any = None


class StrictEnvelope(Envelope):
    """The same with every rule of a field in its type, to say which one is broken."""

    id: EnvelopeId | None = None
    reply_to: EnvelopeId | None = None
    thread: EnvelopeId | None = None


class DirectError(msgspec.Struct):
    """The hub's ERROR that is not stored: it always says ``reply_to``, null when unknown (§6)."""

    type: Literal["ERROR"]
    sender: str = msgspec.field(name="from")
    reply_to: str | None
    payload: Any


AUTH: Final = "auth"
"""The header in which the hub tells recipients what it proved of a sender (§2). It is one more
than a client may set, and none of those."""
STORED_TYPES: Final = frozenset({"COMMAND", "STATUS", "RESULT", "ERROR"})
"""Types that need an id and, unless they are for the hub, are stored."""
ANSWER_TYPES: Final = frozenset({"RESULT", "ERROR"})
"""Types that answer another envelope, and may settle it."""


_ID_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"


def are_ids(texts: Iterable[str]) -> bool:
    """Whether only characters of :data:`~trishula_protocol.address.ID_PATTERN` are in them."""
    return not "".join(texts).encode().translate(None, _ID_BYTES)


def fault(envelope: Envelope) -> str | None:
    """What a client's ``envelope`` breaks that no field's own rule finds; None when it is good."""
    headers = envelope.headers
    if headers:
        if AUTH in headers:
            return f"headers.{AUTH}: the hub alone says what it proved; leave it out"
        if len(headers) > limits.HEADERS:
            return f"headers: at most {limits.HEADERS}, not {len(headers)}"
    kind = envelope.type
    if kind in ANSWER_TYPES:
        if envelope.reply_to is None:
            return f"reply_to: required with type {kind}"
    elif envelope.settles is not None:
        return f"settles: only with type RESULT or ERROR, not {kind}"
    if envelope.id is None and kind in STORED_TYPES:
        return f"id: required with type {kind}"
    if envelope.to is None and kind not in ("STATUS", "HEARTBEAT", "ACK"):
        return f"to: required with type {kind}"
    return None
