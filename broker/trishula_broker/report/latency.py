"""Latencies of pulses: histograms that are added up, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from trishula_broker.quantiles import quantile
from trishula_broker.report.shapes import Latency

INFINITE: Final = float("inf")


class Histogram:
    """How many values are at most as large as each bound, in seconds."""

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()

    def __repr__(self) -> str:
        return f"<Histogram n={self.count}>"

    def add(self, told: Any) -> None:
        """The buckets of a pulse: bound → how many; whatever is none is passed over."""
        if not isinstance(told, Mapping):
            return
        for bound, count in told.items():
            try:
                self._counts[float(bound)] += int(count)
            except (TypeError, ValueError):
                continue

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self._counts.values())

    def quantile_ms(self, share: float) -> float | None:
        """Below which ``share`` of the values lie, evenly spread within a bucket; None without
        values. Of what is beyond the last bound nothing more is known than that bound."""
        bounds = sorted(bound for bound in self._counts if bound != INFINITE)
        counts = [self._counts[bound] for bound in bounds]
        if not bounds and self.count:
            return 0.0
        found = quantile(bounds, [*counts, self._counts.get(INFINITE, 0)], share)
        return None if found is None else round(1000 * found, 3)

    def shown(self) -> Latency:
        """Median and tail."""
        return Latency(self.count, self.quantile_ms(0.5), self.quantile_ms(0.99))
