"""Frames and envelopes as bytes, in JSON and in MessagePack (docs/protocol.md §1, §2).

No decoder error leaves this module as anything but a :class:`ProtocolError`: raised when the
whole frame is refused, returned among the items when one envelope of a good frame is. What such
an error says is found out in :mod:`.refusals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from trishula_protocol import limits
from trishula_protocol.envelope import (
    DirectError,
    Envelope,
    StrictEnvelope,
    are_ids,
    fault,
)
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.map_keys import key_refusal
from trishula_protocol.payload import find_fault, survey, to_json_value, to_msgpack_value
from trishula_protocol.refusals import (
    DECODE_ERRORS,
    elements,
    is_array,
    json_refusal,
    msgpack_refusal,
    unreadable,
)

Item = Envelope | ProtocolError
"""What a frame holds, once decoded."""


class Codec(Protocol):
    """One of the two encodings a connection can negotiate."""

    @property
    def subprotocol(self) -> str:
        """The WebSocket subprotocol that names this encoding."""
        ...

    @property
    def binary(self) -> bool:
        """Whether frames are binary rather than text."""
        ...

    def decode(self, frame: bytes, *, from_hub: bool = False) -> list[Item]:
        """The envelopes of a frame, in order; a bad one is its :class:`ProtocolError`.

        ``from_hub``: the hub's direct answers have neither ``id`` nor ``to`` (§6), so the rules
        about fields that need each other are not applied.

        JSON payloads are decoded but checked only where they are accepted (see
        :func:`trishula_protocol.payload.payload_fault`); MessagePack payloads are checked here,
        while they are converted to their JSON form.

        Raises:
            ProtocolError: ``bad_message``; the frame does not parse or holds too many.
        """
        ...

    def encode(self, envelope: Envelope | DirectError) -> bytes:
        """One envelope as bytes that :meth:`frame` can join."""
        ...

    def stored(self, body: bytes, seq: int, attempt: int, expires_in: int | None) -> bytes:
        """A stored envelope as it is delivered, with the hub's three fields."""
        ...

    def frame(self, parts: Sequence[bytes]) -> bytes:
        """Encoded envelopes as one frame, 1-1000 of them."""
        ...


class JsonCodec:
    """``trishula.v2.json``: text frames. Stored envelopes are forwarded as they are."""

    subprotocol: Final = limits.SUBPROTOCOL_JSON
    binary: Final = False

    def decode(self, frame: bytes, *, from_hub: bool = False) -> list[Item]:
        try:
            if is_array(frame):
                envelopes = _json_many.decode(frame)
            else:
                envelopes = [_json_one.decode(frame)]
            items, names = _checked(envelopes, from_hub)
            if not are_ids(names):
                raise msgspec.ValidationError("not an id")  # the slow way finds out which
        except DECODE_ERRORS:
            raws = elements(frame)
            _check_batch(len(raws))
            return [_decode_json(raw, from_hub) for raw in raws]
        _check_batch(len(envelopes))
        return items

    def encode(self, envelope: Envelope | DirectError) -> bytes:
        return _json_encode(envelope)

    def stored(self, body: bytes, seq: int, attempt: int, expires_in: int | None) -> bytes:
        if expires_in is None:
            return b'{"seq":%d,"attempt":%d,%b' % (seq, attempt, body[1:])
        return b'{"seq":%d,"attempt":%d,"expires_in":%d,%b' % (seq, attempt, expires_in, body[1:])

    def frame(self, parts: Sequence[bytes]) -> bytes:
        return parts[0] if len(parts) == 1 else b"[" + b",".join(parts) + b"]"


class MsgpackCodec:
    """``trishula.v2.msgpack``: binary frames, converted to and from the stored JSON here."""

    subprotocol: Final = limits.SUBPROTOCOL_MSGPACK
    binary: Final = True

    def decode(self, frame: bytes, *, from_hub: bool = False) -> list[Item]:
        # An array begins with 0x90-0x9f, 0xdc or 0xdd.
        first = frame[0] if frame else 0
        try:
            if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
                _check_batch(_msgpack_length(frame))
                raws = _msgpack_raws.decode(frame)
            else:
                raws = [_msgpack_raw.decode(frame)]
        except DECODE_ERRORS as error:
            raise unreadable("MessagePack", error) from error
        return [_decode_msgpack(raw, from_hub) for raw in raws]

    def encode(self, envelope: Envelope | DirectError) -> bytes:
        envelope = msgspec.structs.replace(envelope, payload=to_msgpack_value(envelope.payload))
        return _msgpack_encode(envelope)

    def stored(self, body: bytes, seq: int, attempt: int, expires_in: int | None) -> bytes:
        envelope = _json_one.decode(body)
        envelope.seq = seq
        envelope.attempt = attempt
        envelope.expires_in = expires_in
        envelope.payload = to_msgpack_value(envelope.payload)
        return _msgpack_encode(envelope)

    def frame(self, parts: Sequence[bytes]) -> bytes:
        if len(parts) == 1:
            return parts[0]
        size = len(parts)
        head = bytes([0x90 | size]) if size < 16 else b"\xdc" + size.to_bytes(2, "big")
        return head + b"".join(parts)


