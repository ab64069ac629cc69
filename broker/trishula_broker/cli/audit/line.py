"""How a record of the archive looks on one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trishula_broker.cli.text import payload_text, visible

if TYPE_CHECKING:
    from trishula_broker.audit.reading import Record


def line_of(record: Record) -> str:
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
