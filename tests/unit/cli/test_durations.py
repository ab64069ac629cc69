"""Lengths of time on the command line."""

from __future__ import annotations

import click
import pytest

from trishula_broker.cli.durations import Span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1.5", 1.5),
        (".5s", 0.5),
        (" 2 s ", 2.0),
        ("30", 30.0),
    ],
)
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    assert Span().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1 hour", "1e3", "nan", "0", "0ms", "721h"])
def test_any_other_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(click.BadParameter, match=f"^'{text}' is n"):
        Span().convert(text, None, None)
