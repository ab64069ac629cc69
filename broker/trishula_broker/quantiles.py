"""Medians and tails out of histograms, wherever these come from."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value below which ``share`` of a histogram's values lie, as ``histogram_quantile`` of
    Prometheus estimates it: evenly spread within a bucket. None when it is empty.

    Args:
        bounds: of each bucket the largest value, rising.
        counts: how many fell into each; one more may have what is larger than the last bound, of
            which nothing more is known than that bound.
    """
    wanted = sum(counts) * share
    if not wanted:
        return None
    passed, low = 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if passed + count >= wanted:
            return low + (bound - low) * (wanted - passed) / count
        passed, low = passed + count, bound
    return float(bounds[-1])
