"""From arguments to an envelope's bytes; what is wrong is said before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import HUB, Kind, is_id, parse_address
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import (
    ANSWER_TYPES,
    AUTH,
    STORED_TYPES,
    Envelope,
    HeaderName,
    HeaderValue,
)
from trishula_protocol.errors import ProtocolError
from trishula_protocol.payload import FEW, find_fault, payload_fault

_PLAIN: Final = frozenset({str, bool, type(None)})
_BYTES: Final = (bytes, bytearray, memoryview)
_NO_HEADERS: Final[dict[str, str]] = {}
_NO_ANSWERS: Final = STORED_TYPES - ANSWER_TYPES
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def compose(
    id: str,
    timestamp: int,
    type: str,
    to: str,
    payload: Any,
    priority: int = limits.PRIORITY_DEFAULT,
    ttl: float | None = None,
    reply_to: str | None = None,
    thread: str | None = None,
    headers: Mapping[str, str] | None = None,
    receipt: bool = False,
    settles: int | None = None,
) -> bytes:
    """The encoded envelope. ``timestamp`` in milliseconds since the epoch, ``ttl`` in seconds.

    Raises:
        ValueError: a field breaks a rule of the protocol; the text names field and rule.
        TypeError: a field, or something in the payload (with its path), is no JSON value.
    """
    check_recipient(to)
    if type not in STORED_TYPES:
        raise ValueError(f"type: one of {', '.join(sorted(STORED_TYPES))}, not {type!r}")
    if reply_to is None:
        if type in ANSWER_TYPES:
            raise ValueError(f"reply_to: required with type {type}")
    else:
        _check_id("reply_to", reply_to)
    if thread is not None:
        _check_id("thread", thread)
    if priority != limits.PRIORITY_DEFAULT:
        _check_priority(priority)
    envelope = Envelope(
        type,  # type: ignore[arg-type]
        id,
        None,
        to,
        timestamp,
        priority,
        reply_to,
        None if ttl is None else _ttl_ms(ttl),
        receipt,
        thread,
        _NO_HEADERS if headers is None else _checked_headers(headers),
        settles,
    )
    value = _checked_payload(payload)
    if payload is not None:
        envelope.payload = msgspec.Raw(value)
    return JSON.encode(envelope)


def compose_plain(id: str, timestamp: int, type: str, to: str, payload: Any) -> bytes:
    """The same as :func:`compose` of no more than these, in less time."""
    if payload is None or type not in _NO_ANSWERS:
        return compose(id, timestamp, type, to, payload)
    check_recipient(to)
    value = _checked_payload(payload)
    # Nothing in these has to be escaped: each was checked to be of a few letters and signs.
    head = f'{{"type":"{type}","id":"{id}","to":"{to}","timestamp":{timestamp},"payload":'
    return b"%b%b}" % (head.encode(), value)


def _checked_payload(payload: Any) -> bytes:
    """Its JSON, which says all of it."""
    try:
        value = _encode(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _explained(payload, error) from error
    if _is_plain(payload):
        return value
    fault = payload_fault(payload, value)
    # What does not come back as it went in is NaN (written as null), bytes, keys that are no
    # strings, or something richer than JSON, a dataclass for instance: the walk tells which.
    if fault is not None or _decode(value) != payload:
        fault = _plain_fault(payload)
        if fault is not None:
            raise _as_error(fault)
    return value


def _is_plain(payload: Any) -> bool:
    """Whether it is a small flat object, as most are, in which nothing can be wrong."""
    if type(payload) is not dict or len(payload) > FEW:
        return False
    for key, value in payload.items():
        kind = type(value)
        if kind is int:
            if not limits.INTEGER_MIN <= value <= limits.INTEGER_MAX:
                return False
        elif kind is float:
            if value - value != 0.0:  # infinite, or not a number
                return False
        elif kind not in _PLAIN:
            return False
        if type(key) is not str:
            return False
    return True


@lru_cache(maxsize=65536)
def check_recipient(to: str) -> None:
    """
    Raises:
        ValueError: no message can be sent to ``to``.
        TypeError: it is not a string.
    """
    if not isinstance(to, str):
        raise TypeError(f"to: must be a string, not {type(to).__name__}")
    try:
        address = parse_address(to)
    except ProtocolError as error:
        raise ValueError(error.message) from error
    if address.kind is Kind.HUB:
        raise ValueError(f"to: {HUB!r} is asked with Agent.ask(), not sent to")


def check_id(id: str) -> str:
    """``id``, if it can be an envelope's.

    Raises:
        ValueError: it cannot.
    """
    return _check_id("id", id)


def _check_id(field: str, value: str) -> str:
    if not is_id(value):
        raise ValueError(f"{field}: must be 1-{limits.ID_LENGTH} of A-Z a-z 0-9 . _ : -")
    return value


def _check_priority(priority: int) -> None:
    if priority not in range(limits.PRIORITY_FIRST, limits.PRIORITY_LAST + 1):
        raise ValueError(f"priority: 1 (most urgent) to 5, not {priority!r}")


def _ttl_ms(seconds: float) -> int:
    if not 0.001 <= seconds <= limits.TTL_MAX / 1000:
        raise ValueError(f"ttl: 0.001 to {limits.TTL_MAX // 1000} seconds, not {seconds!r}")
    return int(seconds * 1000)


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    try:
        found = msgspec.convert(dict(headers), dict[HeaderName, HeaderValue])
    except msgspec.ValidationError as error:
        raise ValueError(f"headers: {error}") from error
    if AUTH in found:
        raise ValueError(f"headers.{AUTH}: the hub alone says what it proved; leave it out")
    if len(found) > limits.HEADERS:
        raise ValueError(f"headers: {limits.HEADERS} at most, not {len(found)}")
    return found


def _plain_fault(payload: Any) -> str | None:
    """The fault of ``payload`` as it is written: dataclasses, dates and such as plain values."""
    try:
        plain = msgspec.to_builtins(payload, builtin_types=_BYTES)
    except (TypeError, ValueError, OverflowError, RecursionError):
        plain = payload
    return find_fault(plain, binary=False)


def _explained(payload: Any, error: Exception) -> Exception:
    fault = find_fault(payload)
    if fault is not None:
        return _as_error(fault)
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"payload: {error}")


def _as_error(fault: str) -> Exception:
    wrong_type = "not a JSON value" in fault or ": keys must be strings" in fault
    return (TypeError if wrong_type else ValueError)(fault)
