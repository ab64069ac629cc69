"""``pause`` and ``resume``: whether an agent is handed its mail, for operators."""

from __future__ import annotations

from typing import Any

from trishula_broker.hub.duties import ASSIGN
from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.known import refuse_unknown
from trishula_broker.store import base
from trishula_protocol import bodies


def pause(call: Call, op: bodies.Pause) -> None:
    """Hand out nothing more to an agent, wherever it is or will be."""

    def done(outcome: base.Paused, now: Now) -> None:
        if _looked_at(call, op.agent, outcome):
            change = {"event": "paused", "agent": op.agent, "reason": op.reason}
            _answer(call, op.agent, True, change, now)

    call.commit(base.Pause(op.agent, True, op.reason), done)


def resume(call: Call, op: bodies.Resume) -> None:
    """Hand out again, what waits for its capabilities with the rest of its mail."""

    def go_on(limit: int, again: bool) -> None:
        def done(outcome: base.Paused, now: Now) -> None:
            if not _looked_at(call, op.agent, outcome):
                return
            call.desk.assigned(outcome.copies)
            if outcome.more:
                # More at a time, or it would never end where as much comes in as is handed out.
                go_on(limit + ASSIGN, again=True)
            elif outcome.overtaken:
                call.result({"agent": op.agent, "paused": True})
            else:
                _answer(call, op.agent, False, {"event": "resumed", "agent": op.agent}, now)

        call.commit(base.Pause(op.agent, False, "", limit, again), done)

    go_on(ASSIGN, again=False)


def _looked_at(call: Call, agent: str, outcome: base.Paused) -> bool:
    if not outcome.known:
        refuse_unknown(call, agent)
        return False
    # Another may have said the opposite meanwhile: what holds is asked for.
    call.desk.delivery.look_at(agent)
    return True


def _answer(call: Call, agent: str, paused: bool, change: dict[str, Any], now: Now) -> None:
    call.desk.roster.announce(change, now.wall)
    call.result({"agent": agent, "paused": paused})
