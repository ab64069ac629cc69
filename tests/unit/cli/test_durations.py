"""Lengths of time on the command line."""

from __future__ import annotations

import click
import pytest

from trishula_broker.cli.durations import Lifetime, Span


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
        ("1d", 86_400.0),
    ],
)
def test_a_span_is_a_number_of_seconds(text: str, seconds: float) -> None:
    assert Span().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1y", "1 hour", "1e3", "nan", "0", "0ms", "721h"])
def test_what_is_no_span_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(click.BadParameter, match=f"^'{text}' is n"):
        Span().convert(text, None, None)


def test_a_longest_span_is_named() -> None:
    assert Span(366 * 86_400.0).convert("366d", None, None) == 366 * 86_400
    with pytest.raises(click.BadParameter, match="'8785h' is not between 0 and 366 days"):
        Span(366 * 86_400.0).convert("8785h", None, None)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30d", 30 * 86_400_000),
        ("12h", 12 * 3_600_000),
        ("1.5h", 5_400_000),
        ("2W", 14 * 86_400_000),
        ("1s", 1_000),
        ("36500d", 36_500 * 86_400_000),
        (" never ", None),
    ],
)
def test_a_lifetime_is_a_number_of_milliseconds_or_has_no_end(text: str, ms: int | None) -> None:
    assert Lifetime().convert(text, None, None) == ms


@pytest.mark.parametrize("text", ["", "30", "soon", "-1d", "0d", "999ms", "36501d", "1d 2h"])
def test_what_is_no_lifetime_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(click.BadParameter, match=f"^'{text}': "):
        Lifetime().convert(text, None, None)