JSON: Final = JsonCodec()
MSGPACK: Final = MsgpackCodec()
CODECS: Final[dict[str, Codec]] = {JSON.subprotocol: JSON, MSGPACK.subprotocol: MSGPACK}
"""Codecs by subprotocol. A client that names none gets :data:`JSON`."""


def encode_json(envelope: Envelope) -> bytes:
    """The stored form of ``envelope``: a JSON object."""
    return _json_encode(envelope)


def decode_json(body: bytes) -> Envelope:
    """An envelope from its stored form, which is trusted to be one."""
    return _json_one.decode(body)


_json_encode = msgspec.json.Encoder().encode
_json_one = msgspec.json.Decoder(Envelope)
_json_many = msgspec.json.Decoder(list[Envelope])
_json_strict = msgspec.json.Decoder(StrictEnvelope)
_msgpack_encode = msgspec.msgpack.Encoder().encode
_msgpack_one = msgspec.msgpack.Decoder(Envelope)
_msgpack_strict = msgspec.msgpack.Decoder(StrictEnvelope)
_msgpack_raw = msgspec.msgpack.Decoder(msgspec.Raw)
_msgpack_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_PLAIN: Final = frozenset({"COMMAND", "STATUS"})


def _checked(envelopes: list[Envelope], from_hub: bool) -> tuple[list[Item], list[str]]:
    """What each of ``envelopes`` is taken for, and all that has to be an id in them."""
    items: list[Item] = []
    names: list[str] = []
    for envelope in envelopes:
        id_ = envelope.id
        if (
            id_ is not None
            and envelope.to is not None
            and envelope.type in _PLAIN
            and envelope.settles is None
            and not envelope.headers
        ):
            names.append(id_)
            items.append(envelope)  # nearly all mail: there is nothing else to look at
        else:
            if id_ is not None:
                names.append(id_)
            problem = None if from_hub else fault(envelope)
            if problem is None:
                items.append(envelope)
            else:
                items.append(ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=id_))
        if envelope.reply_to is not None:
            names.append(envelope.reply_to)
        if envelope.thread is not None:
            names.append(envelope.thread)
    return items, names


def _check_batch(size: int) -> None:
    if not 0 < size <= limits.BATCH:
        raise ProtocolError(
            ErrorCode.BAD_MESSAGE, f"frame: an array holds 1-{limits.BATCH} envelopes, not {size}"
        )


def _msgpack_length(frame: bytes) -> int:
    """What an array claims to hold, known before anything is made of it."""
    size = {0xDC: 2, 0xDD: 4}.get(frame[0])
    return frame[0] & 0x0F if size is None else int.from_bytes(frame[1 : 1 + size], "big")


def _decode_json(raw: bytes, from_hub: bool) -> Item:
    try:
        items, names = _checked([_json_one.decode(raw)], from_hub)
        if not are_ids(names):
            _json_strict.decode(raw)  # which says what is wrong
    except DECODE_ERRORS as error:
        return json_refusal(raw, error)
    return items[0]


def _decode_msgpack(raw: msgspec.Raw, from_hub: bool) -> Item:
    refusal = key_refusal(raw)
    if refusal is not None:
        return refusal
    try:
        envelope = _msgpack_one.decode(raw)
        items, names = _checked([envelope], from_hub)
        if not are_ids(names):
            _msgpack_strict.decode(raw)
    except DECODE_ERRORS as error:
        return msgpack_refusal(raw, error)
    depth = limits.ANSWER_DEPTH if from_hub else limits.PAYLOAD_DEPTH
    clean, binary = survey(envelope.payload, depth)
    if not clean:
        problem = find_fault(envelope.payload, depth=depth)
        if problem is not None:
            return ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=envelope.id)
    if binary or not clean:
        envelope.payload = to_json_value(envelope.payload)
    return items[0]
