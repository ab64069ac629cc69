"""``broker report``: the figures of a day, a week, or any time that an archive tells of."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trishula_broker.cli.audit.place import (
    also_option,
    moment_option,
    other_archives,
    place_of,
    place_options,
    reading,
)
from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.output import Output
from trishula_broker.cli.session import note
from trishula_broker.cli.text import counted

if TYPE_CHECKING:
    from trishula_broker.report.period import Period

EPILOG = (
    "Exit codes: 0 done; 1 a file of the archive cannot be read, or FILE cannot be written; "
    "2 wrong usage, or no archive there."
)


@click.command("report", epilog=EPILOG)
@click.option("--day", metavar="DAY", help="That day in UTC, such as 2026-11-20.")
@click.option("--week", metavar="WEEK", help="That week, such as 2026-W47, or a day of it.")
@click.option(
    "--since", metavar="TIME", callback=moment_option, help="From then on; 24h ago, if not said."
)
@click.option("--until", metavar="TIME", callback=moment_option, help="Up to then; now by default.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    help="For people, for programs, or one page with plots.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it there, replacing what is there; - is standard output, the default.",
)
@click.option("--namespace", metavar="NAME", help="Only what happened in this namespace.")
@also_option
@place_options
def command(
    day: str | None,
    week: str | None,
    since: str,
    until: str,
    form: str,
    output: Path | None,
    namespace: str | None,
    also: tuple[Path, ...],
    config: Path | None,
    data: str | None,
    audit_path: str | None,
) -> None:
    """Tell uptime, latency, volumes by agent and type, disconnects, errors and dead letters.

    Made from the archive of what happened, as `broker audit search` reads it; no hub is asked.
    Without --day, --week or --since it is of the last 24 hours. All times are UTC.

    \b
    Examples:
      broker report --day 2026-11-20
      broker report --week 2026-W47 --format html --output week.html
      broker report --since 7d --format json | jq .uptime.share
    """
    with reading():
        period = _period(day, week, since, until)
        place = place_of(config, data, audit_path)
        from trishula_broker.report.make import make_report

        archives = [place.archive(), *other_archives(also, place.sealer)]
        report = make_report(archives, namespace, period.since, period.until)
        if report.unread:
            note(f"warning: not all could be read: {counted(report.unread, 'file')}")
        if form == "json":
            import msgspec

            text = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
        elif form == "html":
            from trishula_broker.report.page import page_of

            text = page_of(report).encode()
        else:
            from trishula_broker.report.text import text_of

            text = "".join(f"{line}\n" for line in text_of(report)).encode()
        if output is None or str(output) == "-":
            Output(as_json=False).raw(text)
        else:
            _write(output, text)
            note(f"written to {output}")
        if report.unread:
            raise Failure(ExitCode.REFUSED, "the figures are of what could be read")


def _period(day: str | None, week: str | None, since: str, until: str) -> Period:
    from trishula_broker.audit.times import parse
    from trishula_broker.report import period

    given = [name for name, value in (("--day", day), ("--week", week)) if value is not None]
    if since or until:
        given.append("--since and --until")
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)}: say which time with one of them")
    try:
        if day is not None:
            return period.day(day)
        if week is not None:
            return period.week(week)
        end = parse(until) if until else time.time_ns() // 1_000_000
        return period.between(parse(since) if since else end - period.DAY_MS, end)
    except ValueError as error:
        where = given[0] if given else "--since"
        raise click.UsageError(f"{where}: {error}") from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Failure(ExitCode.REFUSED, f"--output: {path}: {error.strerror or error}") from None
