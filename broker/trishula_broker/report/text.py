"""A report for a terminal or a mail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from trishula_broker.report.shapes import Latency, Report
from trishula_broker.report.words import latency, minute, number, share, size, span
from trishula_broker.visible import visible

AGENTS: Final = 20
ITEMS: Final = 10
"""Of each list, as far as people read; the JSON has all."""


def text_of(report: Report) -> list[str]:
    """Its lines."""
    parts = (_head, _uptime, _mail, _agents, _trouble)
    return [line.rstrip() for part in parts for line in part(report)]


def _head(report: Report) -> Iterator[str]:
    where = f" of namespace {report.namespace}" if report.namespace else ""
    yield f"Report{where}: {minute(report.since)} to {minute(report.until)} UTC"
    yield f"hubs: {', '.join(map(visible, report.nodes)) or 'none was heard'}"
    if report.unread:
        yield f"warning: {report.unread} files of the archive could not be read in full"
    yield ""


def _uptime(report: Report) -> Iterator[str]:
    uptime = report.uptime
    if uptime.known_since is None:
        yield "uptime       unknown: the archive has no pulse of a hub (docs/reports.md)"
    else:
        told = f"well for {span(uptime.well_seconds)} of {span(uptime.known_seconds)}"
        if uptime.known_since > report.since:
            told += f", known since {minute(uptime.known_since)}"
        yield f"uptime       {share(uptime.share)}  {told}"
        for down in uptime.longest_down[:ITEMS]:
            why = f": {visible(down.why)}" if down.why else ""
            yield f"             {minute(down.since)} for {span(down.seconds)}{why}"
    yield f"accepted in  {_latency(report.latency.accept)}"
    yield f"delivered in {_latency(report.latency.delivery)}"
    yield ""


def _latency(found: Latency) -> str:
    if not found.count:
        return "unknown"
    return f"p50 {latency(found.p50_ms)}  p99 {latency(found.p99_ms)}  of {number(found.count)}"


def _mail(report: Report) -> Iterator[str]:
    mail, ended = report.messages, report.undelivered
    yield (
        f"messages     {number(mail.accepted)} accepted ({size(mail.bytes)}), "
        f"{number(mail.copies)} copies, {number(mail.done)} done"
    )
    if mail.by_type:
        yield f"             {_counts(mail.by_type)}"
    yield (
        f"undelivered  {number(ended.given_up)} given up, {number(ended.expired)} expired, "
        f"{number(ended.rejected)} rejected; loss {share(ended.loss) if mail.copies else '-'}"
    )
    for reason, count in list(ended.reasons.items())[:ITEMS]:
        yield f"             {number(count)}  {visible(reason)}"
    yield ""


def _agents(report: Report) -> Iterator[str]:
    found = report.messages.by_agent
    if not found:
        return
    shown = [(visible(each.agent), each) for each in found[:AGENTS]]
    width = max(5, *(len(name) for name, _ in shown))
    yield f"{'agent':<{width}}  {'sent':>10}  {'received':>10}  {'bytes':>10}  disconnects  by type"
    for name, each in shown:
        yield (
            f"{name:<{width}}  {number(each.sent):>10}  {number(each.received):>10}  "
            f"{size(each.bytes):>10}  {number(each.disconnects):>11}  {_counts(each.by_type)}"
        ).rstrip()
    if len(found) > AGENTS:
        yield f"and {len(found) - AGENTS} more agents; --format json has them"
    yield ""


def _trouble(report: Report) -> Iterator[str]:
    yield f"disconnects  {number(report.disconnects.total)}  {_counts(report.disconnects.by_kind)}"
    yield f"errors       {_counts(report.errors.told) or 'none'}"
    yield f"turned away  {_counts(report.errors.turned_away) or 'nobody'}"
    for each in report.away[:ITEMS]:
        until = "came back" if each.back else "not back"
        yield (
            f"away         {visible(each.who)} for {span(each.seconds)} since "
            f"{minute(each.since)}, {until} ({visible(each.why)})"
        )


def _counts(counted: Mapping[str, int]) -> str:
    shown = [f"{visible(name)} {number(count)}" for name, count in list(counted.items())[:ITEMS]]
    return ", ".join(shown) + (", ..." if len(counted) > ITEMS else "")
