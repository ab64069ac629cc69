"""``broker audit show``: the whole life of one message."""

from __future__ import annotations

from pathlib import Path

import click

from trishula_broker.cli.audit.line import line_of
from trishula_broker.cli.audit.place import (
    AUDIT_EPILOG,
    place_of,
    place_options,
    reading,
    unreadable,
)
from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.table import aligned
from trishula_broker.cli.text import payload_text, visible


@click.command("show", short_help="Print the whole life of one message.", epilog=AUDIT_EPILOG)
@click.argument("id_", metavar="ID")
@click.option("--namespace", metavar="NAME", help="Only in this namespace.")
@place_options
@as_json_option
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
    with reading():
        from trishula_broker.audit.life import lives, refusals

        archive = place_of(config, data, audit_path).archive()
        out = Output(as_json)
        found = lives(archive, id_, namespace)
        refused = list(refusals(archive, id_, namespace))
        if not found and not refused:
            unreadable(archive)
            raise Failure(
                ExitCode.REFUSED,
                f"no message {id_} is in {archive.root}; `broker audit search --text` looks wider",
            )
        if as_json:
            messages = [life.as_dict() for life in found]
            out.document({"id": id_, "messages": messages, "refused": refused})
            unreadable(archive)
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
            out.lines(line_of(record))
        unreadable(archive)
