"""``agents``: who there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.render import PAGE_BYTES
from trishula_broker.store import base
from trishula_protocol import bodies


def agents(call: Call, op: bodies.Agents) -> None:
    """Agents of the namespace by name, filtered; ``next`` as in :func:`picture`."""
    call.ask(
        base.Agents(None, op.capability, op.group, op.online),
        lambda records: picture([record for record in records if record.id > op.after]),
    )


def picture(records: Sequence[base.AgentRecord]) -> dict[str, Any]:
    """A page of agents; ``next`` is the ``after`` of the following page, null at the end."""
    page: list[dict[str, Any]] = []
    size = 0
    for record in records:
        shown = _describe(record)
        size += len(msgspec.json.encode(shown))
        if page and size > PAGE_BYTES:
            return {"agents": page, "next": page[-1]["id"]}
        page.append(shown)
    return {"agents": page, "next": None}


def _describe(record: base.AgentRecord) -> dict[str, Any]:
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
        **({"folder": True} if record.folder else {}),
        **({} if record.paused is None else {"paused": {"reason": record.paused}}),
    }
