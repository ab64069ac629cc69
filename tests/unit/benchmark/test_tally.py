"""What a receiver counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.benchmark.tally import Seen, Tally


@given(st.lists(st.integers(0, 40)))
def test_a_number_is_new_once(numbers: list[int]) -> None:
    seen, known = Seen(), set[int]()
    for number in numbers:
        assert seen.add(number) == (number not in known)
        known.add(number)
        assert len(seen) == len(known)


@given(st.permutations(range(30)))
def test_whatever_the_order_all_numbers_in_a_row_take_no_memory(numbers: list[int]) -> None:
    seen = Seen()
    for number in numbers:
        seen.add(number)
    assert seen.__dict__ == {"_below": 30, "_beyond": set()}


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 15), st.integers(1, 3)), unique_by=lambda x: x
    )
)
def test_duplicates_and_disorder_are_those_of_the_whole_list(
    came: list[tuple[int, int, int]],
) -> None:
    tally = Tally()
    for each in came:
        tally.note(*each)
    firsts: dict[tuple[int, int], int] = {}
    for sender, number, priority in came:
        firsts.setdefault((sender, number), priority)
    assert tally.received == len(firsts)
    assert tally.duplicates == len(came) - len(firsts)
    lines: dict[tuple[int, int], list[int]] = {}
    for (sender, number), priority in firsts.items():
        lines.setdefault((sender, priority), []).append(number)
    assert tally.disorder == sum(
        any(earlier > number for earlier in line[:n])
        for line in lines.values()
        for n, number in enumerate(line)
    )


def test_priorities_may_overtake_one_another() -> None:
    tally = Tally()
    for number, priority in ((5, 1), (0, 3), (6, 1), (1, 3)):
        tally.note(0, number, priority)
    assert tally.disorder == 0


def test_senders_do_not_mix() -> None:
    tally = Tally()
    for sender in (1, 0):
        for number in range(3):
            assert tally.note(sender, number, 3)
    assert (tally.received, tally.duplicates, tally.disorder) == (6, 0, 0)
