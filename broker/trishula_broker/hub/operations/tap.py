"""``tap``: a live copy of what passes, for operators."""

from __future__ import annotations

from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.address import parse_address
from trishula_protocol.errors import ErrorCode, ProtocolError


def tap(call: Call, op: bodies.Tap) -> None:
    """Begin or end it; the caller's session has one tap, and a new one replaces it."""
    taps = call.desk.taps
    if op.on:
        if op.to is not None:
            try:
                parse_address(op.to)
            except ProtocolError as error:
                call.error(ErrorCode.BAD_MESSAGE, f"payload.{error.message}")
                return
        taps.begin(
            call.session, base.Wanted(op.sender, op.to, op.type, op.thread), op.most, call.now
        )
    else:
        taps.end(call.session, call.now)
    call.result({"on": op.on})
