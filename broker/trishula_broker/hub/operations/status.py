"""``status``: what the caller is doing, for others to see."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode
from trishula_protocol.payload import find_fault

STATUS_BYTES: Final = 4096
"""Bytes of a status at most: it is shown in lists."""


def status(call: Call, op: bodies.Status) -> None:
    """Set the caller's status and tell the watchers."""
    problem = find_fault(op.details)
    if problem is not None:
        call.error(ErrorCode.BAD_MESSAGE, problem.replace("payload", "payload.details", 1))
        return
    text = msgspec.json.encode({"text": op.text, "details": op.details}).decode()
    if len(text.encode()) > STATUS_BYTES:
        call.error(
            ErrorCode.TOO_LARGE, f"payload: a status has at most {STATUS_BYTES} bytes of JSON"
        )
        return

    def updated(outcome: base.Updated, now: Now) -> None:
        change = {
            "event": "status",
            "agent": call.agent,
            "status": {"text": op.text, "details": op.details},
        }
        call.desk.roster.announce(change, now.wall)
        call.result({})

    call.commit(base.Update(call.agent, call.session.epoch, text, None, None), updated)


def status_of(payload: Any) -> Any:
    """The operation that a STATUS without ``to`` stands for."""
    if isinstance(payload, str):
        return {"op": "status", "text": payload}
    if isinstance(payload, dict) and payload.keys() <= {"text", "details", "op"}:
        return {**payload, "op": "status"}
    return {"op": "status", "details": payload}
