"""When the event loop may wait for the disk itself: after quick records, and never for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.store.sqlite.pace import QUICK_S, SHARE, Pace

SLOW_S = 10 * QUICK_S


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("records", "quick"),
    [
        ([], False),  # nobody knows yet
        ([QUICK_S / 2], True),
        ([QUICK_S], True),
        ([SLOW_S], False),
        ([QUICK_S / 2, SLOW_S], False),
        ([SLOW_S, QUICK_S / 2], False),  # the next may be slow again
        ([SLOW_S, *[QUICK_S / 2] * 1_000], False),
    ],
)
def test_a_disk_is_quick_when_its_last_records_were(records: list[float], quick: bool) -> None:
    pace = Pace(Clock())
    for seconds in records:
        pace.took(seconds)
    assert pace.is_quick is quick


def test_a_disk_is_quick_again_after_a_while_once_a_record_shows_it() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.took(SLOW_S)
    clock.now += SHARE * SLOW_S
    assert not pace.is_quick
    pace.took(QUICK_S)
    assert pace.is_quick


@pytest.mark.hypothesis
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.01)), max_size=50))
def test_slow_records_keep_the_loop_for_a_small_part_of_its_time(
    records: list[tuple[float, float]],
) -> None:
    """``records``: how long each takes, and how long after the last it is begun."""
    clock = Clock()
    pace = Pace(clock)
    kept = 0.0
    for seconds, pause in records:
        clock.now += pause
        here = pace.is_quick
        clock.now += seconds
        pace.took(seconds)
        if here and seconds > QUICK_S:
            kept += seconds
    rest = SHARE * max((seconds for seconds, _ in records), default=0.0)
    assert kept <= (clock.now - 1_000.0 + rest) / SHARE + 1e-6
