"""What the rounds beside other brokers come to."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.peers import table
from loadtests.peers.jobs import JOBS, Figures
from loadtests.peers.registry import CALLS_AGAINST, PEERS, RATES_AGAINST

BY_NAME = {job.name: job for job in JOBS}
rates = st.floats(1, 1e6)


def rounds(**jobs: list[Figures]) -> dict[str, list[Figures]]:
    return {name.replace("_", "-"): figures for name, figures in jobs.items()}


@given(st.lists(rates, min_size=1, max_size=5))
def test_the_median_of_each_figure_counts(found: list[float]) -> None:
    figures = [Figures(per_s=each, p50_ms=1 / each, lost=1, duplicates=2) for each in found]
    median = table.median(figures)
    ordered = sorted(found)
    middle = len(ordered) // 2
    assert median.per_s == pytest.approx((ordered[middle] + ordered[-middle - 1]) / 2)
    assert min(found) <= median.per_s <= max(found)
    assert (median.lost, median.duplicates) == (len(found), 2 * len(found))


@given(rates, rates)
def test_a_ratio_is_of_rates_or_of_median_latencies(one: float, other: float) -> None:
    job, calls = BY_NAME["one-to-one"], BY_NAME["calls"]
    assert table.ratio(Figures(per_s=one), Figures(per_s=other), job) == one / other
    assert table.ratio(Figures(p50_ms=one), Figures(p50_ms=other), calls) == one / other


def test_without_the_broker_to_compare_with_there_is_no_ratio() -> None:
    assert table.ratio(Figures(per_s=1.0), None, BY_NAME["one-to-one"]) is None
    assert table.ratio(Figures(per_s=1.0), Figures(), BY_NAME["one-to-one"]) is None


def test_calls_are_compared_with_another_broker_than_rates() -> None:
    assert {table.against(job) for job in JOBS if job.kind != "calls"} == {RATES_AGAINST}
    assert table.against(BY_NAME["calls"]) == CALLS_AGAINST
    assert {RATES_AGAINST, CALLS_AGAINST} <= set(PEERS)


def test_the_table_has_a_line_a_broker_and_a_column_a_job() -> None:
    found = {
        "nats-core": rounds(calls=[Figures(p50_ms=0.25, p99_ms=0.5)]),
        "trishula-sqlite": rounds(
            one_to_one=[Figures(per_s=n * 1000.0, lost=1) for n in (10, 90, 20)],
            calls=[Figures(p50_ms=0.5, p99_ms=1.0)],
        ),
        "jetstream-push": rounds(one_to_one=[Figures(per_s=10_000.0, duplicates=3)]),
    }
    assert table.rows(found) == [
        ["", "one-to-one, msg/s", "calls, p50 / p99 ms", "lost", "doubled"],
        ["trishula-sqlite", "20 000 (2.00)", "0.50 / 1.00 (2.00)", "3", "0"],
        ["jetstream-push", "10 000 (1.00)", table.ABSENT, "0", "3"],
        ["nats-core", table.ABSENT, "0.25 / 0.50 (1.00)", "0", "0"],
    ]


def test_markdown_is_aligned() -> None:
    lines = table.markdown([["", "a"], ["long name", "1"]])
    assert lines == ["|           | a |", "|-----------|---|", "| long name | 1 |"]


def test_the_document_has_every_round() -> None:
    found = {"nats-core": rounds(calls=[Figures(p50_ms=1.0), Figures(p50_ms=2.0)])}
    shown = table.document({"fdatasync_ms": 1.5}, found)
    assert shown["fdatasync_ms"] == 1.5
    assert [each["p50_ms"] for each in shown["rounds"]["nats-core"]["calls"]] == [1.0, 2.0]
    msgspec.json.encode(shown)


def test_a_picture_has_a_panel_a_job(tmp_path: Path) -> None:
    found = {
        "trishula-sqlite": {job.name: [Figures(per_s=2.0, p50_ms=1.0)] for job in JOBS},
        "nats-core": rounds(calls=[Figures(p50_ms=1.0)]),
    }
    table.draw(found, tmp_path / "peers.svg")
    text = (tmp_path / "peers.svg").read_text()
    assert text.startswith("<?xml")
    for job in JOBS:
        assert f"<!-- {job.name}: {job.about} -->" in text
