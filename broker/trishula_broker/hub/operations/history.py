"""``history``: what was said, from the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.render import envelope_of, fitting
from trishula_broker.store import base
from trishula_protocol import bodies


def history(call: Call, op: bodies.History) -> None:
    """A page, oldest first; ``next`` is the ``after`` of the following page, null at the end."""

    def render(messages: Sequence[base.Message]) -> dict[str, Any]:
        page = [envelope_of(message) for message in messages[: fitting(messages)]]
        more = len(page) < len(messages) or len(messages) == op.limit
        return {"messages": page, "next": page[-1]["seq"] if page and more else None}

    call.ask(base.History(call.agent, op.thread, op.after, op.limit), render)
