"""The last hour in numbers: what the counters said every ten seconds, for the console's plots."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from trishula_broker.api import shapes
from trishula_broker.hub.counts import DELIVERY_MS, delivered_of
from trishula_broker.net.driver import Driver
from trishula_broker.quantiles import quantile

STEP_S: Final = 10
STEPS: Final = 360


class Totals(NamedTuple):
    """Since the hub began: messages accepted, copies handed out, and the latter by latency."""

    accepted: int
    delivered: int
    latencies: tuple[int, ...]


class Series:
    """Looks at the counters each step.

    Args:
        totals: what they say now.
        clock: wall-clock milliseconds.
    """

    def __init__(self, totals: Callable[[], Totals], clock: Callable[[], int]) -> None:
        self._totals = totals
        self._clock = clock
        self._last = totals()
        self._steps: deque[tuple[float, float, float | None, float | None]] = deque(maxlen=STEPS)
        self._end = clock()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Step every ten seconds from now on."""
        self._timer = loop.call_later(STEP_S, self._again, loop)

    def _again(self, loop: asyncio.AbstractEventLoop) -> None:
        self.step()
        self.watch(loop)

    def close(self) -> None:
        """Step no more."""
        if self._timer is not None:
            self._timer.cancel()

    def step(self) -> None:
        """Ten seconds have passed."""
        before, now = self._last, self._totals()
        found = [b - a for a, b in zip(before.latencies, now.latencies, strict=True)]
        self._steps.append(
            (
                (now.accepted - before.accepted) / STEP_S,
                (now.delivered - before.delivered) / STEP_S,
                quantile(DELIVERY_MS, found, 0.5),
                quantile(DELIVERY_MS, found, 0.99),
            )
        )
        self._last, self._end = now, self._clock()

    def shown(self) -> shapes.Series:
        """The hour until the last step; as many entries in each list as there were steps."""
        steps = list(self._steps)
        return shapes.Series(
            STEP_S,
            self._end,
            [accepted for accepted, *_ in steps],
            [delivered for _, delivered, *_ in steps],
            [half for *_, half, _ in steps],
            [tail for *_, tail in steps],
        )


def totals_of(driver: Driver) -> Totals:
    """What this hub has counted."""
    counts = [core.counts for core in driver.cores.values()]
    delivered = sum(each.handed_out for each in counts)
    accepted = sum(
        count for (_, outcome), count in driver.meter.messages.items() if outcome == "accepted"
    )
    return Totals(accepted, delivered, tuple(delivered_of(counts).counts))
