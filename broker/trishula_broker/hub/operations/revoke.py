"""``revoke``: take tokens back, for operators."""

from __future__ import annotations

from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode


def revoke(call: Call, op: bodies.Revoke) -> None:
    """One token by its id, or all that an agent was given up to now; sessions end everywhere.

    Answered once every node can know it, with how many sessions ended at this one.
    """
    tenure = call.desk.tenure
    if bool(op.token_id) == bool(op.agent):
        call.error(
            ErrorCode.BAD_MESSAGE,
            "payload: say token_id, or agent for all its tokens, and not both",
        )
        return
    if call.desk.identify is None:
        call.error(
            ErrorCode.BAD_MESSAGE,
            "payload.op: this hub has no keys, so there are no tokens to revoke; "
            "`broker keys init` makes some",
        )
        return
    what = base.Revocation(
        op.token_id,
        op.agent,
        0 if op.token_id else tenure.issued_until(op.agent, call.now),
        tenure.expiry_of(op.token_id) if op.token_id else None,
    )
    # At once here: who is revoked may be flooding this very store.
    ended = tenure.revoke(what)
    call.commit(
        base.Revoke(what),
        lambda outcome, now: call.result(
            {"token_id": op.token_id or None, "agent": op.agent or None, "sessions": ended}
        ),
    )
