"""``pause`` and ``resume``: whether an agent is handed its mail, for operators."""

from __future__ import annotations

from typing import Any

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.known import refuse_unknown
from trishula_broker.store import base
from trishula_protocol import bodies


def pause(call: Call, op: bodies.Pause) -> None:
    """Hand out nothing more to an agent, wherever it is or will be."""
    change = {"event": "paused", "agent": op.agent, "reason": op.reason}
    _set(call, base.Pause(op.agent, True, op.reason), change)


def resume(call: Call, op: bodies.Resume) -> None:
    """Hand out again."""
    _set(call, base.Pause(op.agent, False), {"event": "resumed", "agent": op.agent})


def _set(call: Call, pause: base.Pause, change: dict[str, Any]) -> None:
    def done(outcome: base.Paused, now: Now) -> None:
        if not outcome.known:
            refuse_unknown(call, pause.agent)
            return
        # Another may have said the opposite meanwhile: what holds is asked for.
        call.desk.delivery.look_at(pause.agent)
        for capability in outcome.pools:
            call.desk.assign(capability)
        call.desk.roster.announce(change, now.wall)
        call.result({"agent": pause.agent, "paused": pause.on})

    call.commit(pause, done)
