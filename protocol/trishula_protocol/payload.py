"""What a payload may be, and when two are the same (docs/protocol.md §2, §5).

Checked once, at acceptance. A payload that passed decodes everywhere: string keys, depth at
most 64, integers -2**63 .. 2**64-1, finite doubles, valid Unicode. The quick way is C only;
Python walks a payload only to find the path of what is wrong, or when bytes hint at danger.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from trishula_protocol import limits

BASE64_KEY: Final = "$base64"
"""MessagePack ``bin`` is ``{"$base64": "..."}`` in JSON."""

FEW: Final = 16
"""Fields up to which a payload is looked at one by one."""
_CONTAINERS: Final = frozenset({dict, list})
_PLAIN: Final = frozenset({type(None), bool, float, str})
_TEXT: Final = frozenset({str})
_VALUES: Final = frozenset({type(None), bool, int, float, str, bytes, dict, list})
_measure = msgspec.msgpack.Encoder()


def payload_fault(payload: Any, encoded: bytes) -> str | None:
    """Why ``payload``, decoded from JSON, is refused, with its path; None when it is good.

    Args:
        payload: the decoded value.
        encoded: bytes that hold its JSON, a whole envelope for instance.
    """
    if type(payload) is dict and len(payload) <= FEW:
        for value in payload.values():
            kind = type(value)
            if kind is int:
                if not -0x8000000000000000 <= value <= 0xFFFFFFFFFFFFFFFF:
                    break
            elif kind not in _PLAIN:
                break
        else:
            return None  # nothing is in it that could be wrong
    brackets = encoded.count(b"{") + encoded.count(b"[")
    if brackets > limits.PAYLOAD_DEPTH and _is_too_deep(payload):
        return find_fault(payload)
    try:
        # MessagePack has exactly the protocol's range of integers, so its encoder is the check.
        _measure.encode(payload)
    except (OverflowError, RecursionError):
        return find_fault(payload)
    return None


def _is_too_deep(payload: Any) -> bool:
    # Level by level, containers only: a tenth of what a walk over every value takes.
    level = [payload] if type(payload) in _CONTAINERS else []
    for _ in range(limits.PAYLOAD_DEPTH):
        if not level:
            return False
        level = [
            item
            for each in level
            for item in (each.values() if type(each) is dict else each)
            if type(item) in _CONTAINERS
        ]
    return bool(level)


def survey(payload: Any, depth: int = limits.PAYLOAD_DEPTH) -> tuple[bool, bool]:
    """Whether decoded MessagePack is a payload, and whether bytes are in it.

    As :func:`find_fault` finds it, without paths: a container at a time, and C looks into it.
    """
    level: list[Any] = [[payload]]
    binary = False
    for _ in range(depth + 1):
        following: list[Any] = []
        for each in level:
            if type(each) is dict:
                if not _TEXT.issuperset(map(type, each)):
                    return False, False
                items = each.values()
            else:
                items = each
            kinds = set(map(type, items))
            if not kinds <= _VALUES:
                return False, False
            if float in kinds and not all(map(math.isfinite, _of(float, items))):
                return False, False
            binary = binary or bytes in kinds
            if not kinds.isdisjoint(_CONTAINERS):
                following += [item for item in items if type(item) in _CONTAINERS]
        if not following:
            return True, binary
        level = following
    return False, False


def _of(kind: type, items: Iterable[Any]) -> list[Any]:
    return [item for item in items if type(item) is kind]


def find_fault(
    payload: Any,
    at: str = "payload",
    depth: int = limits.PAYLOAD_DEPTH,
    *,
    binary: bool = True,
) -> str | None:
    """Walk ``payload`` without recursion; the first fault with its path, or None.

    Args:
        payload: what is looked at.
        at: its own path.
        depth: how deep it may be nested.
        binary: whether bytes are allowed, as in MessagePack.
    """
    stack: list[tuple[Any, str, int]] = [(payload, at, depth)]
    while stack:
        value, path, left = stack.pop()
        if value is None or value is True or value is False:
            continue
        if isinstance(value, str):
            if not _is_unicode(value):
                return f"{path}: not valid Unicode (bad UTF-8 or a lone surrogate)"
        elif isinstance(value, int):
            if not limits.INTEGER_MIN <= value <= limits.INTEGER_MAX:
                return f"{path}: integers go from -2^63 to 2^64-1"
        elif isinstance(value, float):
            if not math.isfinite(value):
                return f"{path}: numbers must be finite"
        elif isinstance(value, Mapping):
            if left == 0:
                return f"{path}: nested deeper than {depth}"
            for key, item in value.items():
                if not isinstance(key, str):
                    return f"{path}: keys must be strings, not {type(key).__name__}"
                if not _is_unicode(key):
                    return f"{path}: a key is not valid Unicode (bad UTF-8 or a lone surrogate)"
                stack.append((item, f"{path}.{key[:40]}", left - 1))
        elif isinstance(value, (list, tuple)):
            if left == 0:
                return f"{path}: nested deeper than {depth}"
            stack.extend((item, f"{path}[{n}]", left - 1) for n, item in enumerate(value))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            if not binary:
                return f'{path}: bytes are not a JSON value; send {{"{BASE64_KEY}": "..."}}'
        else:
            return f"{path}: {type(value).__name__} is not a JSON value"
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_json_value(value: Any) -> Any:
    """The stored form of a checked MessagePack payload: ``bin`` becomes ``{"$base64": ...}``."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {BASE64_KEY: base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {key: to_json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_json_value(item) for item in value]
    return value


def to_msgpack_value(value: Any) -> Any:
    """The MessagePack form of a stored payload: ``{"$base64": ...}`` becomes ``bin``."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(text := value.get(BASE64_KEY), str):
            data = _from_base64(text)
            return value if data is None else data
        return {key: to_msgpack_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_msgpack_value(item) for item in value]
    return value


def _from_base64(text: str) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Only what comes back as the same text: else the value would change on its way.
    return data if base64.b64encode(data).decode("ascii") == text else None


def same_value(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal: numbers by value, objects whatever their order.

    True is not 1, as it would be in Python.
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict):
        return (
            isinstance(b, dict)
            and a.keys() == b.keys()
            and all(same_value(value, b[key]) for key, value in a.items())
        )
    if isinstance(a, list):
        return (
            isinstance(b, list)
            and len(a) == len(b)
            and all(same_value(x, y) for x, y in zip(a, b, strict=True))
        )
    return bool(a == b)
