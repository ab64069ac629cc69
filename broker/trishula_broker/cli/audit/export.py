"""``broker audit export``: all records, a message each, or a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.audit.place import (
    AUDIT_EPILOG,
    filters,
    place_of,
    place_options,
    reading,
    unreadable,
)
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.record_progress import with_progress

if TYPE_CHECKING:
    from io import StringIO

COLUMNS: Final = (
    "n", "pos", "at", "node", "ns", "event", "seq", "seqs", "id", "from", "to", "recipients",
    "type", "priority", "thread", "reply_to", "size", "sha256", "agent", "reason", "body",
)  # fmt: skip
"""Of a CSV export; all else of a record is JSON in the last column, ``more``."""


@click.command("export", short_help="Print all records, or a table.", epilog=AUDIT_EPILOG)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="Records, a message each, or a table for spreadsheets.",
)
@filters
@place_options
@as_json_option
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
    with reading():
        import csv
        from io import StringIO

        if as_json:
            form = "jsonl"
        archive = place_of(config, data, audit_path).archive()
        out = Output(True)
        rows = StringIO(newline="")
        table = csv.writer(rows)
        if form == "csv":
            table.writerow([*COLUMNS, "more"])
        batch: list[bytes] = []
        for line, record in with_progress(archive.records(namespace, since, until)):
            if form == "jsonl":
                batch.append(line + b"\n")
            else:
                more = {k: v for k, v in record.items() if k not in COLUMNS}
                table.writerow([*(_cell(record.get(name)) for name in COLUMNS), _cell(more)])
            if len(batch) >= 1000 or rows.tell() > 1 << 20:
                out.raw(_taken(batch, rows))
        out.raw(_taken(batch, rows))
        unreadable(archive)


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
