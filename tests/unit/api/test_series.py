"""The last hour in numbers."""

import pytest

from trishula_broker.api.series import STEP_S, STEPS, Series, Totals
from trishula_broker.hub.counts import DELIVERY_MS, Buckets


class Counters:
    """A hub's, moved by the test."""

    def __init__(self) -> None:
        self.accepted = self.delivered = self.now = 0
        self.latencies = Buckets(DELIVERY_MS)

    def totals(self) -> Totals:
        return Totals(self.accepted, self.delivered, tuple(self.latencies.counts))


def test_a_step_tells_what_came_since_the_last_one() -> None:
    counters = Counters()
    counters.accepted = 7  # before anybody looked
    series = Series(counters.totals, lambda: counters.now)
    counters.accepted += 50
    counters.delivered += 100
    counters.latencies.add(3, 100)
    counters.now += STEP_S * 1000
    series.step()
    counters.now += STEP_S * 1000
    series.step()
    shown = series.shown()
    assert (shown.accepted, shown.delivered) == ([5.0, 0.0], [10.0, 0.0])
    assert shown.p50_ms == [3.5, None]  # between 2 and 5
    assert shown.p99_ms == [pytest.approx(4.97), None]
    assert shown.end == counters.now


def test_it_keeps_an_hour() -> None:
    series = Series(Counters().totals, lambda: 0)
    assert series.shown().accepted == []
    for _ in range(STEPS + 5):
        series.step()
    assert len(series.shown().p99_ms) == STEPS == 3600 // STEP_S
