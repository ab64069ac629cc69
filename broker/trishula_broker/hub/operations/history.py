"""``history``: what was said, from the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.known import if_known
from trishula_broker.hub.operations.render import envelope_of, fitting
from trishula_broker.store import base
from trishula_protocol import bodies


def history(call: Call, op: bodies.History) -> None:
    """A page, oldest first; ``next`` is the ``after`` of the following page, null at the end."""

    def found(messages: Sequence[base.Message], now: Now) -> None:
        if messages or op.after:
            call.result(_page(messages, op.limit))
        else:
            if_known(call, lambda: call.result(_page(messages, op.limit)))

    call.look_up(base.History(call.whose, op.thread, op.after, op.limit), found)


def _page(messages: Sequence[base.Message], limit: int) -> dict[str, Any]:
    page = [envelope_of(message) for message in messages[: fitting(messages)]]
    more = len(page) < len(messages) or len(messages) == limit
    return {"messages": page, "next": page[-1]["seq"] if page and more else None}
