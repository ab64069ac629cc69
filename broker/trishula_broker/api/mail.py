"""Sending, and a mailbox that is polled: for tools that have no WebSocket."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trishula_broker.api import shapes
from trishula_broker.api.endpoint import Call
from trishula_broker.api.failures import bad
from trishula_protocol import limits
from trishula_protocol.address import HUB
from trishula_protocol.envelope import Envelope
from trishula_protocol.trace_context import TRACEPARENT, TRACESTATE, parse_traceparent

if TYPE_CHECKING:
    from trishula_protocol.ids import IdMaker


async def send_message(call: Call) -> shapes.Sent:
    """Have a message accepted: it is stored once this is answered."""
    body: shapes.SendBody = call.body
    if body.to == HUB:
        raise bad("to", "the hub takes no messages here; ask it by the endpoints of this API")
    envelope: dict[str, Any] = {
        "type": body.type,
        "id": body.id or _ids()(time.time_ns() // 1_000_000),
        "to": body.to,
        "priority": body.priority,
        "payload": body.payload,
    }
    for name in ("reply_to", "ttl", "thread", "headers", "settles"):
        value = getattr(body, name)
        if value is not None:
            envelope[name] = value
    envelope["headers"] = _with_trace(body.headers or {}, call.request.headers)
    # What is settled is held by the session that polled it.
    session = call.links.side if body.settles is None else call.links.mailbox
    async with session(call.caller) as link:
        await link.post(envelope)
    return shapes.Sent(envelope["id"], call.caller.agent)


async def receive_mail(call: Call) -> shapes.Received:
    """The next messages of the caller's own mailbox."""
    body: shapes.ReceiveBody = call.body
    async with call.links.mailbox(call.caller, body.lease_ms) as link:
        found = await link.mail(body.limit, body.wait_s)
    return shapes.Received([_shown(each) for each in found])


async def settle_mail(call: Call) -> shapes.Settled:
    """Say what became of mail."""
    body: shapes.SettleBody = call.body
    seqs = list(dict.fromkeys(body.seqs))
    async with call.links.mailbox(call.caller) as link:
        if body.stage == "read":
            link.acknowledge("read", seqs)
            return shapes.Settled([], [])
        more: dict[str, Any] = {}
        if body.stage == "rejected":
            more = {"reason": body.reason, "requeue": body.requeue}
        settled, stale = await link.settle(body.stage, seqs, **more)
    return shapes.Settled(settled, stale)


def _with_trace(headers: dict[str, str], request: Mapping[str, str]) -> dict[str, str]:
    """``headers`` of a message, with the trace that the request belongs to, unless they name
    one."""
    told = request.get(TRACEPARENT, "")
    fits = len(told) <= limits.HEADER_LENGTH and parse_traceparent(told) is not None
    if TRACEPARENT in headers or not fits:
        return headers
    state = request.get(TRACESTATE, "")
    more = {TRACESTATE: state} if 0 < len(state) <= limits.HEADER_LENGTH else {}
    found = {**headers, TRACEPARENT: told, **more}
    return found if len(found) <= limits.HEADERS else headers


def _shown(envelope: Envelope) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(envelope)
    shown.setdefault("payload", None)
    return shown


@functools.cache
def _ids() -> IdMaker:
    from trishula_protocol.ids import IdMaker  # which has a table, for who makes many

    return IdMaker(secrets.randbits(62))
