"""Every operation and who answers it. To add one: its type in ``trishula_protocol.bodies``, a
file beside this one, a line here. What operators and observers alone may ask is audited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from trishula_broker.auth.identity import Role
from trishula_broker.hub.operations.agents import agents
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.deadletters import deadletters, drop, retry
from trishula_broker.hub.operations.deregister import deregister
from trishula_broker.hub.operations.folder_mode import folder_mode
from trishula_broker.hub.operations.forget import forget
from trishula_broker.hub.operations.groups import join, leave
from trishula_broker.hub.operations.history import history
from trishula_broker.hub.operations.nodes import nodes
from trishula_broker.hub.operations.pausing import pause, resume
from trishula_broker.hub.operations.peek import peek
from trishula_broker.hub.operations.recall import recall
from trishula_broker.hub.operations.renew import renew
from trishula_broker.hub.operations.revoke import revoke
from trishula_broker.hub.operations.status import status
from trishula_broker.hub.operations.tap import tap
from trishula_broker.hub.operations.trace import trace
from trishula_broker.hub.operations.watch import watch
from trishula_broker.hub.refusals import who
from trishula_broker.hub.standing import standing_of
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode

ANYBODY: Final[frozenset[Role]] = frozenset({"agent", "operator", "observer"})
"""It changes nothing, and tells only what is the caller's own or everybody's."""
AGENTS: Final[frozenset[Role]] = frozenset({"agent", "operator"})
"""It changes what is the caller's own."""
LOOKING: Final[frozenset[Role]] = frozenset({"operator", "observer"})
"""It changes nothing, and tells what is others'."""
OPERATORS: Final[frozenset[Role]] = frozenset({"operator"})
"""It changes what is others'."""


OTHERS: Final = (bodies.Peek, bodies.History, bodies.Trace)
"""They tell what is the caller's own, and to :data:`LOOKING` what is another's."""


class Entry(NamedTuple):
    """An operation: what it is asked with, who answers, and whose tokens may ask it."""

    request: type[msgspec.Struct]
    answer: Callable[[Call, Any], None]
    roles: frozenset[Role]


TABLE: Final[dict[str, Entry]] = {
    "agents": Entry(bodies.Agents, agents, ANYBODY),
    "status": Entry(bodies.Status, status, AGENTS),
    "join": Entry(bodies.Join, join, AGENTS),
    "leave": Entry(bodies.Leave, leave, AGENTS),
    "watch": Entry(bodies.Watch, watch, ANYBODY),
    "peek": Entry(bodies.Peek, peek, ANYBODY),
    "history": Entry(bodies.History, history, ANYBODY),
    "trace": Entry(bodies.Trace, trace, ANYBODY),
    "recall": Entry(bodies.Recall, recall, AGENTS),
    "deregister": Entry(bodies.Deregister, deregister, AGENTS),
    "nodes": Entry(bodies.Nodes, nodes, ANYBODY),
    "deadletters": Entry(bodies.DeadLetters, deadletters, LOOKING),
    "retry": Entry(bodies.Retry, retry, OPERATORS),
    "drop": Entry(bodies.Drop, drop, OPERATORS),
    "pause": Entry(bodies.Pause, pause, OPERATORS),
    "resume": Entry(bodies.Resume, resume, OPERATORS),
    "folder_mode": Entry(bodies.FolderMode, folder_mode, OPERATORS),
    "tap": Entry(bodies.Tap, tap, LOOKING),
    "revoke": Entry(bodies.Revoke, revoke, OPERATORS),
    "renew": Entry(bodies.Renew, renew, ANYBODY),
    "forget": Entry(bodies.Forget, forget, OPERATORS),
}


def perform(call: Call, payload: Any) -> None:
    """Answer what ``payload`` asks for."""
    op = payload.get("op") if isinstance(payload, dict) else None
    if op == "register":
        call.error(ErrorCode.BAD_MESSAGE, "payload.op: this session is registered already")
        return
    call.op = op[:40] if isinstance(op, str) else ""
    entry = TABLE.get(op) if isinstance(op, str) else None
    if entry is None:
        shown = f"{op[:40]!r}" if isinstance(op, str) else "none"
        call.error(
            ErrorCode.UNKNOWN_OP,
            f"payload.op: {shown} is not an operation of this hub; "
            f"there are {', '.join(sorted(TABLE))}",
        )
        return
    standing = standing_of(call.session)
    if standing is not None and standing.identity.role not in entry.roles:
        call.error(
            ErrorCode.FORBIDDEN,
            f"payload.op: {op} is for {' and '.join(f'{role}s' for role in sorted(entry.roles))}; "
            f"your token's role is {standing.identity.role}",
        )
        return
    try:
        request = msgspec.convert(payload, entry.request)
    except (msgspec.ValidationError, RecursionError) as error:
        call.error(ErrorCode.BAD_MESSAGE, f"payload: {error}")
        return
    other = request.agent if isinstance(request, OTHERS) else None
    if other is not None and other != call.agent:
        if standing is not None and standing.identity.role not in LOOKING:
            call.error(
                ErrorCode.FORBIDDEN,
                f"payload.agent: what is {other}'s is for operators and observers; your token's "
                f"role is {standing.identity.role}",
            )
            return
        call.whose = other
    if "agent" not in entry.roles or call.whose != call.agent:
        asked = {"op": op, "arguments": _arguments(request)}
        call.desk.record("operator", {**asked, **who(call.session)})
    entry.answer(call, request)


def _arguments(request: msgspec.Struct) -> dict[str, Any]:
    given: dict[str, Any] = msgspec.to_builtins(request)
    del given["op"]
    return given
