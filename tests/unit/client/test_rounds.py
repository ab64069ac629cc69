"""Rounds: which hub is tried next, and after how long."""

from __future__ import annotations

import pytest

from trishula.rounds import Rounds


def rounds(hubs: int) -> Rounds:
    return Rounds(hubs, lambda: 0.5)


def test_there_is_no_wait_inside_a_round_and_a_growing_one_between_rounds() -> None:
    found = rounds(3)
    waits = []
    order = []
    for _ in range(9):
        order.append(found.index)
        waits.append(found.failed())
    assert order == [0, 1, 2] * 3
    assert waits == [0, 0, 0.05, 0, 0, 0.1, 0, 0, 0.2]


def test_whoever_lost_a_good_hub_tries_all_the_others_and_that_one_again_before_it_waits() -> None:
    found = rounds(3)
    found.failed()
    assert found.served(restart=False) == 0
    assert [(found.index, found.failed()) for _ in range(3)] == [(2, 0), (0, 0), (1, 0.05)]
    assert found.index == 0


def test_a_good_hub_ends_the_growth() -> None:
    found = rounds(2)
    for _ in range(8):
        found.failed()
    found.served(restart=False)
    assert [found.failed(), found.failed()] == [0, 0.05]


@pytest.mark.parametrize(("restart", "wait"), [(True, 0), (False, 0.05)])
def test_the_only_hub_is_tried_again_at_once_when_it_asks_for_that(
    restart: bool, wait: float
) -> None:
    found = rounds(1)
    assert found.served(restart=restart) == wait
    assert found.index == 0


def test_the_patience_a_hub_asks_for_is_kept_between_rounds() -> None:
    found = rounds(2)
    assert found.failed(retry_after=3) == 0
    assert found.failed(retry_after=1) == 3.05
    assert [found.failed(), found.failed()] == [0, 0.1]


def test_the_jitter_has_an_upper_bound() -> None:
    found = rounds(1)
    for _ in range(30):
        wait = found.failed(longest=1.0)
    assert wait == 1.0


def test_hubs_that_die_one_after_the_other_are_not_kept_away_from_for_long() -> None:
    found = rounds(2)
    for _ in range(20):
        found.failed()
    waits = [found.cut_short() for _ in range(20)]
    assert waits[::2] == [0] * 10
    assert max(waits) == 0.4
