"""``nodes``: the hubs that serve this namespace."""

from __future__ import annotations

from typing import Any

from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies


def nodes(call: Call, op: bodies.Nodes) -> None:
    """Every hub the store knows, by name; the one that leads, and the one that answers;
    whether agents are ordered to their shared folder."""
    call.ask(
        base.Nodes(),
        lambda records: {
            "nodes": [_describe(record) for record in records],
            "node": call.desk.node,
            "folder_mode": call.desk.folder_mode.describe(),
        },
    )


def _describe(record: base.NodeRecord) -> dict[str, Any]:
    return {
        "node": record.node,
        "role": record.role,
        "address": record.address,
        "alive": record.alive,
        "leads": record.lead > 0,
        "since": record.since,
        "beat_at": record.beat_at,
        "agents": record.agents,
    }
