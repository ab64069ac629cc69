"""Ids sort by the moment they were made, whatever the clock does."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from trishula_protocol.address import is_id
from trishula_protocol.ids import IdMaker

NOW = 1_700_000_000_000


@given(st.integers(0, 2**62 - 1), st.lists(st.integers(0, 2**48 - 2), min_size=1, max_size=50))
def test_ids_are_uuids_of_version_7_unique_and_sorted(seed: int, clock: list[int]) -> None:
    make = IdMaker(seed)
    ids = [make(wall) for wall in clock]
    assert all(is_id(each) for each in ids)
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {
        (7, uuid.RFC_4122)
    }
    assert sorted(set(ids)) == ids


def test_the_time_is_in_front() -> None:
    assert uuid.UUID(IdMaker(0)(NOW)).int >> 80 == NOW


def test_a_clock_that_steps_back_keeps_ids_in_order() -> None:
    make = IdMaker(7)
    ids = [make(NOW), make(NOW - 3_600_000), make(NOW - 1), make(NOW), make(NOW + 1)]
    assert sorted(set(ids)) == ids


def test_more_than_4096_ids_in_a_millisecond_borrow_the_next() -> None:
    make = IdMaker(7)
    ids = [make(NOW) for _ in range(20_000)]
    assert sorted(set(ids)) == ids
    assert uuid.UUID(ids[-1]).int >> 80 == NOW + 4
    assert make(NOW + 1) > ids[-1]


def test_makers_with_other_seeds_never_meet() -> None:
    first, second = IdMaker(1), IdMaker(2)
    assert not {first(NOW) for _ in range(5_000)} & {second(NOW) for _ in range(5_000)}


@given(st.integers())
def test_any_integer_is_a_seed(seed: int) -> None:
    assert uuid.UUID(IdMaker(seed)(NOW)).version == 7
