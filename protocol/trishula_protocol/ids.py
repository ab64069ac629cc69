"""UUIDv7 ids, RFC 9562 §5.7 with the monotonic counter of §6.2 method 1.

Time and randomness are arguments; the generator keeps ids of one process in order.
"""

from __future__ import annotations

from typing import Final

_COUNTERS: Final = tuple(f"{n:03x}" for n in range(0x1000))
"""Written once: formatting a number takes longer than all else an id takes."""


class IdMaker:
    """Makes ids that sort by the moment they were made.

    Args:
        seed: 62 random bits that set this maker apart from every other.
    """

    __slots__ = ("_counter", "_millis", "_prefix", "_tail")

    def __init__(self, seed: int) -> None:
        bits = seed & ((1 << 62) - 1) | (2 << 62)
        self._tail = f"-{bits >> 48:04x}-{bits & ((1 << 48) - 1):012x}"
        self._millis = -1
        self._counter = 0
        self._prefix = ""

    def __call__(self, wall_ms: int) -> str:
        """An id for ``wall_ms``, milliseconds since the epoch; later than every one before."""
        if wall_ms > self._millis:
            self._advance(wall_ms)
        self._counter += 1
        if self._counter > 0xFFF:  # 4096 ids in one millisecond: borrow the next one
            self._advance(self._millis + 1)
        return self._prefix + _COUNTERS[self._counter] + self._tail

    def _advance(self, wall_ms: int) -> None:
        self._millis = wall_ms
        self._counter = 0
        stamp = f"{wall_ms & ((1 << 48) - 1):012x}"
        self._prefix = f"{stamp[:8]}-{stamp[8:]}-7"
