"""What is wrong with a frame or envelope that does not decode, and the good ones beside it.

The slow way, taken only once a decoder has failed: it cuts a bad frame into its elements, finds
the field at fault and the ``id`` to answer to. Knows nothing of how good frames are decoded.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import is_id
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.payload import find_fault

DECODE_ERRORS: Final = (
    msgspec.MsgspecError,
    UnicodeDecodeError,
    RecursionError,
    OverflowError,
)
"""What decoders raise. Beside msgspec's own: bad UTF-8, deep input, integers no C type holds."""

_json_raw = msgspec.json.Decoder(msgspec.Raw)
_json_raws = msgspec.json.Decoder(list[msgspec.Raw])
_msgpack_any = msgspec.msgpack.Decoder()
_msgpack_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_msgpack_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])

_PATH: Final = re.compile(r" - at `(?:key` in `)?\$(?:\[\d+\])?\.?([^`]*)`$")
_REASON: Final = 200
"""Characters of a decoder's own words that are passed on; they may quote what was sent."""


def is_array(frame: bytes) -> bool:
    """Whether a JSON frame is an array, to judge by where it begins."""
    return frame[:1] == b"[" or (frame[:1] != b"{" and frame.lstrip()[:1] == b"[")


def elements(frame: bytes) -> list[bytes]:
    """The elements of a JSON frame of which at least one is bad, each as JSON.

    Raises:
        ProtocolError: the frame does not parse.
    """
    array = is_array(frame)
    try:
        raws = _json_raws.decode(frame) if array else [_json_raw.decode(frame)]
    except RecursionError as error:
        raise unreadable("JSON", error) from error
    except DECODE_ERRORS:
        # One lone surrogate makes msgspec give up on the whole list; the standard library's
        # decoder is slow but takes it, so that the others are not lost.
        try:
            value = _loose(frame)
            return [json.dumps(each).encode() for each in value] if array else [frame]
        except (ValueError, RecursionError) as error:
            raise unreadable("JSON", error) from error
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


def json_refusal(raw: bytes, error: Exception) -> ProtocolError:
    """Why ``raw``, at which the decoder failed with ``error``, is no envelope."""
    try:
        value = _loose(raw)
    except (ValueError, RecursionError):
        return _refusal(_explain(error), None)
    if not isinstance(value, dict):
        return _refusal(_not_an_object(value), None)
    problem = None if _is_clear(error) else _first_fault(value)
    return _refusal(problem or _explain(error), value.get("id"))


def msgpack_refusal(raw: msgspec.Raw, error: Exception) -> ProtocolError:
    """The same for MessagePack."""
    try:
        fields = _msgpack_fields.decode(raw)
    except DECODE_ERRORS as why:
        try:
            value = _msgpack_any.decode(raw)
        except DECODE_ERRORS:
            return _refusal(_explain(why), None)
        return _refusal(_explain(why) if isinstance(value, dict) else _not_an_object(value), None)
    try:
        named = _msgpack_any.decode(fields["id"])
    except (KeyError, *DECODE_ERRORS):
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
        except DECODE_ERRORS as error:
            # Go down to what is wrong: each piece that decodes is left behind at once.
            if depth > limits.PAYLOAD_DEPTH:
                return f"{path}: nested deeper than {limits.PAYLOAD_DEPTH}"
            try:
                items = _msgpack_raws.decode(raw)
                stack += [(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(items)]
                continue
            except DECODE_ERRORS:
                pass
            try:
                fields = _msgpack_fields.decode(raw)
            except DECODE_ERRORS:
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


def unreadable(encoding: str, error: Exception) -> ProtocolError:
    """The refusal of a whole frame."""
    return ProtocolError(ErrorCode.BAD_MESSAGE, f"frame: not {encoding}: {_reason(error)}")
