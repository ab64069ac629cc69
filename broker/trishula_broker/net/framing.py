"""WebSocket data frames as they nearly always are: whole, and so without a state machine.

RFC 6455 §5.2. Knows bytes only. What is anything else (control frames, fragments, extensions, what
is wrong) is for the Sans-I/O layer of ``websockets``, which takes several times as long and makes
objects of which some live until the next frame.
"""

from __future__ import annotations

from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # where it was built without a compiler
    from websockets.utils import apply_mask

TEXT: Final = 0x81
"""A final text frame without extensions."""
BINARY: Final = 0x82
"""A final binary frame without extensions."""
MASKED: Final = 0x80
"""Set in the second byte of what a client sends."""

unmask = apply_mask
"""``unmask(data, key)``: what was masked with these four bytes."""


def masked_size(data: bytes, at: int) -> tuple[int, int]:
    """Of a masked frame that begins at ``at``: bytes of its head, the last four of which are the
    key, and of what follows.

    0 bytes of head: not all of it is there. ``data`` has its first two bytes.
    """
    size = data[at + 1] & 0x7F
    if size < 126:
        return 6, size
    if size == 126:
        return (8, data[at + 2] << 8 | data[at + 3]) if at + 4 <= len(data) else (0, 0)
    return (14, int.from_bytes(data[at + 2 : at + 10], "big")) if at + 10 <= len(data) else (0, 0)


def head(first: int, size: int) -> bytes:
    """What stands before ``size`` bytes that a server sends; ``first`` is the first byte."""
    if size < 126:
        return bytes((first, size))
    if size < 0x10000:
        return b"%c\x7e%b" % (first, size.to_bytes(2, "big"))
    return b"%c\x7f%b" % (first, size.to_bytes(8, "big"))
