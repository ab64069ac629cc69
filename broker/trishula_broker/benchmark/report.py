"""What a run has shown, whether it is good enough, and how that looks to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from trishula_broker.benchmark.histogram import Summary


class Interval(msgspec.Struct, frozen=True):
    """About a second of a run.

    Attributes:
        at_s: when it ended, since the run began.
        sent: messages accepted in it.
        received: deliveries in it.
        latency_ms: of those deliveries.
    """

    at_s: float
    sent: int
    received: int
    latency_ms: Summary


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run. Times in milliseconds unless the name says otherwise.

    Attributes:
        seconds: how long was sent, or would have been.
        rate: what was asked for, messages a second; 0 for as fast as possible.
        planned: messages that were to be sent.
        expected: deliveries that were to come of them.
        received: deliveries that came, each counted once.
        success: ``received`` in percent of ``expected``.
        messages_per_s: messages that reached all their receivers, from the first one's moment to
            the last delivery, or to the end of the time for sending where that was later.
        accepting_ms: from a message's planned moment to its acceptance.
        latency_ms: from a message's planned moment to the receiving application.
        p99_of_expected_ms: the same p99 when what never came counts as longer than any; None when
            more than one in a hundred did not come.
        interrupted: it was cut short.
    """

    version: str
    urls: list[str]
    receiver_urls: list[str]
    connections: int
    fan_out: int
    seconds: float
    rate: float
    size: int
    window: int
    mix: dict[int, int]
    connect_ms: Summary
    latency_ms: Summary
    latency_by_priority_ms: dict[int, Summary]
    p99_of_expected_ms: float | None
    accepting_ms: Summary
    planned: int
    accepted: int
    failed: dict[str, int]
    mailed: dict[str, int]
    late: int
    expected: int
    received: int
    success: float
    messages_per_s: float
    deliveries_per_s: float
    duplicates: int
    disorder: int
    redelivered: int
    reconnects: int
    interrupted: bool
    intervals: list[Interval]


class Targets(msgspec.Struct, frozen=True):
    """What a run must show to be good enough; None is not asked about."""

    max_p99_ms: float | None = None
    min_rate: float | None = None
    min_success: float | None = None
    max_connect_ms: float | None = None


class Missed(msgspec.Struct, frozen=True):
    """A target and what was found instead."""

    target: str
    wanted: float
    found: float | None
    text: str


_MEASURES: Final[dict[str, tuple[str, str, str, Callable[[Report], tuple[int, float | None]]]]] = {
    "max_p99_ms": (
        "--max-p99",
        "p99 of the latency",
        " ms",
        lambda report: (report.latency_ms.count, report.p99_of_expected_ms),
    ),
    "min_rate": (
        "--min-rate",
        "throughput",
        " messages/s",
        lambda report: (report.expected, report.messages_per_s),
    ),
    "min_success": (
        "--min-success",
        "success rate",
        " %",
        lambda report: (report.expected, report.success),
    ),
    "max_connect_ms": (
        "--max-connect",
        "slowest connection",
        " ms",
        lambda report: (report.connect_ms.count, report.connect_ms.max),
    ),
}
"""By target: its option, what it is about, the unit, and how many there were and the figure."""


def missed(report: Report, targets: Targets) -> list[Missed]:
    """The targets that the run did not reach. One that nothing was measured for is missed."""
    found = []
    for name, (option, what, unit, measure) in _MEASURES.items():
        wanted = getattr(targets, name)
        if wanted is None:
            continue
        count, value = measure(report)
        if not count:
            text = f"{option} {wanted:.10g}{unit}: nothing was measured"
            found.append(Missed(option, wanted, None, text))
        elif value is None:
            never = f"{100 - report.success:.4g} % of what was expected never came"
            found.append(Missed(option, wanted, None, f"{option} {wanted:.10g}{unit}: {never}"))
        elif value < wanted if name.startswith("min") else value > wanted:
            text = f"{option} {wanted:.10g}{unit}: the {what} was {value:.8g}{unit}"
            found.append(Missed(option, wanted, value, text))
    return found


def document(report: Report, misses: list[Missed]) -> dict[str, Any]:
    """The report as JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(report, str_keys=True)
    found["missed"] = msgspec.to_builtins(misses)
    return found


def lines(report: Report) -> list[str]:
    """The report for people."""
    load = "as fast as accepted" if not report.rate else f"{report.rate:g} messages/s"
    far = f", each to {report.fan_out}" if report.fan_out > 1 else ""
    senders = f"{report.connections} sender{'s' if report.connections != 1 else ''}"
    rows = [
        f"{senders}, {load}{far}, {report.size} bytes of text, {report.seconds:g} s"
        + (", interrupted" if report.interrupted else ""),
        _times("connected", report.connect_ms),
        _times("accepted", report.accepting_ms),
        _times("received", report.latency_ms),
    ]
    if len(report.latency_by_priority_ms) > 1:
        rows += [
            _times(f"  priority {priority}", summary)
            for priority, summary in report.latency_by_priority_ms.items()
        ]
    deliveries = f", {report.deliveries_per_s:.0f} deliveries/s" if report.fan_out > 1 else ""
    rows += [
        f"throughput   {report.messages_per_s:.0f} messages/s{deliveries}",
        f"success      {_percent(report.success)} %: {report.received} of {report.expected} "
        + ("deliveries" if report.fan_out > 1 else "messages"),
        f"duplicates   {report.duplicates}",
        f"out of order {report.disorder}",
    ]
    for what, count in (
        ("delivered again", report.redelivered),
        ("connections lost", report.reconnects),
        ("sent late", report.late if report.rate else 0),
    ):
        if count:
            rows.append(f"{what}: {count}")
    if report.received < report.expected:
        rows.append("note: the latencies are of what came")
    rows += [f"not accepted, {code}: {count}" for code, count in _sorted(report.failed)]
    rows += [f"the hub wrote {code}: {count}" for code, count in _sorted(report.mailed)]
    if report.rate and report.late > report.planned // 100:
        rows.append(
            f"note: {report.late / report.planned:.0%} were sent late, by this machine or for want "
            "of the hub's answers; what they waited counts as latency"
        )
    return rows


def _sorted(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def _times(what: str, found: Summary) -> str:
    if not found.count:
        return f"{what:<13}-"
    return (
        f"{what:<13}p50 {_figure(found.p50)}  p99 {_figure(found.p99)}  "
        f"p99.9 {_figure(found.p999)}  max {_figure(found.max)} ms"
    )


def _figure(value: float) -> str:
    """Three digits at least, none of them noise."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _percent(value: float) -> str:
    """Rounded down: 99.9996 is not 100."""
    return f"{int(value * 1000) / 1000:g}"
