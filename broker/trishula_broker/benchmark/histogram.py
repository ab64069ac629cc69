"""Durations in buckets of at most 0.1 %, after Gil Tene's HdrHistogram.

Values are whole microseconds. Below 2 048 each has a bucket of its own; above, each doubling is
divided into 1 024. A percentile is the highest value of its bucket, and never above the maximum.
Knows neither clocks nor messages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

SUB_BITS: Final = 10
"""1 024 buckets a doubling: a bucket's width is at most 1/1 024 of its values."""
_LINEAR: Final = 1 << SUB_BITS + 1


class Summary(msgspec.Struct, frozen=True):
    """What people ask of a histogram; milliseconds. Zeros when nothing was recorded."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float


class Histogram(msgspec.Struct):
    """How often each duration was seen. JSON has its counts only where there are any."""

    counts: dict[int, int] = {}
    total_us: int = 0
    max_us: int = 0

    def record(self, us: int) -> None:
        """Count one duration; one below 0, from a clock that was set, counts as 0."""
        us = max(us, 0)
        index = bucket(us)
        self.counts[index] = self.counts.get(index, 0) + 1
        self.total_us += us
        self.max_us = max(self.max_us, us)

    def add(self, other: Histogram) -> None:
        """Count all that ``other`` has."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count
        self.total_us += other.total_us
        self.max_us = max(self.max_us, other.max_us)

    @property
    def count(self) -> int:
        """How many were recorded."""
        return sum(self.counts.values())

    def percentile_us(self, share: float) -> int:
        """The smallest recorded duration that ``share`` (0-1) of all do not exceed; 0 of none."""
        return self.percentiles_us([share])[0]

    def percentiles_us(self, shares: Iterable[float]) -> list[int]:
        """As :meth:`percentile_us`, of several in one pass."""
        shares = list(shares)
        count = self.count
        if not count:
            return [0 for _ in shares]
        # Rounded first: 0.999 * 1000 is 999.0000000000001 in floating point for some shares.
        ranks = {share: max(1, math.ceil(round(share * count, 6))) for share in shares}
        found: dict[float, int] = {}
        waiting = sorted(ranks, reverse=True)
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            while waiting and seen >= ranks[waiting[-1]]:
                found[waiting.pop()] = min(highest(index), self.max_us)
            if not waiting:
                break
        return [found[share] for share in shares]

    def percentile_of_us(self, share: float, count: int) -> int | None:
        """As :meth:`percentile_us` of ``count`` durations, of which those not recorded have not
        ended: longer than any. None when the percentile is one of them."""
        found = self.count
        if not found or round(share * count, 6) > found:
            return None
        return self.percentile_us(min(1.0, share * count / found))

    def summary(self) -> Summary:
        """The usual percentiles."""
        count = self.count
        p50, p90, p95, p99, p999 = (
            us / 1000 for us in self.percentiles_us([0.5, 0.9, 0.95, 0.99, 0.999])
        )
        mean = self.total_us / count / 1000 if count else 0.0
        return Summary(count, mean, p50, p90, p95, p99, p999, self.max_us / 1000)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    found = Histogram()
    for each in histograms:
        found.add(each)
    return found


def bucket(us: int) -> int:
    """The number of the bucket for a duration of 0 or more."""
    shift = max(us.bit_length() - SUB_BITS - 1, 0)
    return (shift << SUB_BITS) + (us >> shift)


def highest(index: int) -> int:
    """The highest duration that falls into a bucket."""
    if index < _LINEAR:
        return index
    shift = (index >> SUB_BITS) - 1
    return ((index - (shift << SUB_BITS) + 1) << shift) - 1
