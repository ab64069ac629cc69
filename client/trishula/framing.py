"""WebSocket data frames as they nearly always are: whole, text, and so without a state machine.

RFC 6455 §5.2. Knows bytes only. What is anything else (control frames, fragments, binary, what is
wrong) is for the Sans-I/O layer of ``websockets``, which takes several times as long.
"""

from __future__ import annotations

import os
from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # where it was built without a compiler
    from websockets.utils import apply_mask

TEXT: Final = 0x81
"""A final text frame without extensions."""
_KEYS: Final = 1024
"""Bytes of masking keys drawn at a time: a call of the system for each frame is dear."""


class Masks:
    """Masking keys, from the source of randomness that §10.3 asks for."""

    __slots__ = ("_at", "_drawn")

    def __init__(self) -> None:
        self._drawn = b""
        self._at = 0

    def next(self) -> bytes:
        """Four bytes that nobody can foretell."""
        at = self._at
        if at == len(self._drawn):
            self._drawn = os.urandom(_KEYS)
            at = 0
        self._at = at + 4
        return self._drawn[at : at + 4]


def text_frame(data: bytes, mask: bytes) -> bytes:
    """A client's frame with ``data``."""
    size = len(data)
    if size < 126:
        head = b"\x81%c" % (0x80 | size)
    elif size < 0x10000:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + size.to_bytes(8, "big")
    return head + mask + apply_mask(data, mask)


def frame_size(data: bytes, at: int) -> tuple[int, int]:
    """Of an unmasked frame that begins at ``at``: bytes of its head, and of what follows.

    0 bytes of head: not all of it is there. ``data`` has its first two bytes.
    """
    size = data[at + 1]
    if size < 126:
        return 2, size
    if size == 126:
        return (4, data[at + 2] << 8 | data[at + 3]) if at + 4 <= len(data) else (0, 0)
    return (10, int.from_bytes(data[at + 2 : at + 10], "big")) if at + 10 <= len(data) else (0, 0)
