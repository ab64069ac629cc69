"""``deregister``: forget the caller."""

from __future__ import annotations

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.errors import CloseCode, ErrorCode


def deregister(call: Call, op: bodies.Deregister) -> None:
    """Refused while the mailbox holds anything; else answered, and the session closes."""

    def forgotten(outcome: base.Forgotten, now: Now) -> None:
        if outcome.waiting:
            call.error(
                ErrorCode.FORBIDDEN,
                f"your mailbox holds {outcome.waiting} unsettled messages; settle them first",
                {"unsettled": outcome.waiting},
            )
        else:
            call.result({})
            change = {"event": "forgotten", "agent": call.agent, "online": False}
            call.desk.roster.announce(change, now.wall)
            call.session.close(CloseCode.GOING_AWAY, "deregistered")

    call.commit(base.Forget(call.agent, call.session.epoch), forgotten)
