"""What a hub is looked at for alerts, and how it was a while ago. Pure: others do the looking."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

KEPT_S: Final = 3_900.0
"""Seconds of samples that are kept: what agents are missing is compared with an hour."""


class Sample(NamedTuple):
    """One look. Counters are since the process began; spans are seconds, ``wall`` is since the
    epoch, ``at`` of a clock that never jumps.

    Attributes:
        accept, delivery, lag: counts by bucket.
        online: agents of the namespace that are online, wherever; None while nobody can tell.
        led: somebody holds the lease on the duties.
        problem: why the archive cannot be written; None when it can.
        certificate_ends: None without TLS.
    """

    at: float
    wall: float
    accept: tuple[int, ...] = ()
    delivery: tuple[int, ...] = ()
    lag: tuple[int, ...] = ()
    failed: int = 0
    dead_letters: int = 0
    ended: int = 0
    online: int | None = None
    led: bool = True
    problem: str | None = None
    pending_s: float = 0.0
    audit_lag_s: float = 0.0
    mismatches: int = 0
    alarms: int = 0
    warnings: int = 0
    disk_free: int = 0
    disk_total: int = 0
    certificate_ends: float | None = None


class History:
    """Samples of the last hour, and what they were."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def add(self, sample: Sample) -> None:
        """The newest."""
        self._samples.append(sample)
        while self._samples[0].at < sample.at - KEPT_S:
            self._samples.popleft()

    @property
    def now(self) -> Sample:
        """The newest; there is one."""
        return self._samples[-1]

    def ago(self, seconds: float) -> Sample:
        """The newest that is so old; the oldest where none is."""
        wanted = self.now.at - seconds
        found = self._samples[0]
        for sample in self._samples:
            if sample.at > wanted:
                break
            found = sample
        return found

    def most_online(self, seconds: float, until: float) -> int:
        """The most agents that were online, in ``seconds`` that ended ``until`` ago."""
        end = self.now.at - until
        counts = (s.online or 0 for s in self._samples if end - seconds <= s.at <= end)
        return max(counts, default=0)


def difference(before: Sequence[int], now: Sequence[int]) -> list[int]:
    """How many more there are in each bucket."""
    if len(before) != len(now):
        return list(now)
    return [b - a for a, b in zip(before, now, strict=True)]
