"""``broker slo``: whether anything says to go back to the shared folder."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.audit.place import (
    also_option,
    other_archives,
    place_of,
    place_options,
    reading,
    unreadable,
)
from trishula_broker.cli.durations import Span
from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.options import names
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.text import visible
from trishula_broker.cli.token_file import read_token

if TYPE_CHECKING:
    from trishula_broker.report.triggers import Evidence, Trigger

EPILOG = (
    "Exit codes: 0 no trigger fires; 1 the archive or the metrics cannot be read; 2 wrong usage, "
    "or no archive there; 6 a trigger fires; 7 with --unknown-fails, one is unknown."
)
TIMEOUT_S: Final = 10.0
MOST: Final = 16 << 20
"""Bytes of metrics; a hub's are some twenty thousand."""


class Share(click.ParamType[float]):
    """A percentage as a share of 1."""

    name = "percent"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The share that ``value`` stands for."""
        if isinstance(value, float):
            return value
        try:
            percent = float(value.rstrip("% "))
        except ValueError:
            percent = -1.0
        if not 0 <= percent <= 100:
            self.fail(f"{value!r} is no percentage: a number from 0 to 100", param, ctx)
        return percent / 100


@click.command("slo", epilog=EPILOG)
@click.option(
    "--window", type=Span(), default=86_400.0, metavar="TIME", help="How far to look back; 24h."
)
@click.option(
    "--uptime",
    type=Share(),
    default=0.95,
    metavar="PERCENT",
    help="A hub was well for less of that: fires; 95.",
)
@click.option(
    "--p99",
    type=Span(),
    default=0.2,
    metavar="TIME",
    help="Of accepting, or of delivering to who is connected, it is more: fires; 200ms.",
)
@click.option(
    "--loss",
    type=Share(),
    default=0.01,
    metavar="PERCENT",
    help="More of what was sent expired, or was given up: fires; 1.",
)
@click.option(
    "--away",
    type=Span(),
    default=3600.0,
    metavar="TIME",
    help="An agent was cut off, or somebody was turned away, for so long: fires; 1h.",
)
@click.option(
    "--agent",
    "agents",
    callback=names,
    metavar="AGENT[,AGENT...]",
    help="Only these count as cut off; all do by default, laptops that sleep among them.",
)
@click.option(
    "--unknown-fails", is_flag=True, help="End with 7 where data do not reach far enough."
)
@click.option(
    "--metrics",
    metavar="URL",
    multiple=True,
    help="A hub's metrics, such as http://127.0.0.1:8765/metrics, or a file of them: for what the "
    "archive does not know. May be repeated.",
)
@click.option(
    "--no-archive", is_flag=True, help="Go by --metrics alone, on a host that has no archive."
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="The token for --metrics; TRISHULA_TOKEN by default.",
)
@click.option("--namespace", metavar="NAME", help="Only what happened in this namespace.")
@also_option
@place_options
@as_json_option
def command(
    window: float,
    uptime: float,
    p99: float,
    loss: float,
    away: float,
    agents: list[str] | None,
    unknown_fails: bool,
    metrics: tuple[str, ...],
    no_archive: bool,
    token_file: str | None,
    namespace: str | None,
    also: tuple[Path, ...],
    config: Path | None,
    data: str | None,
    audit_path: str | None,
    as_json: bool,
) -> None:
    """Say whether anything calls for going back to the shared folder: the roll-back triggers.

    Uptime, p99, loss, and agents that cannot connect, judged from the archive's records; where
    these do not reach back far enough, also from what --metrics say since the hub was started. A
    trigger that fires ends it with 6; `broker folder-mode on` goes back. Run it from cron.

    \b
    Examples:
      broker slo
      broker slo --window 1h --p99 100ms --agent dc,agni --json
      broker slo; [ $? = 6 ] && broker folder-mode on --reason "broker slo"
    """
    with reading():
        from trishula_broker.report.triggers import Thresholds, judge

        if no_archive and not metrics:
            raise click.UsageError("--no-archive: there is nothing else; name --metrics")
        evidence: list[Evidence] = []
        if not no_archive:
            evidence.append(_archived(window, namespace, also, config, data, audit_path))
        evidence += _scraped(metrics, token_file)
        limits = Thresholds(window, uptime, p99 * 1000, loss, away, frozenset(agents or ()))
        found = judge(evidence, limits)
        _show(Output(as_json), found)
        _end(found, unknown_fails)


def _archived(
    window: float,
    namespace: str | None,
    also: tuple[Path, ...],
    config: Path | None,
    data: str | None,
    audit_path: str | None,
) -> Evidence:
    from trishula_broker.report.make import make_report
    from trishula_broker.report.triggers import evidence_of

    place = place_of(config, data, audit_path)
    archives = [place.archive(), *other_archives(also, place.sealer)]
    now = time.time_ns() // 1_000_000
    report = make_report(archives, namespace, now - round(window * 1000), now)
    for archive in archives:
        unreadable(archive)
    return evidence_of(report, f"archive {place.root}")


def _scraped(given: Iterable[str], token_file: str | None) -> Iterator[Evidence]:
    from trishula_broker.report.scraped import NotMetrics, evidence_of_metrics

    for url in given:
        try:
            yield evidence_of_metrics(_text(url, token_file), f"metrics {url}")
        except NotMetrics as error:
            raise Failure(ExitCode.REFUSED, str(error)) from None
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise Failure(ExitCode.REFUSED, f"--metrics: {url}: {why}") from None


def _text(url: str, token_file: str | None) -> str:
    if not url.startswith(("http://", "https://")):
        return Path(url).read_text()
    token = read_token(token_file)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=TIMEOUT_S) as answer:
        body: bytes = answer.read(MOST)
    return body.decode()


def _show(out: Output, found: list[Trigger]) -> None:
    if out.as_json:
        by_state: dict[str, Any] = {
            state: [each.trigger for each in found if each.state == state]
            for state in ("fired", "ok", "unknown")
        }
        out.document({**by_state, "triggers": found})
        return
    for each in found:
        state = each.state.upper() if each.state == "fired" else each.state
        out.lines(
            f"{state:<7}  {each.trigger}: {visible(each.found)} (limit: {each.limit})",
            f"         {visible(each.data)}",
        )


def _end(found: list[Trigger], unknown_fails: bool) -> None:
    fired = [each.trigger for each in found if each.state == "fired"]
    unknown = [each.trigger for each in found if each.state == "unknown"]
    if fired:
        raise Failure(
            ExitCode.FIRED,
            f"fires: {', '.join(fired)}; `broker folder-mode on` sends agents to their folder",
        )
    if unknown and unknown_fails:
        raise Failure(ExitCode.UNKNOWN, f"not known: {', '.join(unknown)}")
