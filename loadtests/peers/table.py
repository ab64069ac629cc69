"""What several rounds come to: medians, ratios, a table and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from loadtests.peers.jobs import JOBS, Figures, Job
from loadtests.peers.registry import CALLS_AGAINST, PEERS, RATES_AGAINST

Rounds = Mapping[str, Mapping[str, Sequence[Figures]]]
"""By broker and job, the figures of each round."""
ABSENT: Final = "–"


def median(rounds: Sequence[Figures]) -> Figures:
    """Each figure's own median; what was lost or doubled is added up."""
    found: dict[str, Any] = {
        field: statistics.median(getattr(each, field) for each in rounds)
        for field in ("per_s", "confirmed_per_s", "p50_ms", "p99_ms", "max_ms")
    }
    for field in ("messages", "lost", "duplicates"):
        found[field] = sum(getattr(each, field) for each in rounds)
    return Figures(**found)


def against(job: Job) -> str:
    """The broker whose figures others' are compared with."""
    return CALLS_AGAINST if job.kind == "calls" else RATES_AGAINST


def ratio(found: Figures, base: Figures | None, job: Job) -> float | None:
    """How many times the base's figure: of the rate, or of the median latency; None without one."""
    if base is None:
        return None
    if job.kind == "throughput":
        return found.per_s / base.per_s if base.per_s else None
    return found.p50_ms / base.p50_ms if base.p50_ms else None


def rows(rounds: Rounds) -> list[list[str]]:
    """A header, and a line a broker."""
    medians = {
        peer: {job: median(figures) for job, figures in jobs.items() if figures}
        for peer, jobs in rounds.items()
    }
    wanted = [job for job in JOBS if any(job.name in jobs for jobs in medians.values())]
    table = [["", *(_heading(job) for job in wanted), "lost", "doubled"]]
    for peer in (each for each in PEERS if each in medians):
        jobs = medians[peer]
        cells = [
            _cell(jobs[job.name], medians.get(against(job), {}).get(job.name), job)
            if job.name in jobs
            else ABSENT
            for job in wanted
        ]
        lost = sum(figures.lost for figures in jobs.values())
        doubled = sum(figures.duplicates for figures in jobs.values())
        table.append([peer, *cells, str(lost), str(doubled)])
    return table


def _heading(job: Job) -> str:
    unit = {"throughput": "msg/s", "latency": "p50 / p99 ms", "calls": "p50 / p99 ms"}[job.kind]
    if job.members > 1:
        unit = "deliveries/s"
    return f"{job.name}, {unit}"


def _cell(found: Figures, base: Figures | None, job: Job) -> str:
    times = ratio(found, base, job)
    shown = "" if times is None else f" ({times:.2f})"
    if job.kind == "throughput":
        return f"{found.per_s:,.0f}".replace(",", " ") + shown
    return f"{found.p50_ms:.2f} / {found.p99_ms:.2f}{shown}"


def markdown(table: Sequence[Sequence[str]]) -> list[str]:
    """The table as Markdown, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in table
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], rule, *lines[1:]]


def document(about: Mapping[str, Any], rounds: Rounds) -> dict[str, Any]:
    """All figures of all rounds, and what they were taken with."""
    return {**about, "rounds": msgspec.to_builtins(rounds)}


def draw(rounds: Rounds, path: Path) -> None:
    """A panel a job, a bar a broker; the format is that of the name.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure

    wanted = [job for job in JOBS if any(jobs.get(job.name) for jobs in rounds.values())]
    figure = Figure(figsize=(9, 2.4 * max(1, len(wanted))), layout="constrained")
    panels = figure.subplots(max(1, len(wanted)), 1, squeeze=False)
    for job, (panel,) in zip(wanted, panels, strict=False):
        names = [peer for peer in PEERS if rounds.get(peer, {}).get(job.name)]
        found = [median(rounds[peer][job.name]) for peer in names]
        colours = ["tab:blue" if PEERS[name].own else "tab:gray" for name in names]
        if job.kind == "throughput":
            panel.barh(names, [each.per_s for each in found], color=colours)
            panel.set_xlabel("deliveries a second" if job.members > 1 else "messages a second")
        else:
            panel.barh(names, [each.p99_ms for each in found], color=colours, alpha=0.4)
            panel.barh(names, [each.p50_ms for each in found], color=colours)
            panel.set_xlabel("ms, p50 and (pale) p99")
        panel.set_title(f"{job.name}: {job.about}", fontsize=10)
        panel.invert_yaxis()
    figure.savefig(path)
