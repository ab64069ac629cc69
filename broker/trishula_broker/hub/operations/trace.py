"""``trace``: where a message is, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.render import summary_of
from trishula_broker.hub.roster import Seat
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
            call.look_up(base.Trace(call.whose, op.id), traced)

    def traced(found: Sequence[base.Traced], now: Now) -> None:
        if not found:
            call.error(
                ErrorCode.BAD_MESSAGE,
                f"payload.id: {_who(call)} neither sent nor received {op.id!r}",
            )
            return
        away = _waiting_elsewhere(call, found)
        if not away:
            _tell(call, found, {}, now)
            return

        def looked_up(records: Sequence[base.AgentRecord], now: Now) -> None:
            _tell(call, found, {record.id: record for record in records}, now)

        # One question whatever their number: a broadcast waits for everybody who is away.
        call.look_up(base.Agents(away.pop() if len(away) == 1 else None), looked_up)

    for seat in list(call.desk.roster.seats.values()):
        pending += call.desk.delivery.note(seat, noted)
    if not pending:
        call.look_up(base.Trace(call.whose, op.id), traced)


def _who(call: Call) -> str:
    return "you" if call.whose == call.agent else call.whose


def _waiting_elsewhere(call: Call, found: Sequence[base.Traced]) -> set[str]:
    """Who is to come, or to read, and has no session here."""
    return {
        fate.agent
        for each in found
        for fate in each.copies
        if _is_up_to_agent(fate) and fate.agent not in call.desk.roster.seats
    }


def _tell(
    call: Call, found: Sequence[base.Traced], records: dict[str, base.AgentRecord], now: Now
) -> None:
    def fate_of(fate: base.Fate, message: base.Message) -> dict[str, Any]:
        return {
            "agent": fate.agent,
            "stage": _stage(fate),
            "waits_for": _waits_for(fate, message.seq, call, records, now.wall),
            "attempts": fate.attempts,
            "delivered_at": fate.delivered_at,
            "read_at": fate.read_at,
            "settled_at": fate.settled_at,
            "outcome": fate.outcome,
            "reason": fate.reason,
            "expires_at": message.expires_at,
        }

    messages = [
        {
            **summary_of(each.message),
            "copies": [fate_of(fate, each.message) for fate in each.copies],
        }
        for each in found
    ]
    call.result({"messages": messages})


def _stage(fate: base.Fate) -> str:
    if fate.outcome is not None:
        return fate.outcome
    if fate.due_at is not None:
        return "delayed"
    if fate.read_at is not None and fate.lease_until is not None:
        return "read"
    return "waiting" if fate.delivered_at is None else "delivered"


def _is_up_to_agent(fate: base.Fate) -> bool:
    """Whether nothing but its recipient keeps it from being read."""
    return (
        fate.outcome is None
        and not fate.agent.startswith("@")
        and fate.due_at is None
        and fate.lease_until is None
    )


def _waits_for(
    fate: base.Fate, seq: int, call: Call, records: dict[str, base.AgentRecord], wall: int
) -> str | None:
    if fate.outcome is not None:
        return None
    if fate.agent.startswith("@"):
        return f"an agent that offers {fate.agent[1:]} to come online"
    if fate.due_at is not None:
        return f"its next attempt, in {max(0, fate.due_at - wall)} ms"
    if fate.lease_until is not None:
        return f"{fate.agent} to finish it"
    seat = call.desk.roster.seats.get(fate.agent)
    if seat is not None:
        return _waits_for_seat(fate.agent, seat, seq)
    record = records.get(fate.agent)
    if record is None or not record.online:
        then = " and to be resumed: it is paused" if record and record.paused is not None else ""
        return f"{fate.agent} to come online{then}"
    if record.paused is not None and fate.delivered_at is None:
        return f"{fate.agent} to be resumed: it is paused"
    if fate.delivered_at is None:
        return f"room in the prefetch of {fate.agent}, or its turn, at node {record.node}"
    return f"{fate.agent} to read it"


def _waits_for_seat(agent: str, seat: Seat, seq: int) -> str:
    if seq in seat.mailbox.held:
        return f"{agent} to read it"
    if seat.mailbox.paused:
        return f"{agent} to be resumed: it is paused"
    if seat.mailbox.room <= 0:
        return f"room in the prefetch of {agent}: it is online, and all of that is unread"
    return f"its turn: {agent} is online"
