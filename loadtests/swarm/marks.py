"""When a load test has passed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

CONNECT_SHARE: Final = 0.95
"""Of the connections that must be made in time."""


class Marks(NamedTuple):
    """What must be reached.

    Attributes:
        connect_ms: in which 95 % of the users are registered, those that come back too.
        rate: messages accepted a second while all users are there; more than that.
        errors: percent of all requests; less than that.
    """

    connect_ms: float = 500.0
    rate: float = 1000.0
    errors: float = 1.0


class Figures(NamedTuple):
    """What was found.

    Attributes:
        connects_ms: how long each registration took; infinite for one that failed.
        peak_messages: messages accepted while all users were there ...
        peak_seconds: ... and how long that was; 0 when they never all were.
    """

    connects_ms: Sequence[float]
    peak_messages: int
    peak_seconds: float
    requests: int
    failures: int


def from_environment(environ: Mapping[str, str]) -> Marks:
    """The usual marks, or those of ``TRISHULA_LOAD_CONNECT_MS``, ``…_RATE`` and ``…_ERRORS``.

    Raises:
        ValueError: names the variable.
    """
    found = {}
    for field in Marks._fields:
        name = f"TRISHULA_LOAD_{field.upper()}"
        text = environ.get(name)
        if text is None:
            continue
        try:
            found[field] = float(text)
        except ValueError:
            found[field] = math.nan
        if not found[field] >= 0:
            raise ValueError(f"{name}: {text!r} is not a number of 0 or more")
    return Marks(**found)


def judge(figures: Figures, marks: Marks) -> list[tuple[bool, str]]:
    """For each mark whether it was reached, and a line about it. What was not seen is missed."""
    ordered = sorted(figures.connects_ms)
    slow = ordered[math.ceil(CONNECT_SHARE * len(ordered)) - 1] if ordered else math.inf
    rate = figures.peak_messages / figures.peak_seconds if figures.peak_seconds else 0.0
    errors = figures.failures / figures.requests * 100 if figures.requests else 100.0
    return [
        (
            slow <= marks.connect_ms,
            f"95 % of {len(ordered)} connections within {slow:.0f} ms; "
            f"the mark is {marks.connect_ms:g} ms",
        ),
        (
            rate > marks.rate,
            f"{rate:.0f} messages/s while all users were there ({figures.peak_seconds:.0f} s); "
            f"the mark is over {marks.rate:.10g}",
        ),
        (
            errors < marks.errors,
            f"{figures.failures} of {figures.requests} requests failed, {errors:.2f} %; "
            f"the mark is under {marks.errors:g} %",
        ),
    ]
