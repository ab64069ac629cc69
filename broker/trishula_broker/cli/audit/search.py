"""``broker audit search``: the records that fit."""

from __future__ import annotations

from pathlib import Path

import click

from trishula_broker.cli.audit.line import line_of
from trishula_broker.cli.audit.place import (
    AUDIT_EPILOG,
    filters,
    place_of,
    place_options,
    reading,
    unreadable,
)
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.session import note


def _event(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    from trishula_broker.audit.events import EVENTS

    if text is None or text.lower() in EVENTS:
        return text and text.lower()
    raise click.BadParameter(f"{text!r} is none; there are {', '.join(EVENTS)}")


@click.command("search", short_help="Print the records that fit, by time.", epilog=AUDIT_EPILOG)
@click.option("--from", "sender", metavar="AGENT", help="Only messages that it sent.")
@click.option("--to", "to", metavar="ADDRESS", help="Only messages for it, or that it got.")
@click.option("--thread", metavar="ID", help="Only messages of this conversation.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["COMMAND", "STATUS", "RESULT", "ERROR"], case_sensitive=False),
    help="Only messages of this type.",
)
@click.option(
    "--event",
    metavar="EVENT",
    callback=_event,
    help="Only this event, such as accepted, refused, operator; docs/audit.md has all.",
)
@click.option("--text", metavar="TEXT", help="Only records in which this stands somewhere.")
@filters
@place_options
@as_json_option
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
    """Print the records that fit all that is asked for, in the order of their times.

    A line has the time in UTC, the namespace, the event and the agent; with --json it is the
    record.

    \b
    Examples:
      broker audit search --from dc --to agni --since 2h
      broker audit search --thread build-17 --json
      broker audit search --event refused --text forbidden
    """
    with reading():
        import msgspec

        from trishula_broker.audit import chain

        archive = place_of(config, data, audit_path).archive()
        out = Output(as_json)
        if any(each is not None for each in (sender, to, thread, kind)):
            event = event or "accepted"
        asked = [each for each in (sender, to, thread, kind, event) if each is not None]
        needles = tuple(msgspec.json.encode(each)[1:-1] for each in asked)
        # As JSON, or a piece of JSON as it stands.
        texts = () if text is None else (msgspec.json.encode(text)[1:-1], text.encode())
        some = False
        found = archive.timeline(namespace, since, until, needles)
        for line, record in found:
            if (
                (sender is None or record.get("from") == sender)
                and (to is None or to == record.get("to") or to in record.get("recipients", ()))
                and (thread is None or thread in (record.get("thread"), record.get("id")))
                and (kind is None or record.get("type") == kind)
                and (event is None or record.get("event") == event)
                and (text is None or any(each in chain.said(line) for each in texts))
            ):
                some = True
                if as_json:
                    out.document(msgspec.Raw(line))
                else:
                    out.lines(line_of(record))
        unreadable(archive)
        if not some:
            note("note: no record fits")
