"""When some hub was well, of the pulses that hubs told."""

from __future__ import annotations

from typing import Final, NamedTuple

PATIENCE_MS: Final = 90_000
"""How long before the end of a period a hub that is well may have told its last pulse."""
JOIN_MS: Final = 2_500
"""Gaps up to this between two pulses of a hub are of the clock, not of the hub."""


class Gap(NamedTuple):
    """A stretch in which no hub was well; milliseconds since the epoch."""

    begin: int
    end: int
    why: str


class Wellness:
    """Stretches in which some hub was well: milliseconds since the epoch, joined as they come."""

    def __init__(self) -> None:
        self._stretches: list[tuple[int, int]] = []
        self._whys: list[tuple[int, int, str]] = []
        self._last = 0

    def pulse(self, at: int, ms: int, well_ms: int, why: str) -> None:
        """A hub said at ``at`` that of the last ``ms`` it had been well for ``well_ms``."""
        self._last = max(self._last, at)
        begin = at - ms
        if why:
            self._whys.append((begin, at, why))
            begin = at - min(well_ms, ms)
        elif ms - well_ms > JOIN_MS:
            begin = at - well_ms  # it stood still
        if well_ms > 0:
            self._stretches.append((begin, at))

    def between(self, begin: int, end: int) -> list[tuple[int, int]]:
        """The stretches in between, in order, none touching the next."""
        joined: list[tuple[int, int]] = []
        for a, b in sorted(self._stretches):
            if joined and a <= joined[-1][1] + JOIN_MS:
                joined[-1] = joined[-1][0], max(joined[-1][1], b)
            else:
                joined.append((a, b))
        self._stretches = joined
        return [(max(a, begin), min(b, end)) for a, b in joined if b > begin and a < end]

    def known_until(self, end: int) -> int:
        """Up to when the pulses tell: a hub that is well tells its next one in a moment."""
        return min(end, self._last) if self._last and end - self._last < PATIENCE_MS else end

    def gaps(self, begin: int, end: int) -> list[Gap]:
        """What is left between the stretches, the longest first; a moment is none."""
        found: list[Gap] = []
        at = begin
        for a, b in [*self.between(begin, end), (end, end)]:
            if a > at + JOIN_MS:
                found.append(Gap(at, a, self._why(at, a)))
            at = max(at, b)
        return sorted(found, key=lambda gap: gap.begin - gap.end)

    def _why(self, begin: int, end: int) -> str:
        said = (why for a, b, why in self._whys if a < end and b > begin)
        return next(said, "")
