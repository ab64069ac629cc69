"""``peek``: a mailbox, without touching it."""

from __future__ import annotations

from typing import Any

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.known import if_known
from trishula_broker.hub.operations.render import fitting, summary_of
from trishula_broker.store import base
from trishula_protocol import bodies


def peek(call: Call, op: bodies.Peek) -> None:
    """Count, oldest, by priority, and the first ones; nothing is delivered or settled."""

    def looked(peeked: base.Peeked, now: Now) -> None:
        if peeked.count or call.whose.startswith("@"):
            call.result(_render(peeked))
        else:
            if_known(call, lambda: call.result(_render(peeked)))

    call.look_up(base.Peek(call.whose, op.limit), looked)


def _render(peeked: base.Peeked) -> dict[str, Any]:
    return {
        "count": peeked.count,
        "bytes": peeked.size,
        "oldest": peeked.oldest,
        "by_priority": {str(n): count for n, count in enumerate(peeked.by_priority, start=1)},
        "heads": [
            {**summary_of(copy.message), "attempt": copy.attempts + 1}
            for copy in peeked.heads[: fitting([copy.message for copy in peeked.heads])]
        ],
    }
