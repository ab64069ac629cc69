"""The stages of a load test, and its pass marks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.swarm import marks, stages
from loadtests.swarm.marks import Figures, Marks
from loadtests.swarm.stages import Stage

WELL = Figures([10.0] * 100, 5_000, 4.0, 1_000, 0)


def test_the_usual_stages_are_those_of_the_readme() -> None:
    found = stages.parse(stages.DEFAULT)
    assert [stage.users for stage in found] == [100, 200, 1000, 0]
    assert stages.peak(found) == 2


@given(
    st.lists(st.builds(Stage, st.integers(1, 99), st.integers(1, 50).map(float)), min_size=1),
    st.floats(0, 1_000),
)
def test_each_stage_lasts_as_long_as_it_says(planned: list[Stage], elapsed: float) -> None:
    text = ",".join(f"{users}:{seconds:g}s" for users, seconds in planned)
    assert stages.parse(text) == planned
    number = stages.at(planned, elapsed)
    ends = [sum(stage.seconds for stage in planned[: n + 1]) for n in range(len(planned))]
    expected = next((n for n, end in enumerate(ends) if elapsed < end), None)
    assert number == expected
    assert planned[stages.peak(planned)].users == max(stage.users for stage in planned)


@pytest.mark.parametrize(
    "text", ["", "100", "100:", ":5s", "a:5s", "-1:5s", "5:0s", "5:nan", "5:1e9", "5:5s,,6:5s"]
)
def test_what_is_no_stage_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no stage"):
        stages.parse(text)


def test_stages_without_users_are_no_test() -> None:
    with pytest.raises(ValueError, match="no stage has users"):
        stages.parse("0:5s")


def verdicts(figures: Figures) -> list[bool]:
    return [reached for reached, _ in marks.judge(figures, Marks())]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (WELL, [True, True, True]),
        (WELL._replace(connects_ms=[10.0] * 95 + [900.0] * 5), [True, True, True]),
        (WELL._replace(connects_ms=[10.0] * 94 + [900.0] * 6), [False, True, True]),
        (WELL._replace(connects_ms=[10.0] * 94 + [math.inf] * 6), [False, True, True]),
        (WELL._replace(connects_ms=[500.0]), [True, True, True]),
        (WELL._replace(peak_messages=4_000), [True, False, True]),
        (WELL._replace(peak_messages=4_001), [True, True, True]),
        (WELL._replace(failures=9), [True, True, True]),
        (WELL._replace(failures=10), [True, True, False]),
        (Figures([], 0, 0.0, 0, 0), [False, False, False]),
    ],
)
def test_each_mark_decides_for_itself(figures: Figures, expected: list[bool]) -> None:
    assert verdicts(figures) == expected


def test_a_verdict_tells_the_figure_and_the_mark() -> None:
    texts = [text for _, text in marks.judge(WELL._replace(failures=3), Marks())]
    assert texts == [
        "95 % of 100 connections within 10 ms; the mark is 500 ms",
        "1250 messages/s while all users were there (4 s); the mark is over 1000",
        "3 of 1000 requests failed, 0.30 %; the mark is under 1 %",
    ]


def test_marks_come_from_the_environment() -> None:
    environ = {"TRISHULA_LOAD_RATE": "20", "TRISHULA_LOAD_ERRORS": "2.5", "PATH": ""}
    assert marks.from_environment(environ) == Marks(500.0, 20.0, 2.5)


@pytest.mark.parametrize("text", ["", "fast", "-1", "nan"])
def test_a_mark_that_is_none_names_its_variable(text: str) -> None:
    with pytest.raises(ValueError, match="TRISHULA_LOAD_CONNECT_MS: "):
        marks.from_environment({"TRISHULA_LOAD_CONNECT_MS": text})
