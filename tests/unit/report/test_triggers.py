"""What would have one go back to the shared folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.report.test_figures import (
    DAY,
    HOUR,
    MINUTE,
    ended,
    gone,
    message,
    pulses,
    report,
    session,
)
from trishula_broker.report.scraped import NotMetrics, evidence_of_metrics
from trishula_broker.report.shapes import Latency
from trishula_broker.report.triggers import Evidence, Thresholds, evidence_of, judge

NAMES = ("uptime", "latency", "loss", "away")
QUICK: dict[str, Any] = {"accept_s": {"0.001": 50}, "delivery_s": {"0.005": 50}}
SLOW: dict[str, Any] = {"accept_s": {"0.1": 90, "0.5": 10}}
WELL = pulses(-HOUR, DAY, **QUICK)


def states(root: Path, records: list[dict[str, Any]], **limits: Any) -> dict[str, str]:
    evidence = evidence_of(report(root, records), "archive")
    found = judge([evidence], Thresholds(**limits))
    assert all(each.data.startswith("archive") for each in found)
    return {each.trigger: each.state for each in found}


def test_where_all_is_well_nothing_fires(tmp_path: Path) -> None:
    assert states(tmp_path, [*WELL, message(5)]) == dict.fromkeys(NAMES, "ok")


def test_an_archive_without_pulses_lets_nobody_know(tmp_path: Path) -> None:
    assert states(tmp_path, [message(5)]) == dict.fromkeys(NAMES, "unknown")


@pytest.mark.parametrize(
    ("records", "fires"),
    [
        ([*pulses(-HOUR, 22 * HOUR, **QUICK), *pulses(DAY - 30 * MINUTE, DAY)], {"uptime"}),
        ([*WELL, *pulses(HOUR, 3 * HOUR, **SLOW)], {"latency"}),
        ([*WELL, *(message(n) for n in range(99)), ended(100, "expired", 1)], {"loss"}),
        ([*WELL, *(message(n) for n in range(99)), ended(100, "dead-lettered", 1)], {"loss"}),
        ([*WELL, session(0, "s"), gone(HOUR, "s", "connection lost")], {"away"}),
    ],
    ids=["uptime", "latency", "expired", "given up", "away"],
)
def test_each_of_them_fires(tmp_path: Path, records: list[Any], fires: set[str]) -> None:
    found = states(tmp_path, records)
    # While no hub is well for an hour and a half nobody can connect either.
    fires |= {"away"} if "uptime" in fires else set()
    assert {name for name, state in found.items() if state == "fired"} == fires
    assert set(found.values()) <= {"fired", "ok"}


@pytest.mark.parametrize(
    ("records", "limits"),
    [
        ([*pulses(-HOUR, 20 * HOUR), *pulses(21 * HOUR, DAY)], {"uptime": 0.9, "away_s": 7200}),
        ([*WELL, *pulses(HOUR, 3 * HOUR, **SLOW)], {"p99_ms": 500}),
        ([*WELL, message(1), ended(100, "expired", 1)], {"loss": 1.0}),
        ([*WELL, session(0, "s"), gone(HOUR, "s", "connection lost")], {"away_s": 86_400}),
        (
            [*WELL, session(0, "s"), gone(HOUR, "s", "connection lost")],
            {"agents": frozenset({"dc"})},
        ),
        ([*WELL, *(message(n) for n in range(5)), ended(9, "rejected", 1)], {}),
        ([*WELL, session(0, "s"), gone(1, "s", "connection lost"), session(HOUR, "t")], {}),
    ],
)
def test_what_is_within_the_limits_does_not_fire(
    tmp_path: Path, records: list[Any], limits: dict[str, Any]
) -> None:
    assert "fired" not in states(tmp_path, records, **limits).values()


def test_a_young_archive_fires_on_what_it_knows_and_is_never_ok(tmp_path: Path) -> None:
    young = pulses(20 * HOUR, DAY, **QUICK)
    assert states(tmp_path / "a", [*young, message(21 * HOUR)]) == {
        **dict.fromkeys(NAMES, "unknown"),
        "away": "ok",  # four hours are known, and one is asked about
    }
    slow = pulses(20 * HOUR, DAY, **SLOW)
    assert states(tmp_path / "b", slow)["latency"] == "fired"
    dead = pulses(20 * HOUR, 21 * HOUR)
    assert states(tmp_path / "c", dead)["uptime"] == "fired"


def test_what_the_archive_does_not_know_metrics_may() -> None:
    none = Latency(0, None, None)
    archive = Evidence("archive", 0, None, none, none, None, None, True)
    up = 2 * 86_400
    metrics = Evidence("metrics", up, up, Latency(9, 1.0, 5.0), none, 0.0, None, True)
    found = {
        each.trigger: (each.state, each.data) for each in judge([archive, metrics], Thresholds())
    }
    assert found == {
        **dict.fromkeys(NAMES, ("ok", "metrics")),
        "away": ("unknown", "archive"),
    }


METRICS = """
trishula_uptime_seconds{node="a"} 90000.0
trishula_messages_total{node="a",outcome="accepted",type="COMMAND"} 1000.0
trishula_deliveries_total{node="a"} 1000.0
trishula_settled_total{node="a",outcome="done"} 970.0
trishula_settled_total{node="a",outcome="expired"} 20.0
trishula_settled_total{node="a",outcome="dead"} 10.0
trishula_accept_latency_seconds_bucket{le="0.1",node="a"} 900.0
trishula_accept_latency_seconds_bucket{le="0.5",node="a"} 1000.0
trishula_accept_latency_seconds_bucket{le="+Inf",node="a"} 1000.0
"""


def test_metrics_of_a_hub_are_evidence() -> None:
    found = evidence_of_metrics(METRICS, "m")
    assert (found.reach_s, found.well_s, found.loss, found.sent) == (90_000, 90_000, 0.03, True)
    assert found.accept is not None
    assert found.accept.count == 1000
    assert 400 < (found.accept.p99_ms or 0) < 500
    fired = [each.trigger for each in judge([found], Thresholds()) if each.state == "fired"]
    assert fired == ["latency", "loss"]


@pytest.mark.parametrize("text", ["", "<html>", "up 1\n", "trishula_uptime_seconds{ 5\n"])
def test_what_are_no_metrics_of_a_hub_is_said(text: str) -> None:
    with pytest.raises(NotMetrics, match="m: "):
        evidence_of_metrics(text, "m")


@given(
    st.floats(0, 200_000),
    st.floats(0, 1),
    st.floats(0.5, 1),
    st.sampled_from((3600.0, 86_400.0)),
)
def test_uptime_is_ok_only_where_nothing_that_is_not_known_could_make_it_fire(
    reach: float, well: float, limit: float, window: float
) -> None:
    reach = min(reach, window)
    evidence = Evidence("e", reach, well * reach, None, None, None, None, False)
    [found] = [
        each
        for each in judge([evidence], Thresholds(window_s=window, uptime=limit))
        if each.trigger == "uptime"
    ]
    down = reach - well * reach
    slack = 121.0
    if found.state == "ok":
        assert window - well * reach <= (1 - limit) * window + slack
    if found.state == "fired":
        assert down >= (1 - limit) * reach - slack
