"""``deregister``: forget the caller."""

from __future__ import annotations

from trishula_broker.hub.commits import Unavailable
from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.errors import CloseCode, ErrorCode


def deregister(call: Call, op: bodies.Deregister) -> None:
    """Refused while the mailbox holds anything; else answered, and the session closes."""
    forget = base.Forget(call.agent, call.session.epoch)
    call.desk.commits.submit(forget, _decided, (call, False))


def _decided(
    outcome: base.Forgotten | base.Fenced | Unavailable,
    op: base.Forget,
    context: tuple[Call, bool],
    now: Now,
) -> None:
    call, again = context
    if isinstance(outcome, Unavailable):
        # Said again by the hub itself: if it was done, nothing else of this session will be.
        if call.session.live:
            call.desk.commits.retry(op, _decided, (call, True), now)
    elif isinstance(outcome, base.Fenced):
        if not op.epoch:
            call.error(
                ErrorCode.FORBIDDEN,
                f"{call.agent} is online in another session; deregister there, or end it first",
            )
        elif again and not outcome.epoch:
            _forgotten(call, now)
        else:
            call.desk.delivery.fenced(call.session, outcome, now)
    elif outcome.waiting:
        call.error(
            ErrorCode.FORBIDDEN,
            f"your mailbox holds {outcome.waiting} unsettled messages; settle them first",
            {"unsettled": outcome.waiting},
        )
    else:
        _forgotten(call, now)


def _forgotten(call: Call, now: Now) -> None:
    call.result({})
    change = {"event": "forgotten", "agent": call.agent, "online": False}
    call.desk.roster.announce(change, now.wall)
    call.session.close(CloseCode.GOING_AWAY, "deregistered")
