"""``join`` and ``leave``: membership of groups."""

from __future__ import annotations

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.standing import forbidden, standing_of
from trishula_broker.store import base
from trishula_protocol import bodies


def join(call: Call, op: bodies.Join) -> None:
    """Become a member; answered with the caller's groups."""
    standing = standing_of(call.session)
    if standing is not None and not standing.allowed("#", (op.group,)):
        why = f"your token does not allow #{op.group}"
        call.refuse(forbidden("payload.group", why, standing.identity.rights.receive))
        return
    _change(call, base.Update(call.agent, call.session.epoch, None, op.group, None))


def leave(call: Call, op: bodies.Leave) -> None:
    """Stop being a member; answered with the caller's groups."""
    _change(call, base.Update(call.agent, call.session.epoch, None, None, op.group))


def _change(call: Call, update: base.Update) -> None:
    def updated(outcome: base.Updated, now: Now) -> None:
        call.result({"groups": outcome.groups})

    call.commit(update, updated)
