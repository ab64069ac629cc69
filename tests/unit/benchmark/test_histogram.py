"""The histogram agrees with a sorted list, to a tenth of a percent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.benchmark.histogram import Histogram, bucket, highest, merged

SHARES = (0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
durations = st.one_of(st.integers(0, 3_000), st.integers(0, 10**13))


def histogram(values: Sequence[int]) -> Histogram:
    found = Histogram()
    for value in values:
        found.record(value)
    return found


def exact(values: Sequence[int], share: float) -> int:
    """The smallest value that the share of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(round(share * len(ordered), 6))) - 1]


@given(st.lists(durations, min_size=1))
def test_percentiles_are_those_of_the_sorted_list(values: list[int]) -> None:
    found = histogram(values).percentiles_us(SHARES)
    for share, us in zip(SHARES, found, strict=True):
        true = exact(values, share)
        assert true <= us <= true * (1 + 1 / 1024)


@given(st.lists(durations, min_size=1))
def test_count_mean_and_maximum_are_exact(values: list[int]) -> None:
    summary = histogram(values).summary()
    assert summary.count == len(values)
    assert summary.max == max(values) / 1000
    assert summary.mean == sum(values) / len(values) / 1000
    assert summary.p50 <= summary.p90 <= summary.p95 <= summary.p99 <= summary.p999 <= summary.max


@given(durations)
def test_a_bucket_holds_its_values_and_is_narrow(value: int) -> None:
    top = highest(bucket(value))
    assert value <= top <= value * (1 + 1 / 1024)
    assert bucket(top) == bucket(value)
    assert bucket(top + 1) == bucket(value) + 1


@given(st.lists(st.lists(durations), max_size=5))
def test_parts_added_up_are_the_whole(parts: list[list[int]]) -> None:
    whole = histogram([value for part in parts for value in part])
    assert merged(map(histogram, parts)) == whole


@given(st.lists(durations))
def test_it_survives_json(values: list[int]) -> None:
    found = histogram(values)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Histogram) == found


@given(st.lists(durations, min_size=1), st.integers(0, 30), st.sampled_from(SHARES[1:]))
def test_what_has_not_ended_counts_as_longer_than_any(
    values: list[int], missing: int, share: float
) -> None:
    whole = [*values, *[10**15] * missing]
    true = exact(whole, share)
    found = histogram(values).percentile_of_us(share, len(whole))
    if true == 10**15:
        assert found is None
    else:
        assert found is not None
        assert true <= found <= true * (1 + 1 / 1024)


def test_of_nothing_everything_is_zero() -> None:
    assert set(msgspec.structs.astuple(Histogram().summary())) == {0}


def test_a_clock_that_was_set_back_makes_no_negative_duration() -> None:
    assert histogram([-5]) == histogram([0])


@pytest.mark.parametrize("count", [10, 100, 1_000, 2_000])
def test_of_a_round_count_the_rank_is_not_one_too_high(count: int) -> None:
    found = histogram(range(1, count + 1))
    assert found.percentiles_us([0.9, 0.99, 0.5]) == [
        exact(range(1, count + 1), share) for share in (0.9, 0.99, 0.5)
    ]
    assert found.percentile_us(0.9) == count * 9 // 10
