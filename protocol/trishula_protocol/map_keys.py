"""Whether all keys in MessagePack are text, found out without making the maps.

An array may be a key there, and Python hashes a tuple of numbers the same in every process: who
knows how makes thousands of keys with one hash, and a map of them costs a minute (CVE-2012-1150
was this for text). JSON has text keys only, whose hashes nobody can foresee.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trishula_protocol.address import is_id
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.limits import ID_LENGTH

HARMLESS_BYTES: Final = 1024
"""An envelope no larger than this has too few keys to matter: it costs a tenth of a millisecond at
most, and most are no larger."""

_SMALL: Final = re.compile(rb"[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]*")
"""Values of one byte: small integers, nil, booleans."""
_FIXED: Final = dict(
    zip(
        b"\xc0\xc2\xc3\xca\xcb\xcc\xcd\xce\xcf\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8",
        (0, 0, 0, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17),
        strict=True,
    )
)
"""Bytes behind the first one of a value, where that tells."""
_SIZED: Final = dict(
    zip(
        b"\xc4\xc5\xc6\xc7\xc8\xc9\xd9\xda\xdb",
        ((1, 0), (2, 0), (4, 0), (1, 1), (2, 1), (4, 1), (1, 0), (2, 0), (4, 0)),
        strict=True,
    )
)
"""Bytes of the length, and bytes beside what it counts: bin, ext, str."""
_CONTAINERS: Final = {0xDC: (2, False), 0xDD: (4, False), 0xDE: (2, True), 0xDF: (4, True)}
"""Bytes of the count, and whether it is a map."""

_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_text = msgspec.msgpack.Decoder(str)


def key_refusal(raw: msgspec.Raw) -> ProtocolError | None:
    """Why an envelope must not be decoded, None when it may: all that is known is that its bytes
    are MessagePack."""
    data = bytes(raw)
    if len(data) <= HARMLESS_BYTES or keys_are_text(data):
        return None
    problem, reply_to = "envelope: keys must be strings", None
    try:
        fields = _fields.decode(raw)
        bad = next(name for name, part in fields.items() if not keys_are_text(bytes(part)))
        problem = f"{bad[:40]}: keys must be strings"
        named = fields.get("id", b"")
        if 0 < len(bytes(named)) <= ID_LENGTH + 3 and is_id(text := _text.decode(named)):
            reply_to = text
    except (msgspec.MsgspecError, UnicodeDecodeError, StopIteration):
        pass  # what is said already has to do
    return ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=reply_to)


def keys_are_text(data: bytes) -> bool:
    """Whether every key of every map in ``data`` is a string; also when it is no MessagePack,
    which its decoder finds out."""
    at, left, is_map = 0, 1, False
    outer: list[tuple[int, bool]] = []
    try:
        while True:
            if left == 0:
                if not outer:
                    return True
                left, is_map = outer.pop()
                continue
            kind = data[at]
            if not is_map:
                found = _SMALL.match(data, at, at + left)
                if found is not None and found.end() > at:
                    left -= found.end() - at
                    at = found.end()
                    continue
            elif left % 2 == 0 and not (0xA0 <= kind <= 0xBF or 0xD9 <= kind <= 0xDB):
                return False
            left -= 1
            at += 1
            if kind <= 0x7F or kind >= 0xE0:
                continue
            if kind >= 0xC0:
                if kind in _FIXED:
                    at += _FIXED[kind]
                    continue
                if kind in _SIZED:
                    size, beside = _SIZED[kind]
                    at += size + beside + int.from_bytes(data[at : at + size], "big")
                    continue
                size, inside_map = _CONTAINERS[kind]
                count = int.from_bytes(data[at : at + size], "big")
                at += size
            elif kind >= 0xA0:
                at += kind & 0x1F
                continue
            else:
                count, inside_map = kind & 0x0F, kind < 0x90
            outer.append((left, is_map))
            left, is_map = (2 * count if inside_map else count), inside_map
    except (IndexError, KeyError):
        return True
