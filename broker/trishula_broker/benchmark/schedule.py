"""When each message is to be sent, and how urgent it is: decided before the run, not during it.

Latency counted from the moment a message was *planned* for has no coordinated omission (Gil Tene,
"How NOT to Measure Latency"): a hub that stalls is charged for every message the stall held up,
and not for the one alone that happened to be under way. Does no I/O and reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trishula_protocol import limits


class Schedule:
    """One sender's part of an even stream.

    Args:
        rate: messages a second of all senders together.
        senders: how many there are; they take turns.
        sender: which one this is, from 0.
        seconds: how long the stream lasts.
    """

    def __init__(self, rate: float, senders: int, sender: int, seconds: float) -> None:
        self._interval = 1e9 / rate
        self._senders = senders
        self._sender = sender
        self._end = seconds * 1e9

    def __iter__(self) -> Iterator[int]:
        """Nanoseconds after the start, one a message, all before the end."""
        turn = self._sender
        # Multiplied, not added up: a sum of rounded intervals would drift.
        while (at := int(turn * self._interval)) < self._end:
            yield at
            turn += self._senders


class PriorityMix:
    """Priorities in the proportion of their weights, evenly interleaved and always the same.

    Each turn every priority earns its weight; the one that has most is next and pays for it
    (smooth weighted round robin, as nginx balances upstreams).

    Args:
        weights: by priority, 1-5; none for the default priority alone.
    """

    def __init__(self, weights: Mapping[int, int]) -> None:
        self._weights = dict(weights) or {limits.PRIORITY_DEFAULT: 1}
        self._total = sum(self._weights.values())
        self._earned = dict.fromkeys(self._weights, 0)

    def next(self) -> int:
        """The next message's priority."""
        if len(self._weights) == 1:
            return next(iter(self._weights))
        for priority, weight in self._weights.items():
            self._earned[priority] += weight
        chosen = max(self._earned, key=lambda each: (self._earned[each], -each))
        self._earned[chosen] -= self._total
        return chosen


def parse_mix(text: str) -> dict[int, int]:
    """Weights from ``1:5,3:90,5:5``; a priority alone, ``2``, has the weight 1.

    Raises:
        ValueError: names what is wrong.
    """
    weights: dict[int, int] = {}
    for part in text.split(","):
        priority, colon, weight = part.strip().partition(":")
        if priority not in {"1", "2", "3", "4", "5"}:
            raise ValueError(f"{priority!r} is no priority: 1, the most urgent, to 5")
        if int(priority) in weights:
            raise ValueError(f"priority {priority} is given twice")
        if colon and not (weight.isdecimal() and weight.isascii() and 0 < int(weight) <= 1000):
            raise ValueError(f"{weight!r} is no weight: a whole number from 1 to 1000")
        weights[int(priority)] = int(weight) if colon else 1
    return weights
