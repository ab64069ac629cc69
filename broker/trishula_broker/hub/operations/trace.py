"""``trace``: where a message is, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.render import summary_of
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode


def trace(call: Call, op: bodies.Trace) -> None:
    """The fate of every copy of a message that the caller sent or received."""
    # Deliveries are noted late; what is asked about now must be in the store first.
    pending = 0

    def noted(now: Now) -> None:
        nonlocal pending
        pending -= 1
        if not pending:
            call.look_up(base.Trace(call.agent, op.id), traced)

    def traced(found: Sequence[base.Traced], now: Now) -> None:
        if found:
            call.result({"messages": [_describe(each, now.wall) for each in found]})
        else:
            call.error(
                ErrorCode.BAD_MESSAGE, f"payload.id: you neither sent nor received {op.id!r}"
            )

    for seat in list(call.desk.roster.seats.values()):
        pending += call.desk.delivery.note(seat, noted)
    if not pending:
        call.look_up(base.Trace(call.agent, op.id), traced)


def _describe(traced: base.Traced, wall: int) -> dict[str, Any]:
    return {
        **summary_of(traced.message),
        "copies": [_fate(fate, traced.message, wall) for fate in traced.copies],
    }


def _fate(fate: base.Fate, message: base.Message, wall: int) -> dict[str, Any]:
    return {
        "agent": fate.agent,
        "stage": _stage(fate),
        "waits_for": _waits_for(fate, wall),
        "attempts": fate.attempts,
        "delivered_at": fate.delivered_at,
        "read_at": fate.read_at,
        "settled_at": fate.settled_at,
        "outcome": fate.outcome,
        "reason": fate.reason,
        "expires_at": message.expires_at,
    }


def _stage(fate: base.Fate) -> str:
    if fate.outcome is not None:
        return fate.outcome
    if fate.due_at is not None:
        return "delayed"
    if fate.read_at is not None and fate.lease_until is not None:
        return "read"
    return "waiting" if fate.delivered_at is None else "delivered"


def _waits_for(fate: base.Fate, wall: int) -> str | None:
    if fate.outcome is not None:
        return None
    if fate.agent.startswith("@"):
        return f"an agent that offers {fate.agent[1:]} to come online"
    if fate.due_at is not None:
        return f"its next attempt, in {max(0, fate.due_at - wall)} ms"
    if fate.lease_until is not None:
        return f"{fate.agent} to finish it"
    if fate.delivered_at is not None:
        return f"{fate.agent} to read it"
    return f"{fate.agent} to come online, or to have room for it"
