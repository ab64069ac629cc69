"""What a hub is looked at for alerts, and how it was a while ago. Pure: others do the looking."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import linear_regression
from typing import Final, NamedTuple

KEPT_S: Final = 3_900.0
"""Seconds of samples that are kept: what agents are missing is compared with an hour."""
DISK_S: Final = 21_600.0
"""Seconds for which it is kept how much of the disk was free,"""
DISK_EVERY_S: Final = 60.0
"""and between two of these."""


class Sample(NamedTuple):
    """One look. Counters are since the process began; spans are seconds, ``wall`` is since the
    epoch, ``at`` of a clock that never jumps.

    Attributes:
        accept, delivery, lag: counts by bucket.
        messages: that were decided; ``errors`` were told to sessions meanwhile.
        delivered: copies handed out; ``redelivered`` had been before.
        fullest: the agent with the fullest mailbox, and how many messages that holds.
        mailbox_limit: how many it may hold.
        failovers: times this hub took over the duties.
        resident: memory of the process; 0 where the system does not tell.
        descriptors: that are open, and that may be; likewise.
        unproven: requests that came without a good token.
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
    messages: int = 0
    errors: int = 0
    delivered: int = 0
    redelivered: int = 0
    ended: int = 0
    online: int | None = None
    fullest: tuple[str, int] = ("", 0)
    mailbox_limit: int = 0
    led: bool = True
    failovers: int = 0
    problem: str | None = None
    pending_s: float = 0.0
    audit_lag_s: float = 0.0
    mismatches: int = 0
    alarms: int = 0
    warnings: int = 0
    disk_free: int = 0
    disk_total: int = 0
    resident: int = 0
    descriptors: tuple[int, int] = (0, 0)
    unproven: int = 0
    certificate_ends: float | None = None


class History:
    """Samples of the last hour, and what they were."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()
        self._disk: deque[tuple[float, int]] = deque()

    def add(self, sample: Sample) -> None:
        """The newest."""
        self._samples.append(sample)
        while self._samples[0].at < sample.at - KEPT_S:
            self._samples.popleft()
        disk = self._disk
        if sample.disk_total and (not disk or sample.at - disk[-1][0] >= DISK_EVERY_S):
            disk.append((sample.at, sample.disk_free))
        while disk and disk[0][0] < sample.at - DISK_S:
            disk.popleft()

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

    def disk_free_in(self, seconds: float) -> float | None:
        """Bytes of the disk that are free then, going by the last six hours: a straight line
        through them by least squares, as ``predict_linear`` of Prometheus. None where nothing is
        known."""
        if len(self._disk) < 2:
            return None
        now = self.now.at
        times = [at - now for at, _ in self._disk]
        frees = [free for _, free in self._disk]
        slope, free_now = linear_regression(times, frees)
        return free_now + slope * seconds


def difference(before: Sequence[int], now: Sequence[int]) -> list[int]:
    """How many more there are in each bucket."""
    if len(before) != len(now):
        return list(now)
    return [b - a for a, b in zip(before, now, strict=True)]
