"""Waits spread over the whole interval and are bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trishula_protocol.backoff import BASE_MS, CAP_MS, full_jitter_ms

fractions = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10**6), fractions)
def test_a_wait_is_between_nothing_and_the_cap(attempt: int, fraction: float) -> None:
    assert 0 <= full_jitter_ms(attempt, fraction) < CAP_MS


@given(st.integers(0, 40), fractions)
def test_the_bound_doubles_until_the_cap(attempt: int, fraction: float) -> None:
    bound = min(CAP_MS, BASE_MS * 2**attempt)
    assert full_jitter_ms(attempt, fraction) == int(fraction * bound)
    assert full_jitter_ms(attempt, 0.0) == 0


@given(st.integers(0, 40), st.integers(0, 10_000), st.integers(0, 10_000))
def test_base_and_cap_can_be_chosen(attempt: int, base: int, cap: int) -> None:
    assert full_jitter_ms(attempt, 0.999999, base, cap) <= min(cap, base * 2**attempt)
