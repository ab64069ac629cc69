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
from trishula_protocol.envelope import DirectError, Envelope, fault
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
        except _DECODE_ERRORS as error:
            raise _unreadable("MessagePack", error) from error
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
_json_raw = msgspec.json.Decoder(msgspec.Raw)
_json_raws = msgspec.json.Decoder(list[msgspec.Raw])
_msgpack_encode = msgspec.msgpack.Encoder().encode
_msgpack_one = msgspec.msgpack.Decoder(Envelope)
_msgpack_any = msgspec.msgpack.Decoder()
_msgpack_raw = msgspec.msgpack.Decoder(msgspec.Raw)
_msgpack_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_msgpack_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])

# Beside msgspec's own: bad UTF-8, deep input, and integers no C type holds.
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)

_PATH = re.compile(r" - at `(?:key` in `)?\$(?:\[\d+\])?\.?([^`]*)`$")
_REASON = 200
"""Characters of a decoder's own words that are passed on; they may quote what was sent."""


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


def _msgpack_length(frame: bytes) -> int:
    """What an array claims to hold, known before anything is made of it."""
    size = {0xDC: 2, 0xDD: 4}.get(frame[0])
    return frame[0] & 0x0F if size is None else int.from_bytes(frame[1 : 1 + size], "big")


def _split(frame: bytes) -> list[bytes]:
    """The elements of a frame of which at least one is bad, each as JSON."""
    array = _is_array(frame)
    try:
        raws = _json_raws.decode(frame) if array else [_json_raw.decode(frame)]
    except RecursionError as error:
        raise _unreadable("JSON", error) from error
    except _DECODE_ERRORS:
        # One lone surrogate makes msgspec give up on the whole list; the standard library's
        # decoder is slow but takes it, so that the others are not lost.
        try:
            elements = _loose(frame)
            _check_batch(len(elements) if array else 1)
            return [json.dumps(each).encode() for each in elements] if array else [frame]
        except (ValueError, RecursionError) as error:
            raise _unreadable("JSON", error) from error
    _check_batch(len(raws))
    return [bytes(raw) for raw in raws]


def _loose(raw: bytes) -> Any:
    """What ``raw`` is, as far as it can be told, so that the refusal can say what is wrong.

    Bad UTF-8 becomes lone surrogates, 1e999 infinite, and an integer of too many digits to be
    worth converting one that is out of range too.

    Raises:
        ValueError: it is not JSON by any reading.
        RecursionError: it is too deep.
    """
    return json.loads(raw.decode("utf-8", "surrogateescape"), parse_int=_bounded)


def _bounded(digits: str) -> int:
    # 20 characters hold every integer of the protocol, its sign included.
    return int(digits) if len(digits) <= 20 else limits.INTEGER_MAX + 1


def _decode_alone(raw: bytes, from_hub: bool) -> Item:
    try:
        envelope = _json_one.decode(raw)
    except _DECODE_ERRORS as error:
        try:
            value = _loose(raw)
        except (ValueError, RecursionError):
            return _refusal(_explain(error), None)
        if not isinstance(value, dict):
            return _refusal(_not_an_object(value), None)
        problem = None if _is_clear(error) else _first_fault(value)
        return _refusal(problem or _explain(error), value.get("id"))
    return envelope if from_hub else _checked(envelope)


def _decode_msgpack(raw: msgspec.Raw, from_hub: bool) -> Item:
    try:
        envelope = _msgpack_one.decode(raw)
    except _DECODE_ERRORS as error:
        return _refuse_msgpack(raw, error)
    depth = limits.ANSWER_DEPTH if from_hub else limits.PAYLOAD_DEPTH
    problem = find_fault(envelope.payload, depth=depth)
    if problem is not None:
        return ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=envelope.id)
    envelope.payload = to_json_value(envelope.payload)
    return envelope if from_hub else _checked(envelope)


def _refuse_msgpack(raw: msgspec.Raw, error: Exception) -> ProtocolError:
    try:
        fields = _msgpack_fields.decode(raw)
    except _DECODE_ERRORS as why:
        try:
            value = _msgpack_any.decode(raw)
        except _DECODE_ERRORS:
            return _refusal(_explain(why), None)
        return _refusal(_explain(why) if isinstance(value, dict) else _not_an_object(value), None)
    try:
        named = _msgpack_any.decode(fields["id"])
    except (KeyError, *_DECODE_ERRORS):
        named = None
    problem = None
    if not _is_clear(error):
        located = (_locate(part, name[:40]) for name, part in fields.items())
        problem = next((each for each in located if each), None)
    return _refusal(problem or _explain(error), named)


def _locate(raw: msgspec.Raw, path: str) -> str | None:
    """The first fault in MessagePack that does not decode, with its path."""
    stack = [(raw, path, 0)]
    while stack:
        raw, path, depth = stack.pop()
        try:
            value = _msgpack_any.decode(raw)
        except _DECODE_ERRORS as error:
            # Go down to what is wrong: each piece that decodes is left behind at once.
            if depth > limits.PAYLOAD_DEPTH:
                return f"{path}: nested deeper than {limits.PAYLOAD_DEPTH}"
            try:
                items = _msgpack_raws.decode(raw)
                stack += [(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(items)]
                continue
            except _DECODE_ERRORS:
                pass
            try:
                fields = _msgpack_fields.decode(raw)
            except _DECODE_ERRORS:
                return f"{path}: {_reason(error)}"
            stack += [(item, f"{path}.{key[:40]}", depth + 1) for key, item in fields.items()]
        else:
            problem = find_fault(value, path)
            if problem is not None:
                return problem
    return None


def _first_fault(value: dict[str, Any]) -> str | None:
    """What no envelope may hold in any field, with its path."""
    for name, part in value.items():
        problem = find_fault(name, "envelope") or find_fault(part, name[:40])
        if problem is not None:
            return problem
    return None


def _refusal(problem: str, named: Any) -> ProtocolError:
    reply_to = named if isinstance(named, str) and is_id(named) else None
    return ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=reply_to)


def _is_clear(error: Exception) -> bool:
    """Whether the decoder itself names the field that breaks a rule."""
    found = _PATH.search(str(error))
    return found is not None and found[1] != "" and not found[1].startswith("payload")


def _not_an_object(value: Any) -> str:
    return f"envelope: must be an object, not {type(value).__name__}"


def _explain(error: Exception) -> str:
    found = _PATH.search(str(error))
    return f"{(found and found[1]) or 'envelope'}: {_reason(error)}"


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"nested deeper than {limits.PAYLOAD_DEPTH}"
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8"
    text = str(error)
    found = _PATH.search(text)
    if found:
        text = text[: found.start()]
    if "map keys must be hashable" in text:
        return "keys must be strings"
    return text if len(text) <= _REASON else text[:_REASON] + "..."


def _unreadable(encoding: str, error: Exception) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_MESSAGE, f"frame: not {encoding}: {_reason(error)}")
