"""A report as people see it: text, and one page of HTML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.report.test_figures import (
    BEGIN,
    DAY,
    HOUR,
    ended,
    gone,
    message,
    pulses,
    report,
    session,
)
from trishula_broker.report import words
from trishula_broker.report.page import page_of
from trishula_broker.report.period import Period, between, day, week
from trishula_broker.report.plot import Curve, svg
from trishula_broker.report.shapes import Report
from trishula_broker.report.text import text_of

NASTY = "<script>alert(1)</script>\x1b[31m&\"'"


@pytest.fixture
def found(tmp_path: Path) -> Report:
    told: dict[str, Any] = {"accept_s": {"0.001": 9}, "delivery_s": {"0.002": 9, "0.2": 1}}
    return report(
        tmp_path,
        [
            *pulses(-HOUR, 9 * HOUR, **told),
            *pulses(11 * HOUR, DAY, **told),
            *(message(n) for n in range(200)),
            message(500, NASTY, ("agni",), type=NASTY),
            ended(600, "dead-lettered", 1, reason=NASTY),
            session(0, "s1"),
            gone(HOUR, "s1", NASTY),
            {"at": 5, "event": "refused", "code": NASTY, "count": 3},
        ],
    )


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs)


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(found: Report) -> None:
    page = page_of(found)
    seen = Tags()
    seen.feed(page)
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "form", "a"}
    assert not any(name.startswith("on") or name in ("src", "href") for name, _ in seen.attributes)
    assert "http" not in page.replace("http-equiv", "")
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert page.count("<svg") == 4


def test_its_plots_are_well_formed(found: Report) -> None:
    page = page_of(found)
    for piece in page.split("<svg")[1:]:
        ET.fromstring("<svg" + piece[: piece.index("</svg>")] + "</svg>")


def test_text_and_page_tell_the_same_figures(found: Report) -> None:
    text, page = "\n".join(text_of(found)), page_of(found)
    for figure in (words.share(found.uptime.share), "201", words.share(found.undelivered.loss)):
        assert figure in text
        assert figure in page
    assert "well for 22 h" in text
    assert "2025-11-20 09:00 for 2 h" in text
    assert "\x1b" not in text


def test_an_empty_report_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    nothing = report(tmp_path / "audit", [])
    assert "uptime       unknown" in "\n".join(text_of(nothing))
    assert "unknown" in page_of(nothing)
    assert msgspec.json.decode(msgspec.json.encode(nothing), type=Report) == nothing


values = st.none() | st.floats(0, 1e12) | st.integers(0, 10)


@given(st.lists(values, max_size=30), st.booleans())
@example([5e-324], False)
def test_any_values_can_be_drawn(given_: list[float | None], bars: bool) -> None:
    drawn = svg("<t>", [str(n) for n in range(len(given_))], [Curve("c", "one", given_)], bars=bars)
    for each in ET.fromstring(drawn).iter("rect"):
        assert float(each.get("height", "")) >= 0


@given(st.floats(0, 1))
def test_nothing_but_all_is_a_hundred_percent(value: float) -> None:
    assert (words.share(value) == "100.00 %") is (value == 1.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0.2 s"), (59, "59 s"), (60, "1 min"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_spans_have_two_units_at_most(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


def test_days_and_weeks_are_of_utc() -> None:
    assert day("2025-11-20") == Period(BEGIN, BEGIN + DAY)
    monday = BEGIN - 3 * DAY
    for written in ("2025-W47", "2025w47", "2025-11-20", "2025-11-17", "2025-11-23"):
        assert week(written) == Period(monday, monday + 7 * DAY)


@pytest.mark.parametrize("text", ["", "today", "2025-13-01", "20-11-2025"])
def test_what_is_no_day_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no day; write 2026-11-20"):
        day(text)


@pytest.mark.parametrize("text", ["", "47", "2025-W54", "2025-11-31"])
def test_what_is_no_week_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no week; write 2026-W47"):
        week(text)


def test_a_period_has_an_end_and_is_no_longer_than_a_year() -> None:
    for since, until, why in ((5, 5, "ends before"), (0, 400 * DAY, "longer than a year")):
        with pytest.raises(ValueError, match=why):
            between(since, until)
