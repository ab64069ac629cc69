"""What a hub counts, and what is made of it."""

from __future__ import annotations

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.hub.counts import DELIVERY_MS, Buckets, Counts, delivered_of
from trishula_broker.quantiles import quantile

LATENCIES = st.lists(st.integers(0, 20_000))


@given(st.lists(st.integers(0, 20_000), min_size=1), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_quantile_is_in_the_bucket_of_the_value_it_estimates(
    values: list[int], share: float
) -> None:
    found = Buckets(DELIVERY_MS)
    for value in values:
        found.add(value)
    estimate = quantile(DELIVERY_MS, found.counts, share)
    exact = sorted(values)[max(0, math.ceil(len(values) * share) - 1)]
    bucket = bisect_left(DELIVERY_MS, exact)
    bounds = [0, *DELIVERY_MS, DELIVERY_MS[-1]]
    assert estimate is not None
    # What is in the last bucket is as large as its lower bound, or larger: nobody knows.
    assert bounds[bucket] <= estimate <= bounds[bucket + 1]


def test_a_quantile_of_nothing_is_none() -> None:
    assert quantile(DELIVERY_MS, Buckets(DELIVERY_MS).counts, 0.5) is None


@given(st.lists(LATENCIES))
def test_deliveries_of_all_namespaces_are_those_of_each(namespaces: list[list[int]]) -> None:
    every, each = Counts(), [Counts() for _ in namespaces]
    for counts, values in zip(each, namespaces, strict=True):
        for value in values:
            counts.delivered.add(value)
            every.delivered.add(value)
    found = delivered_of(each)
    assert (found.counts, found.sum) == (every.delivered.counts, every.delivered.sum)


@given(LATENCIES)
def test_in_another_unit_the_same_values_are_in_the_same_buckets(values: list[int]) -> None:
    found = Buckets(DELIVERY_MS)
    for value in values:
        found.add(value)
    seconds = found.divided(1000)
    assert seconds.bounds == [bound / 1000 for bound in DELIVERY_MS]
    assert (seconds.counts, seconds.sum) == (found.counts, found.sum / 1000)
    found.add(1)
    assert sum(seconds.counts) == len(values)  # it does not go on counting
