"""What a hub has done, in plain integers, for whoever measures it.

Counted once a batch where that is possible; nobody is told, whoever wants to know looks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

DELIVERY_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Upper bounds of the buckets of :attr:`Counts.delivered`."""


class Buckets:
    """A histogram with fixed bounds.

    Attributes:
        bounds: of each bucket the largest value; one bucket more has what is larger.
        counts: how many fell into each.
        sum: of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Buckets n={sum(self.counts)} sum={self.sum:g}>"

    def add(self, value: float, times: int = 1) -> None:
        """``value``, so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def plus(self, other: Buckets) -> Buckets:
        """Both together."""
        both = Buckets(self.bounds)
        both.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        both.sum = self.sum + other.sum
        return both

    def divided(self, by: float) -> Buckets:
        """The same in a unit that is so many times as large."""
        found = Buckets([bound / by for bound in self.bounds])
        found.counts, found.sum = list(self.counts), self.sum / by
        return found


class Counts:
    """Of one namespace, since the hub began.

    Attributes:
        delivered: milliseconds from acceptance to delivery, of copies accepted while their
            recipient was there: of each batch that goes out, those of its first one.
        handed_out: all copies that went out.
        redelivered: those of them that had gone out before.
        errors: ERRORs told to sessions, by code.
        leading: times this node took over the duties.
    """

    __slots__ = ("delivered", "errors", "handed_out", "leading", "redelivered")

    def __init__(self) -> None:
        self.delivered = Buckets(DELIVERY_MS)
        self.handed_out = 0
        self.redelivered = 0
        self.errors: Counter[str] = Counter()
        self.leading = 0

    def __repr__(self) -> str:
        return f"<Counts handed_out={self.handed_out} redelivered={self.redelivered}>"

    def out(self, copies: int, waited: int, there: int) -> None:
        """A batch goes out.

        Args:
            copies: how many.
            waited: milliseconds since the first of them was accepted.
            there: milliseconds since its recipient connected.
        """
        self.handed_out += copies
        if waited <= there:
            self.delivered.add(max(0, waited), copies)


def delivered_of(counts: Iterable[Counts]) -> Buckets:
    """``delivered`` of all of them together, in milliseconds."""
    found = Buckets(DELIVERY_MS)
    for each in counts:
        found = found.plus(each.delivered)
    return found
