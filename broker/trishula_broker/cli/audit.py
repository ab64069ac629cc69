"""``broker audit``: verifies, searches, shows and exports an archive, from its files alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from trishula_broker.cli.durations import seconds
from trishula_broker.cli.exits import ExitCode, Failure, exits
from trishula_broker.cli.options import load_config
from trishula_broker.cli.output import Output
from trishula_broker.cli.table import aligned
from trishula_broker.cli.text import counted, payload_text, visible

if TYPE_CHECKING:
    from io import StringIO

    from trishula_broker.audit.reading import Archive, Record
    from trishula_broker.audit.sealing import Sealer
    from trishula_broker.audit.verify import ChainReport, Store
    from trishula_broker.config import Config

AUDIT_EPILOG: Final = (
    "Exit codes: 0 done, and nothing was found that does not fit; 1 something was, or the archive "
    "cannot be read; 2 wrong usage, or no archive there."
)
COLUMNS: Final = (
    "n", "pos", "at", "node", "ns", "event", "seq", "seqs", "id", "from", "to", "recipients",
    "type", "priority", "thread", "reply_to", "size", "sha256", "agent", "reason", "body",
)  # fmt: skip
"""Of a CSV export; all else of a record is JSON in the last column, ``more``."""

F = TypeVar("F", bound=Callable[..., Any])


@click.group("audit", epilog=AUDIT_EPILOG)
def command() -> None:
    """Verify, search, show and export the archive of all that happened.

    Its files are read as they are, also while a hub writes them, and no hub is asked.

    \b
    Examples:
      broker audit verify
      broker audit search --from dc --since 2h
      broker audit show 0195a1f0-7b7e-7c3a-9f0e-3d2c1b0a9f8e
      broker audit export --format csv > audit.csv
    """


class Place(NamedTuple):
    """Which archive, and what is known of it."""

    config: Config
    root: Path
    data: Path
    """The data directory that it belongs to."""
    sealer: Sealer | None

    def archive(self) -> Archive:
        """Its files."""
        from trishula_broker.audit.reading import Archive

        return Archive(self.root, self.sealer, _warn)


def _warn(text: str) -> None:
    click.echo(f"warning: {visible(text)}", err=True)


def _options(wrapped: F) -> F:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON, and nothing else, on stdout."),
        click.option("--config", type=click.Path(path_type=Path), help="The hub's TOML file."),
        click.option("--data", help="The hub's data directory; its default is the hub's."),
        click.option(
            "--audit",
            "audit_path",
            metavar="DIR",
            help="The archive's folder; audit in --data by default.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def _filters(wrapped: F) -> F:
    for option in (
        click.option("--namespace", help="Only records of this namespace."),
        click.option(
            "--until", metavar="TIME", callback=_moment, help="Only what happened no later."
        ),
        click.option(
            "--since",
            metavar="TIME",
            callback=_moment,
            help="Only what happened since: 2026-11-21T16:20, UTC unless it says otherwise, or "
            "30m, 2h, 7d ago.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def _moment(ctx: click.Context, param: click.Parameter, text: str | None) -> str:
    """A time as records have it; empty for none."""
    from trishula_broker.audit.times import iso, parse

    if text is None:
        return ""
    ago = seconds(text)
    if ago is not None:
        return iso(max(round((time.time() - ago) * 1000), 0))
    try:
        return iso(parse(text))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time; write 2026-11-21T16:20, or 30m, 2h, 7d for so long ago"
        ) from None


def _place(
    config: Path | None, data: str | None, audit_path: str | None, redis: str | None = None
) -> Place:
    from trishula_broker.audit.node_archive import folder, sealer
    from trishula_broker.audit.sealing import UnusableKey

    loaded = load_config(config, data=data, audit_path=audit_path, redis_url=redis).config
    root = folder(loaded)
    home = Path(loaded.data).expanduser()
    if audit_path is not None and data is None and (root.parent / "store.db").exists():
        home = root.parent
    if not root.is_dir():
        raise Failure(
            ExitCode.USAGE,
            f"there is no archive in {root}; name it with --audit, or the hub's --data or --config",
        )
    try:
        return Place(loaded, root, home, sealer(loaded.audit))
    except UnusableKey as error:
        raise Failure(ExitCode.USAGE, str(error)) from None


@contextmanager
def _reading() -> Iterator[None]:
    with exits():
        try:
            yield
        except OSError as error:
            where = error.filename or "the archive"
            raise Failure(ExitCode.REFUSED, f"{where}: {error.strerror or error}") from None


# --- verify -----------------------------------------------------------------------------------


@command.command("verify", epilog=AUDIT_EPILOG)
@click.argument("directory", metavar="[DIR]", required=False)
@click.option(
    "--against", metavar="NODE", help="Compare its digests of blocks with this archive's."
)
@click.option("--redis", metavar="URL", help="The store that has the signed heads, if not SQLite.")
@_options
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
    with _reading():
        from trishula_broker.audit import verify as verifying

        place = _place(config, data, directory or audit_path, redis)
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
            raise Failure(
                ExitCode.REFUSED,
                f"{counted(found, 'finding')} in {place.root}: it is not as it was written"
                if found
                else f"nothing was archived in {place.root} yet, or all of it was removed",
            )


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
    from trishula_broker.store.base import StoreError

    kid: str | None = None
    try:
        kid = NodeKey.load(place.data / FILE).kid
    except (FileNotFoundError, KeyProblem):
        pass  # what that means is said where it matters
    try:
        if place.config.redis.url:
            import asyncio

            from trishula_broker.app import make_store
            from trishula_broker.store.redis import RedisStore

            shared = make_store(place.config)
            assert isinstance(shared, RedisStore)
            return Store(asyncio.run(shared.archivers()), kid=kid)
        from trishula_broker.store.sqlite.archivers import archivers_in

        return Store(archivers_in(place.data), kid=kid)
    except StoreError as error:
        return Store(None, str(error), kid=kid)


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


# --- search, show, export -----------------------------------------------------------------------


@command.command("search", epilog=AUDIT_EPILOG)
@click.option("--from", "sender", metavar="AGENT", help="Only messages that it sent.")
@click.option("--to", "to", metavar="ADDRESS", help="Only messages for it, or that it got.")
@click.option("--thread", metavar="ID", help="Only messages of this conversation.")
@click.option("--type", "kind", metavar="TYPE", help="Only messages of this type.")
@click.option("--event", metavar="EVENT", help="Only these events, such as refused.")
@click.option("--text", metavar="TEXT", help="Only records in which this stands somewhere.")
@_filters
@_options
def search(
    sender: str | None,
    to: str | None,
    thread: str | None,
    kind: str | None,
    event: str | None,
    text: str | None,
    namespace: str | None,
    since: str,
    until: str,
    as_json: bool,
    config: Path | None,
    data: str | None,
    audit_path: str | None,
) -> None:
    """Print the records that fit all that is asked for, in their order.

    \b
    Examples:
      broker audit search --from dc --to agni --since 2h
      broker audit search --thread build-17 --json
      broker audit search --event refused --text forbidden
    """
    with _reading():
        import msgspec

        archive = _place(config, data, audit_path).archive()
        out = Output(as_json)
        if any(each is not None for each in (sender, to, thread, kind)):
            event = event or "accepted"
        asked = [each for each in (sender, to, thread, kind, event) if each is not None]
        needles = tuple(msgspec.json.encode(each)[1:-1] for each in asked)
        # As JSON, or a piece of JSON as it stands.
        texts = () if text is None else (msgspec.json.encode(text)[1:-1], text.encode())
        found = archive.records(namespace, since, until, needles)
        for line, record in found:
            if (
                (sender is None or record.get("from") == sender)
                and (to is None or to == record.get("to") or to in record.get("recipients", ()))
                and (thread is None or thread in (record.get("thread"), record.get("id")))
                and (kind is None or record.get("type") == kind)
                and (event is None or record.get("event") == event)
                and (text is None or any(each in line for each in texts))
            ):
                if as_json:
                    out.document(msgspec.Raw(line))
                else:
                    out.lines(_line(record))


def _line(record: Record) -> str:
    """A record on one line."""
    event = record.get("event")
    parts = [record["at"], record.get("ns") or "-", str(event)]
    if event == "accepted":
        parts += [f"{record['from']} → {record['to']}", record["type"], record["id"]]
        body = record.get("body")
        if isinstance(body, dict):
            parts.append(payload_text(body.get("payload")))
    else:
        own = {"n", "pos", "at", "node", "ns", "event", "hash", "block"}
        rest = {name: value for name, value in record.items() if name not in own}
        parts.append(payload_text(rest)[1:-1])
    return visible("  ".join(parts))


@command.command("show", epilog=AUDIT_EPILOG)
@click.argument("id_", metavar="ID")
@click.option("--namespace", help="Only in this namespace.")
@_options
def show(
    id_: str,
    namespace: str | None,
    as_json: bool,
    config: Path | None,
    data: str | None,
    audit_path: str | None,
) -> None:
    """Print the whole life of one message: accepted, delivered, read, done, and by whom.

    \b
    Example:
      broker audit show 0195a1f0-7b7e-7c3a-9f0e-3d2c1b0a9f8e
    """
    with _reading():
        from trishula_broker.audit.life import lives, refusals

        archive = _place(config, data, audit_path).archive()
        out = Output(as_json)
        found = lives(archive, id_, namespace)
        refused = list(refusals(archive, id_, namespace))
        if not found and not refused:
            raise Failure(
                ExitCode.REFUSED,
                f"no message {id_} is in {archive.root}; `broker audit search --text` looks wider",
            )
        if as_json:
            messages = [life.as_dict() for life in found]
            out.document({"id": id_, "messages": messages, "refused": refused})
            return
        for life in found:
            record = life.accepted
            thread = f", thread {record['thread']}" if record.get("thread") else ""
            out.lines(
                f"{record['type']} {id_} from {record['from']} to {record['to']} in "
                f"{record['ns']}, seq {record['seq']}, priority {record['priority']}{thread}",
                f"{record['size']} bytes, sha256 of its payload "
                f"{record.get('sha256') or 'not kept'}",
            )
            out.lines(*aligned([[visible(cell) for cell in each] for each in life.moments]))
            body = record.get("body")
            if isinstance(body, dict):
                out.lines(payload_text(body.get("payload"), indent=True))
        for record in refused:
            out.lines(_line(record))


@command.command("export", epilog=AUDIT_EPILOG)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="Records as they stand, or a table for spreadsheets.",
)
@_filters
@_options
def export(
    form: str,
    namespace: str | None,
    since: str,
    until: str,
    as_json: bool,
    config: Path | None,
    data: str | None,
    audit_path: str | None,
) -> None:
    """Print all records, decompressed and decrypted, chain after chain.

    \b
    Examples:
      broker audit export > audit.jsonl
      broker audit export --format csv --since 7d > week.csv
    """
    with _reading():
        import csv
        from io import StringIO

        if as_json:
            form = "jsonl"
        archive = _place(config, data, audit_path).archive()
        out = Output(True)
        rows = StringIO(newline="")
        table = csv.writer(rows)
        if form == "csv":
            table.writerow([*COLUMNS, "more"])
        batch: list[bytes] = []
        for line, record in archive.records(namespace, since, until):
            if form == "jsonl":
                batch.append(line + b"\n")
            else:
                more = {k: v for k, v in record.items() if k not in COLUMNS}
                table.writerow([*(_cell(record.get(name)) for name in COLUMNS), _cell(more)])
            if len(batch) >= 1000 or rows.tell() > 1 << 20:
                out.raw(_taken(batch, rows))
        out.raw(_taken(batch, rows))


def _taken(batch: list[bytes], rows: StringIO) -> bytes:
    data = b"".join(batch) + rows.getvalue().encode()
    batch.clear()
    rows.seek(0)
    rows.truncate()
    return data


def _cell(value: Any) -> str:
    if value is None or value == {}:
        return ""
    if isinstance(value, str):
        return value
    import msgspec

    return msgspec.json.encode(value).decode()
