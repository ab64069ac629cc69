"""Targets, and what a report says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trishula_broker.benchmark.histogram import Histogram, Summary
from trishula_broker.benchmark.report import Report, Targets, document, lines, missed


def summary(*ms: float) -> Summary:
    histogram = Histogram()
    for each in ms:
        histogram.record(int(each * 1000))
    return histogram.summary()


def report(**values: Any) -> Report:
    """A run of 1 000 messages in which all was well, but for ``values``."""
    usual: dict[str, Any] = {
        "version": "0.1.0",
        "urls": ["ws://127.0.0.1:8765/ws"],
        "receiver_urls": ["ws://127.0.0.1:8765/ws"],
        "connections": 3,
        "fan_out": 1,
        "seconds": 10.0,
        "rate": 100.0,
        "size": 200,
        "window": 512,
        "mix": {},
        "connect_ms": summary(3, 5, 8),
        "latency_ms": summary(1, 2, 20),
        "latency_by_priority_ms": {3: summary(1, 2, 20)},
        "p99_of_expected_ms": 20.0,
        "accepting_ms": summary(1, 1, 10),
        "planned": 1000,
        "accepted": 1000,
        "failed": {},
        "mailed": {},
        "late": 0,
        "expected": 1000,
        "received": 1000,
        "success": 100.0,
        "messages_per_s": 100.0,
        "deliveries_per_s": 100.0,
        "duplicates": 0,
        "disorder": 0,
        "redelivered": 0,
        "reconnects": 0,
        "interrupted": False,
        "intervals": [],
    }
    return Report(**(usual | values))


@pytest.mark.parametrize(
    ("target", "values"),
    [
        ({"max_p99_ms": 20.0}, {}),
        ({"min_rate": 100.0}, {}),
        ({"min_success": 100.0}, {}),
        ({"max_connect_ms": 8.0}, {}),
        ({}, {"success": 0.0, "received": 0}),
    ],
)
def test_a_target_is_met_by_its_very_value(
    target: dict[str, float], values: dict[str, Any]
) -> None:
    assert missed(report(**values), Targets(**target)) == []


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"max_p99_ms": 19.999}, "--max-p99 19.999 ms: the p99 of the latency was 20 ms"),
        ({"min_rate": 101.0}, "--min-rate 101 messages/s: the throughput was 100 messages/s"),
        (
            {"min_rate": 1_000_000.0},
            "--min-rate 1000000 messages/s: the throughput was 100 messages/s",
        ),
        ({"max_connect_ms": 7.5}, "--max-connect 7.5 ms: the slowest connection was 8 ms"),
    ],
)
def test_a_missed_target_is_named_with_what_was_found(target: dict[str, float], says: str) -> None:
    assert [each.text for each in missed(report(), Targets(**target))] == [says]


def test_success_just_below_a_target_is_not_rounded_up_to_it() -> None:
    found = report(success=99.89999, received=99_899, expected=100_000)
    [miss] = missed(found, Targets(min_success=99.9))
    assert miss.text == "--min-success 99.9 %: the success rate was 99.89999 %"


def test_every_missed_target_is_named() -> None:
    strict = Targets(max_p99_ms=1, min_rate=1e6, min_success=100, max_connect_ms=0.001)
    found = missed(report(success=50.0), strict)
    assert [each.target for each in found] == [
        *("--max-p99", "--min-rate", "--min-success", "--max-connect"),
    ]


def test_a_target_that_nothing_was_measured_for_is_missed() -> None:
    nothing = report(
        latency_ms=summary(), connect_ms=summary(), expected=0, received=0, success=0.0
    )
    found = missed(nothing, Targets(max_p99_ms=50, min_rate=1, min_success=1, max_connect_ms=1))
    assert [each.text.partition(": ")[2] for each in found] == ["nothing was measured"] * 4


def test_what_never_came_was_not_in_time() -> None:
    found = report(received=636, success=63.6, p99_of_expected_ms=None)
    [miss] = missed(found, Targets(max_p99_ms=1e6))
    assert miss.found is None
    assert miss.text == "--max-p99 1000000 ms: 36.4 % of what was expected never came"
    assert "note: the latencies are of what came" in lines(found)


def test_the_lines_have_every_figure() -> None:
    text = "\n".join(lines(report()))
    assert text.splitlines() == [
        "3 senders, 100 messages/s, 200 bytes of text, 10 s",
        "connected    p50 5.003  p99 8.000  p99.9 8.000  max 8.000 ms",
        "accepted     p50 1.000  p99 10.0  p99.9 10.0  max 10.0 ms",
        "received     p50 2.000  p99 20.0  p99.9 20.0  max 20.0 ms",
        "throughput   100 messages/s",
        "success      100 %: 1000 of 1000 messages",
        "duplicates   0",
        "out of order 0",
    ]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"success": 99.9996}, "success      99.999 %"),
        ({"fan_out": 100, "deliveries_per_s": 10_000.0}, "10000 deliveries/s"),
        ({"rate": 0.0}, "as fast as accepted"),
        ({"connections": 1}, "1 sender,"),
        ({"failed": {"mailbox_full": 7}}, "not accepted, mailbox_full: 7"),
        ({"mailed": {"expired": 2}}, "the hub wrote expired: 2"),
        ({"reconnects": 3}, "connections lost: 3"),
        ({"redelivered": 4}, "delivered again: 4"),
        ({"late": 500}, "note: 50% were sent late"),
        ({"interrupted": True}, "10 s, interrupted"),
        ({"latency_ms": summary()}, "received     -"),
        ({"latency_by_priority_ms": {1: summary(1), 5: summary(9)}}, "  priority 5 p50 9.000"),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(values: dict[str, Any], says: str) -> None:
    assert says in "\n".join(lines(report(**values)))


def test_the_document_has_the_report_and_what_was_missed() -> None:
    found = report(mix={1: 2})
    shown = document(found, missed(found, Targets(min_rate=1e6)))
    assert msgspec.convert(shown, Report, strict=False) == found
    assert shown["missed"] == [
        {
            "target": "--min-rate",
            "wanted": 1e6,
            "found": 100.0,
            "text": "--min-rate 1000000 messages/s: the throughput was 100 messages/s",
        }
    ]
