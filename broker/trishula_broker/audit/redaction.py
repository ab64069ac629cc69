"""Fields of an envelope that the archive must not hold, replaced by the digest of what they say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

MARK: Final = "$redacted"
ROOTS: Final = ("payload", "headers")
_PATH: Final = re.compile(r"[^.]+(?:\.[^.]+)+\Z")

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def path_fault(path: str) -> str | None:
    """What is wrong with a path, or None."""
    if _PATH.match(path) is None or path.partition(".")[0] not in ROOTS:
        return (
            f"{path[:80]!r} is no path of a field: write payload.NAME or headers.NAME, with * for "
            "any name or index, such as payload.*.token"
        )
    return None


class Redactor:
    """Takes out the values at ``paths``.

    Args:
        paths: as in ``payload.password`` or ``payload.*.token``: names and indexes, ``*`` for any.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = [path.split(".") for path in paths]
        # What is not in the text at all need not be looked for in what it says.
        needles = [_encode(path[-1])[1:-1] for path in self._paths]
        self._needles = [] if b"*" in needles else needles

    def __call__(self, body: bytes) -> bytes:
        """The envelope ``body`` without them."""
        if self._needles and not any(needle in body for needle in self._needles):
            return body
        envelope = _decode(body)
        for path in self._paths:
            _take_out(envelope, path, 0)
        return _encode(envelope)


def _take_out(value: Any, path: list[str], depth: int) -> None:
    name = path[depth]
    keys: Iterable[Any]
    if isinstance(value, dict):
        keys = list(value) if name == "*" else (name,) if name in value else ()
    elif isinstance(value, list):
        if name == "*":
            keys = range(len(value))
        else:
            keys = (int(name),) if name.isdecimal() and int(name) < len(value) else ()
    else:
        return
    for key in keys:
        if depth + 1 < len(path):
            _take_out(value[key], path, depth + 1)
        elif not (isinstance(value[key], dict) and list(value[key]) == [MARK]):
            digest = hashlib.sha256(_encode(value[key])).hexdigest()
            value[key] = {MARK: f"sha256:{digest}"}
