"""A rate shared among addresses."""

from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.net.shares import ADDRESSES, Shares


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    rate=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.5)), max_size=200),
)
def test_no_more_pass_than_the_rate_allows(rate: int, steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    shares = Shares(rate, clock)
    passed = 0
    for address, pause in steps:
        clock.now += pause
        passed += shares.take(f"10.0.0.{address}")
    assert passed <= rate + (clock.now - 1000.0) * rate + 1e-6


def test_one_alone_comes_to_use_the_whole_rate_and_leaves_some_to_the_next() -> None:
    clock = Clock()
    shares = Shares(100, clock)
    passed = 0
    for _ in range(10_000):
        clock.now += 0.001
        passed += shares.take("10.0.0.1")
    assert passed > 900
    assert shares.take("10.0.0.2")


def test_a_burst_from_one_address_leaves_half() -> None:
    shares = Shares(100, Clock())
    assert sum(shares.take("10.0.0.1") for _ in range(1000)) == 50
    assert sum(shares.take("10.0.0.2") for _ in range(1000)) == 25


def test_addresses_behind_a_proxy_share_what_there_is() -> None:
    shares = Shares(100, Clock(), {"10.0.0.1"})
    assert sum(shares.take("10.0.0.1") for _ in range(1000)) == 100


def test_no_more_addresses_are_remembered_than_there_is_room_for() -> None:
    clock = Clock()
    shares = Shares(1000, clock)
    for n in range(2 * ADDRESSES):
        clock.now += 0.01
        assert shares.take(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(shares) == ADDRESSES
