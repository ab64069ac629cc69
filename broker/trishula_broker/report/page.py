"""A report as one HTML page: no scripts, nothing from elsewhere, what others chose escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from trishula_broker.report.plot import Curve, svg
from trishula_broker.report.shapes import Report
from trishula_broker.report.words import latency, minute, number, share, size, span
from trishula_broker.visible import visible

AGENTS: Final = 100
ITEMS: Final = 30
"""Of each list; the JSON has all."""
DAY_S: Final = 86_400

_STYLE: Final = """
:root { color-scheme: light dark; --back: #fff; --text: #1c2024; --dim: #60646c; --edge: #d9dbe0;
  --one: #2f6feb; --two: #d97706; --bad: #c62a2f; }
@media (prefers-color-scheme: dark) { :root { --back: #111315; --text: #edeef0; --dim: #a8adb5;
  --edge: #34383d; --one: #6ea8fe; --two: #f6b44b; --bad: #ff8a8d; } }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif;
  margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p.dim, .axis { color: var(--dim); fill: var(--dim); } .axis { font-size: 11px; }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.tile { border: 1px solid var(--edge); border-radius: .5rem; padding: .5rem .75rem; }
.tile b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--edge); padding: .25rem .5rem; text-align: left; }
td.n, th.n { text-align: right; } .scroll { overflow-x: auto; }
svg { width: 100%; height: auto; } .grid { stroke: var(--edge); }
.line { fill: none; stroke-width: 1.5; stroke-linecap: round; }
.one { stroke: var(--one); } rect.one { fill: var(--one); stroke: none; }
.two { stroke: var(--two); } .bad { stroke: var(--bad); } rect.bad { fill: var(--bad); }
.key::before { content: "■ "; } .key.one { color: var(--one); } .key.two { color: var(--two); }
.key.bad { color: var(--bad); } figure { margin: 1rem 0; } figcaption { color: var(--dim); }
"""


def page_of(report: Report) -> str:
    """The page."""
    title = f"trishula: {minute(report.since)} to {minute(report.until)} UTC"
    where = f" Namespace {_text(report.namespace)}." if report.namespace else ""
    hubs = ", ".join(map(_text, report.nodes)) or "none was heard"
    unread = (
        f"<p><b>{report.unread} files of the archive could not be read in full.</b></p>"
        if report.unread
        else ""
    )
    body = "".join((_tiles(report), _plots(report), _agents(report), _lists(report)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="dim">Hubs: {hubs}.{where}</p>{unread}{body}'
        "</body></html>\n"
    )


def _text(value: object) -> str:
    return escape(visible(str(value)))


def _tiles(report: Report) -> str:
    mail, uptime = report.messages, report.uptime
    tiles = (
        ("uptime", share(uptime.share)),
        ("accepted, p99", latency(report.latency.accept.p99_ms)),
        ("delivered, p50", latency(report.latency.delivery.p50_ms)),
        ("delivered, p99", latency(report.latency.delivery.p99_ms)),
        ("messages", number(mail.accepted)),
        ("sent", size(mail.bytes)),
        ("loss", share(report.undelivered.loss) if mail.copies else "-"),
        ("dead letters", number(report.undelivered.given_up + report.undelivered.rejected)),
        ("disconnects", number(report.disconnects.total)),
        ("errors", number(sum(report.errors.told.values()))),
    )
    shown = "".join(f'<div class="tile">{name}<b>{value}</b></div>' for name, value in tiles)
    return f'<div class="tiles">{shown}</div>'


def _plots(report: Report) -> str:
    steps = report.steps
    times = [at[5:10] if steps.seconds >= DAY_S else at[5:16].replace("T", " ") for at in steps.at]
    piece = span(steps.seconds)
    found = (
        (
            f"Messages in {piece}",
            (Curve("accepted", "one", steps.accepted), Curve("done", "two", steps.done)),
            True,
        ),
        (
            "Delivered after, ms",
            (
                Curve("p50", "one", steps.delivery_p50_ms),
                Curve("p99", "two", steps.delivery_p99_ms),
            ),
            False,
        ),
        (
            "Uptime, %",
            (
                Curve(
                    "a hub was well",
                    "one",
                    [None if value is None else round(100 * value, 3) for value in steps.uptime],
                ),
            ),
            False,
        ),
        (
            f"Trouble in {piece}",
            (
                Curve("disconnects", "one", steps.disconnects),
                Curve("errors", "two", steps.errors),
                Curve("undelivered", "bad", steps.undelivered),
            ),
            False,
        ),
    )
    return "".join(_figure(title, times, curves, bars) for title, curves, bars in found)


def _figure(title: str, times: list[str], curves: Iterable[Curve], bars: bool) -> str:
    curves = list(curves)
    keys = " ".join(f'<span class="key {each.style}">{each.name}</span>' for each in curves)
    drawn = svg(title, times, curves, bars=bars)
    return f"<figure>{drawn}<figcaption>{escape(title)}: {keys}</figcaption></figure>"


def _agents(report: Report) -> str:
    found = report.messages.by_agent
    if not found:
        return ""
    rows = [
        (
            each.agent,
            each.sent,
            each.received,
            size(each.bytes),
            each.disconnects,
            _types(each.by_type),
        )
        for each in found[:AGENTS]
    ]
    more = f'<p class="dim">and {len(found) - AGENTS} more</p>' if len(found) > AGENTS else ""
    heads = ("agent", "sent", "received", "bytes", "disconnects", "by type")
    return f"<h2>Agents</h2>{_table(heads, rows)}{more}"


def _types(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number(count)}" for name, count in counted.items())


def _lists(report: Report) -> str:
    down = [
        (minute(each.since), span(each.seconds), each.why) for each in report.uptime.longest_down
    ]
    away = [
        (each.who, minute(each.since), span(each.seconds), "yes" if each.back else "no", each.why)
        for each in report.away[:ITEMS]
    ]
    counted = (
        ("Messages by type", "type", report.messages.by_type),
        ("Errors that were told", "code", report.errors.told),
        ("Turned away", "what", report.errors.turned_away),
        ("Sessions that ended", "how", report.disconnects.by_kind),
        ("Undelivered", "why", report.undelivered.reasons),
    )
    parts = [
        f"<h2>{title}</h2>{_table((head, 'count'), list(found.items())[:ITEMS])}"
        for title, head, found in counted
        if found
    ]
    if down:
        parts.append(f"<h2>No hub was well</h2>{_table(('since', 'for', 'why'), down)}")
    if away:
        heads = ("who", "since", "for", "back", "why")
        parts.append(f"<h2>Could not connect</h2>{_table(heads, away)}")
    return "".join(parts)


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="n">{number(value)}</td>'
    return f"<td>{_text(value)}</td>"
