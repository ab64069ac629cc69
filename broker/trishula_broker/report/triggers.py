"""What would have one go back to the shared folder, judged from what is known.

A trigger *fires* on what is known, however little that is. It is *ok* only where the data reach
as far back as it asks; in between it is *unknown*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from trishula_broker.report.shapes import Away, Latency, Report
from trishula_broker.report.words import latency, minute, share, span

State = Literal["fired", "ok", "unknown"]
SLACK_S: Final = 120.0
"""Of a period this much may be missing: a hub tells its pulse once a minute."""


class Thresholds(NamedTuple):
    """Shares of 1, milliseconds, seconds. ``agents``: who counts as away; empty: everybody's."""

    window_s: float = 24 * 3600.0
    uptime: float = 0.95
    p99_ms: float = 200.0
    loss: float = 0.01
    away_s: float = 3600.0
    agents: frozenset[str] = frozenset()


class Trigger(msgspec.Struct):
    """One that was judged: what was found, the limit, and which data say so."""

    trigger: str
    state: State
    found: str
    limit: str
    data: str


class Evidence(NamedTuple):
    """What one source knows of the period; None: nothing.

    Attributes:
        data: which it is, for people.
        reach_s: how far back it goes.
        well_s: for how long of that a hub was well.
        away: who could not connect; None where the source cannot tell.
        sent: whether there was any mail.
    """

    data: str
    reach_s: float
    well_s: float | None
    accept: Latency | None
    delivery: Latency | None
    loss: float | None
    away: Sequence[Away] | None
    sent: bool


def evidence_of(report: Report, data: str) -> Evidence:
    """What a report knows."""
    uptime, away = report.uptime, list(report.away)
    away += [
        Away("any agent", each.since, each.until, each.seconds, each.why or "no hub was well", True)
        for each in uptime.longest_down
    ]
    known = uptime.known_since is not None
    if known:
        data += f", known since {minute(uptime.known_since or '')}"
    return Evidence(
        data,
        uptime.known_seconds,
        uptime.well_seconds if known else None,
        report.latency.accept,
        report.latency.delivery,
        report.undelivered.loss,
        away if known else None,
        report.messages.accepted > 0,
    )


def judge(evidence: Sequence[Evidence], limits: Thresholds) -> list[Trigger]:
    """All of them: each by the source that is the surest."""
    rules = (_uptime, _p99, _loss, _away)
    return [_surest([rule(each, limits) for each in evidence]) for rule in rules]


def _surest(found: list[Trigger]) -> Trigger:
    for state in ("fired", "ok", "unknown"):
        for each in found:
            if each.state == state:
                return each
    raise ValueError("evidence: there is none")


def _reaches(evidence: Evidence, limits: Thresholds) -> bool:
    return evidence.reach_s >= limits.window_s - SLACK_S


def _short(evidence: Evidence) -> str:
    return f"the data reach back {span(evidence.reach_s)} only"


def _state(fired: bool, sure: bool) -> State:
    return "fired" if fired else "ok" if sure else "unknown"


def _uptime(evidence: Evidence, limits: Thresholds) -> Trigger:
    limit = f"{share(limits.uptime)} of {span(limits.window_s)}"
    if evidence.well_s is None or not evidence.reach_s:
        return Trigger("uptime", "unknown", "nothing tells of it", limit, evidence.data)
    down = evidence.reach_s - evidence.well_s
    whole = _reaches(evidence, limits)
    if whole:
        fired = evidence.well_s / evidence.reach_s < limits.uptime
    else:  # whatever was before
        fired = down > (1 - limits.uptime) * limits.window_s
    sure = whole or evidence.well_s >= limits.uptime * limits.window_s
    found = f"{share(evidence.well_s / evidence.reach_s)}, down for {span(down)}"
    found += "" if whole else f"; {_short(evidence)}"
    return Trigger("uptime", _state(fired, sure), found, limit, evidence.data)


def _p99(evidence: Evidence, limits: Thresholds) -> Trigger:
    limit = f"p99 {latency(limits.p99_ms)}"
    named = (("accepted", evidence.accept), ("delivered", evidence.delivery))
    known = [(name, each.p99_ms) for name, each in named if each and each.p99_ms is not None]
    found = ", ".join(f"{name} in {latency(ms)}" for name, ms in known)
    fired = any(ms > limits.p99_ms for _, ms in known)
    sure = _reaches(evidence, limits) and (bool(known) or not evidence.sent)
    if not known:
        found = "nothing tells of it" if evidence.sent or not sure else "nothing was sent"
    elif not fired and not sure:
        found += f"; {_short(evidence)}"
    return Trigger("latency", _state(fired, sure), found, limit, evidence.data)


def _loss(evidence: Evidence, limits: Thresholds) -> Trigger:
    limit = f"{share(limits.loss)} expired or given up"
    fired = evidence.loss is not None and evidence.loss > limits.loss
    sure = _reaches(evidence, limits)
    found = "nothing was sent" if evidence.loss is None else share(evidence.loss)
    if not fired and not sure:
        found += f"; {_short(evidence)}"
    return Trigger("loss", _state(fired, sure), found, limit, evidence.data)


def _away(evidence: Evidence, limits: Thresholds) -> Trigger:
    limit = f"{span(limits.away_s)} without a connection"
    if evidence.away is None:
        return Trigger("away", "unknown", "nothing tells of it", limit, evidence.data)
    long = list(_long(evidence.away, limits))
    sure = evidence.reach_s >= min(limits.away_s, limits.window_s) - SLACK_S
    if long:
        found = "; ".join(
            f"{each.who} for {span(each.seconds)} since {minute(each.since)} ({each.why})"
            for each in long[:5]
        ) + (f" and {len(long) - 5} more" if len(long) > 5 else "")
    else:
        found = "nobody" if sure else f"nobody; {_short(evidence)}"
    return Trigger("away", _state(bool(long), sure), found, limit, evidence.data)


def _long(away: Iterable[Away], limits: Thresholds) -> Iterable[Away]:
    for each in away:
        agent = not each.who.startswith(("somebody at ", "any agent"))
        counts = not agent or not limits.agents or each.who in limits.agents
        if counts and each.seconds >= limits.away_s:
            yield each
