"""The picture of a run: latencies by percentile, and second by second."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from trishula_broker.benchmark.report import Report

FORMATS: Final = (".png", ".svg", ".pdf")


def fault(path: Path) -> str:
    """Why no picture can be written there; empty when one can. Asked before the run."""
    if path.suffix.lower() not in FORMATS:
        return f"{path}: a name that ends in {', '.join(FORMATS)}"
    if not path.parent.is_dir():
        return f"{path}: there is no directory {path.parent}"
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ImportError:
        return "matplotlib draws it, and is not installed; `pip install 'trishula[bench]'` does it"
    return ""


def draw(report: Report, path: Path) -> None:
    """Write the picture; the format is that of the name.

    Raises:
        OSError: it cannot be written.
    """
    # Without pyplot: no window system, and nothing global.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    distribution, course = figure.subplots(2, 1)
    found = report.latency_ms
    load = f"{report.rate:g} messages/s" if report.rate else "as fast as accepted"
    figure.suptitle(
        f"trishula {report.version}: {report.connections} senders, {load}, "
        f"fan-out {report.fan_out}, {report.size} bytes"
    )
    shares = ("50 %", "90 %", "95 %", "99 %", "99.9 %", "max")
    received = (found.p50, found.p90, found.p95, found.p99, found.p999, found.max)
    accepted = report.accepting_ms
    distribution.plot(shares, received, marker="o", label="received")
    distribution.plot(
        shares,
        (accepted.p50, accepted.p90, accepted.p95, accepted.p99, accepted.p999, accepted.max),
        marker="o",
        label="accepted",
    )
    distribution.set_ylabel("latency, ms")
    distribution.set_yscale("log")
    distribution.set_xlabel("share of the messages that took at most this long")
    distribution.grid(visible=True, which="both", alpha=0.3)
    distribution.legend()
    times = [each.at_s for each in report.intervals]
    course.plot(times, [each.latency_ms.p50 for each in report.intervals], label="p50")
    course.plot(times, [each.latency_ms.p99 for each in report.intervals], label="p99")
    course.plot(times, [each.latency_ms.max for each in report.intervals], label="max")
    course.set_ylabel("latency, ms")
    course.set_yscale("log")
    course.set_xlabel("seconds since the start")
    course.grid(visible=True, which="both", alpha=0.3)
    course.legend()
    figure.savefig(path)
