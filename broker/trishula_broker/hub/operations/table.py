"""Every operation and who answers it. To add one: its type in ``trishula_protocol.bodies``, a
file beside this one, a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from trishula_broker.hub.operations.agents import agents
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.deadletters import deadletters, drop, retry
from trishula_broker.hub.operations.deregister import deregister
from trishula_broker.hub.operations.forget import forget
from trishula_broker.hub.operations.groups import join, leave
from trishula_broker.hub.operations.history import history
from trishula_broker.hub.operations.nodes import nodes
from trishula_broker.hub.operations.pausing import pause, resume
from trishula_broker.hub.operations.peek import peek
from trishula_broker.hub.operations.recall import recall
from trishula_broker.hub.operations.status import status
from trishula_broker.hub.operations.tap import tap
from trishula_broker.hub.operations.trace import trace
from trishula_broker.hub.operations.watch import watch
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode

TABLE: Final[dict[str, tuple[type[msgspec.Struct], Callable[[Call, Any], None]]]] = {
    "agents": (bodies.Agents, agents),
    "status": (bodies.Status, status),
    "join": (bodies.Join, join),
    "leave": (bodies.Leave, leave),
    "watch": (bodies.Watch, watch),
    "peek": (bodies.Peek, peek),
    "history": (bodies.History, history),
    "trace": (bodies.Trace, trace),
    "recall": (bodies.Recall, recall),
    "deregister": (bodies.Deregister, deregister),
    "nodes": (bodies.Nodes, nodes),
    "deadletters": (bodies.DeadLetters, deadletters),
    "retry": (bodies.Retry, retry),
    "drop": (bodies.Drop, drop),
    "pause": (bodies.Pause, pause),
    "resume": (bodies.Resume, resume),
    "forget": (bodies.Forget, forget),
    "tap": (bodies.Tap, tap),
}


def perform(call: Call, payload: Any) -> None:
    """Answer what ``payload`` asks for."""
    op = payload.get("op") if isinstance(payload, dict) else None
    if op == "register":
        call.error(ErrorCode.BAD_MESSAGE, "payload.op: this session is registered already")
        return
    entry = TABLE.get(op) if isinstance(op, str) else None
    if entry is None:
        shown = f"{op[:40]!r}" if isinstance(op, str) else "none"
        call.error(
            ErrorCode.UNKNOWN_OP,
            f"payload.op: {shown} is not an operation of this hub; "
            f"there are {', '.join(sorted(TABLE))}",
        )
        return
    kind, handler = entry
    try:
        request = msgspec.convert(payload, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        call.error(ErrorCode.BAD_MESSAGE, f"payload: {error}")
        return
    handler(call, request)
