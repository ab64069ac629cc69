"""``broker audit verify``: whether an archive is as it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trishula_broker.cli.audit.place import AUDIT_EPILOG, Place, place_of, place_options, reading
from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.text import counted, visible

if TYPE_CHECKING:
    from trishula_broker.audit.verify import ChainReport, Store


@click.command("verify", short_help="Find what was changed, and say where.", epilog=AUDIT_EPILOG)
@click.argument("directory", metavar="[DIR]", required=False)
@click.option(
    "--against", metavar="NODE", help="Compare its digests of blocks with this archive's."
)
@click.option("--redis", metavar="URL", help="The store that has the signed heads, if not SQLite.")
@place_options
@as_json_option
def verify(
    directory: str | None,
    against: str | None,
    redis: str | None,
    as_json: bool,
    config: Path | None,
    data: str | None,
    audit_path: str | None,
) -> None:
    """Find what was changed, removed, moved, cut off or written anew, and say where.

    What the files show by themselves, their chain of hashes shows. Cut tails and archives that
    were written anew show by the heads that the hub signed and put into its store, which is read
    directly; where it is out of reach that is said.

    \b
    Examples:
      broker audit verify
      broker audit verify /backup/audit --data /var/lib/trishula
      broker audit verify --redis redis://db:6379/0 --against hub-2
    """
    with reading():
        from trishula_broker.audit import verify as verifying

        place = place_of(config, data, directory or audit_path, redis)
        # The heads first: what is written meanwhile is behind them.
        store = _store(place)
        out = Output(as_json)
        with _progress(out, place) as progress:
            reports = verifying.verify(place.root, store, place.sealer, against, progress)
        if as_json:
            out.document(reports)
        else:
            for report in reports:
                _tell(out, report)
            if not reports:
                out.lines(f"{place.root} has no chains")
        found = sum(report.found for report in reports)
        if found or not reports:
            raise Failure(ExitCode.REFUSED, _verdict(place.root, reports, found))


def _verdict(root: Path, reports: list[ChainReport], found: int) -> str:
    from trishula_broker.audit.segment import NO_KEY

    if not found:
        return f"nothing was archived in {root} yet, or all of it was removed"
    if all(each.what.startswith(NO_KEY) for report in reports for each in report.findings):
        return f"what is encrypted in {root} cannot be verified without its key"
    return f"{counted(found, 'finding')} in {root}: it is not as it was written"


def _tell(out: Output, report: ChainReport) -> None:
    verdict = "whole" if not report.found else counted(report.found, "finding")
    node = f" of {report.node}" if report.node else ""
    out.lines(
        f"{report.chain}{node}: {verdict}; {counted(report.records, 'record')} "
        f"({report.first} to {report.last}) in {counted(report.segments, 'segment')}"
    )
    out.lines(*(f"  FOUND {visible(str(finding))}" for finding in report.findings))
    if report.found > len(report.findings):
        out.lines(f"  … and {report.found - len(report.findings)} more")
    out.lines(*(f"  note: {visible(note)}" for note in report.notes))


def _store(place: Place) -> Store:
    from trishula_broker.audit.heads import FILE, KeyProblem, NodeKey
    from trishula_broker.audit.verify import Store
    from trishula_broker.credentials import BadSecret
    from trishula_broker.store.base import StoreError

    kid: str | None = None
    try:
        kid = NodeKey.load(place.data / FILE).kid
    except (FileNotFoundError, KeyProblem):
        pass  # what that means is said where it matters
    try:
        if place.config.redis.url:
            import asyncio

            from trishula_broker.store.redis import RedisStore
            from trishula_broker.stores import make_store

            shared = make_store(place.config)
            assert isinstance(shared, RedisStore)
            return Store(asyncio.run(shared.archivers()), kid=kid)
        from trishula_broker.store.sqlite.archivers import archivers_in

        return Store(archivers_in(place.data), kid=kid)
    except (StoreError, BadSecret) as error:
        more = "" if place.config.redis.url else "; where hubs share a Redis, add --redis URL"
        return Store(None, f"{error}{more}", kid=kid)


@contextmanager
def _progress(out: Output, place: Place) -> Iterator[Callable[[int], None]]:
    if not out.terminal or out.as_json:
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from trishula_broker.audit.verify import size

    columns = TextColumn("verifying"), BarColumn(), DownloadColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("verify", total=size(place.root))
        yield lambda read: bar.advance(task, read)
