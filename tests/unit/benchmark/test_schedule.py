"""What is planned before a run: moments and priorities."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.benchmark.schedule import PriorityMix, Schedule, parse_mix

mixes = st.dictionaries(st.integers(1, 5), st.integers(1, 20), min_size=1)


@given(
    st.floats(0.5, 5_000), st.integers(1, 7), st.floats(0.01, 2).filter(lambda each: each > 0.01)
)
def test_senders_share_an_even_stream(rate: float, senders: int, seconds: float) -> None:
    parts = [list(Schedule(rate, senders, each, seconds)) for each in range(senders)]
    merged = sorted(at for part in parts for at in part)
    interval = 1e9 / rate
    assert merged == [int(n * interval) for n in range(len(merged))]
    assert merged[0] == 0
    assert merged[-1] < seconds * 1e9 <= (len(merged) * interval) + 1
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_long_stream_does_not_drift() -> None:
    *_, last = Schedule(3, 1, 0, 86_400)
    assert last == int((3 * 86_400 - 1) * 1e9 / 3)


@given(mixes, st.integers(1, 4))
def test_priorities_come_in_their_proportion(mix: dict[int, int], rounds: int) -> None:
    turns = PriorityMix(mix)
    total = sum(mix.values())
    for _ in range(rounds):
        assert Counter(turns.next() for _ in range(total)) == mix


@given(mixes)
def test_at_every_moment_no_priority_is_behind_by_more_than_its_number_of_rivals(
    mix: dict[int, int],
) -> None:
    turns, total = PriorityMix(mix), sum(mix.values())
    seen: Counter[int] = Counter()
    for n in range(1, total + 1):
        seen[turns.next()] += 1
        for priority, weight in mix.items():
            assert abs(seen[priority] - n * weight / total) <= len(mix)


def test_without_a_mix_the_priority_is_the_default() -> None:
    turns = PriorityMix({})
    assert {turns.next() for _ in range(10)} == {3}


@pytest.mark.parametrize(
    ("text", "weights"),
    [("2", {2: 1}), ("1:5,3:90, 5:5", {1: 5, 3: 90, 5: 5}), ("1,2", {1: 1, 2: 1})],
)
def test_a_mix_is_read(text: str, weights: dict[int, int]) -> None:
    assert parse_mix(text) == weights


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("6:1", "'6' is no priority"),
        ("", "'' is no priority"),
        ("1:0", "'0' is no weight"),
        ("1:-3", "'-3' is no weight"),
        ("1:", "'' is no weight"),
        ("1:٣", "is no weight"),
        ("1:5,1:6", "priority 1 is given twice"),
        ("1:1001", "'1001' is no weight"),
    ],
)
def test_a_mix_that_is_none_is_told_why(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_mix(text)
