"""How a record of the archive looks on one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from trishula_broker.cli.text import payload_text, visible

if TYPE_CHECKING:
    from trishula_broker.audit.reading import Record


_SHOWN: Final = frozenset(("n", "pos", "at", "node", "ns", "event", "agent", "hash", "block"))
_BARE: Final = re.compile(r"[^\s\"=,\[\]{}]+")


def _value(value: Any) -> str:
    """As it is where that is one word, a list of such with commas, anything else as JSON."""
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    if isinstance(value, list):
        words = [_value(each) for each in value if not isinstance(each, list | dict)]
        if len(words) == len(value):
            return ",".join(words)
    return payload_text(value)


def line_of(record: Record) -> str:
    """A record on one line: time, namespace, event, who, and the rest with its names."""
    event = record.get("event")
    parts = [record["at"], record.get("ns") or "-", str(event)]
    if event == "accepted":
        parts += [f"{record['from']} → {record['to']}", record["type"], record["id"]]
        body = record.get("body")
        if isinstance(body, dict):
            parts.append(payload_text(body.get("payload")))
    else:
        parts.append(record.get("agent") or "-")
        fields = [
            f"{name}={_value(value)}"
            for name, value in record.items()
            if name not in _SHOWN and value not in (None, "", [], {})
        ]
        parts.append(" ".join(fields))
    return visible("  ".join(parts))
