"""``watch``: presence and status changes as they happen."""

from __future__ import annotations

from trishula_broker.hub.operations.agents import picture
from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies


def watch(call: Call, op: bodies.Watch) -> None:
    """Begin or end it. The answer is the picture that the changes start from."""
    call.desk.roster.watch(call.session, op.on)
    if op.on:
        call.ask(base.Agents(), picture)
    else:
        call.result({})
