"""``agents``: who there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies


def agents(call: Call, op: bodies.Agents) -> None:
    """Agents of the namespace by name, filtered."""
    call.ask(base.Agents(None, op.capability, op.group, op.online), _render)


def _render(records: Sequence[base.AgentRecord]) -> dict[str, Any]:
    return {"agents": [describe(record) for record in records]}


def describe(record: base.AgentRecord) -> dict[str, Any]:
    """One agent as others see it."""
    return {
        "id": record.id,
        "capabilities": record.capabilities,
        "groups": record.groups,
        "online": record.online,
        "status": None if record.status is None else msgspec.json.decode(record.status),
        "node": record.node,
        "since": record.since,
        "unsettled": record.unsettled,
        **({"ephemeral": True} if record.ephemeral else {}),
    }
