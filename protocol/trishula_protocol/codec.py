"""Frames and envelopes as bytes, in JSON and in MessagePack (docs/protocol.md §1, §2).

No decoder error leaves this module as anything but a :class:`ProtocolError`: raised when the
whole frame is refused, returned among the items when one envelope of a good frame is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import is_id
from trishula_protocol.envelope import Envelope, fault
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.payload import find_fault, to_json_value, to_msgpack_value

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

    def encode(self, envelope: Envelope) -> bytes:
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
            if _is_array(frame):
                envelopes = _json_many.decode(frame)
            else:
                envelopes = [_json_one.decode(frame)]
        except _DECODE_ERRORS:
            return [_decode_alone(raw, from_hub) for raw in _split(frame)]
        _check_batch(len(envelopes))
        if from_hub:
            return list(envelopes)
        return [_checked(envelope) for envelope in envelopes]

    def encode(self, envelope: Envelope) -> bytes:
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
                raws = _msgpack_raws.decode(frame)
            else:
                _msgpack_shape.decode(frame)
                raws = [msgspec.Raw(frame)]
        except _DECODE_ERRORS as error:
            raise _unreadable("MessagePack", error) from error
        _check_batch(len(raws))
        return [_decode_msgpack(raw, from_hub) for raw in raws]

    def encode(self, envelope: Envelope) -> bytes:
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
_json_raws = msgspec.json.Decoder(list[msgspec.Raw])
_msgpack_encode = msgspec.msgpack.Encoder().encode
_msgpack_one = msgspec.msgpack.Decoder(Envelope)
_msgpack_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_msgpack_shape = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])

# Beside msgspec's own: bad UTF-8, deep input, and integers no C type holds.
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)

_PATH = re.compile(r" - at `(?:key in )?\$(?:\[\d+\])?\.?([^`]*)`$")
_ID_FIELD = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9._:-]{1,128})"')


def _is_array(frame: bytes) -> bool:
    return frame[:1] == b"[" or (frame[:1] != b"{" and frame.lstrip()[:1] == b"[")


def _checked(envelope: Envelope) -> Item:
    problem = fault(envelope)
    if problem is None:
        return envelope
    return ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=envelope.id)


def _check_batch(size: int) -> None:
    if not 0 < size <= limits.BATCH:
        raise ProtocolError(
            ErrorCode.BAD_MESSAGE, f"frame: an array holds 1-{limits.BATCH} envelopes, not {size}"
        )


def _split(frame: bytes) -> list[bytes]:
    """The elements of a frame of which at least one is bad, each as JSON."""
    if not _is_array(frame):
        _parse(frame)
        return [frame]
    try:
        raws = [bytes(raw) for raw in _json_raws.decode(frame)]
    except _DECODE_ERRORS:
        # One lone surrogate makes msgspec give up on the whole list; the standard library's
        # decoder is slow but takes it, so that the others are not lost.
        elements = _parse(frame)
        raws = [json.dumps(element).encode() for element in elements]
    _check_batch(len(raws))
    return raws


def _parse(frame: bytes) -> Any:
    try:
        return json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise _unreadable("JSON", error) from error


def _decode_alone(raw: bytes, from_hub: bool) -> Item:
    try:
        envelope = _json_one.decode(raw)
    except _DECODE_ERRORS as error:
        found = _ID_FIELD.search(raw)
        return _refusal(error, _lenient(raw), found[1].decode() if found else None)
    return envelope if from_hub else _checked(envelope)


def _lenient(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _decode_msgpack(raw: msgspec.Raw, from_hub: bool) -> Item:
    try:
        envelope = _msgpack_one.decode(raw)
    except _DECODE_ERRORS as error:
        try:
            value = msgspec.msgpack.decode(raw)
        except _DECODE_ERRORS:
            value = None
        return _refusal(error, value, None)
    problem = find_fault(envelope.payload)
    if problem is not None:
        return ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=envelope.id)
    envelope.payload = to_json_value(envelope.payload)
    return envelope if from_hub else _checked(envelope)


def _refusal(error: Exception, value: Any, found: str | None) -> ProtocolError:
    """Name the field and the rule; ``value`` is what a lenient decoder made of the envelope."""
    reply_to = found
    problem: str | None = None
    if isinstance(value, dict):
        named = value.get("id")
        if isinstance(named, str) and is_id(named):
            reply_to = named
        problem = find_fault(value.get("payload"))
    elif value is not None:
        problem = f"envelope: must be an object, not {type(value).__name__}"
    if problem is None:
        problem = _explain(error)
    return ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=reply_to)


def _explain(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"envelope: nested deeper than {limits.PAYLOAD_DEPTH}"
    if isinstance(error, UnicodeDecodeError):
        return "envelope: not valid UTF-8"
    text = str(error)
    found = _PATH.search(text)
    if found:
        return f"{found[1] or 'envelope'}: {text[: found.start()]}"
    return f"envelope: {text}"


def _unreadable(encoding: str, error: Exception) -> ProtocolError:
    if isinstance(error, RecursionError):
        reason = f"nested deeper than {limits.PAYLOAD_DEPTH}"
    elif isinstance(error, UnicodeDecodeError):
        reason = "not valid UTF-8"
    else:
        reason = str(error)
    return ProtocolError(ErrorCode.BAD_MESSAGE, f"frame: not {encoding}: {reason}")
