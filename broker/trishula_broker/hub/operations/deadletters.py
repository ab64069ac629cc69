"""``deadletters``, ``retry``, ``drop``: what was given up, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.render import envelope_of
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode


def deadletters(call: Call, op: bodies.DeadLetters) -> None:
    """A page by seq; ``next`` is the ``after`` of the following page, null at the end."""

    def render(letters: Sequence[base.DeadLetter]) -> dict[str, Any]:
        shown = [_describe(letter) for letter in letters]
        more = len(letters) == op.limit
        return {"deadletters": shown, "next": shown[-1]["message"]["seq"] if more else None}

    call.ask(base.DeadLetters(op.agent, op.after, op.limit), render)


def _describe(letter: base.DeadLetter) -> dict[str, Any]:
    return {
        "agent": letter.agent,
        "outcome": letter.outcome,
        "reason": letter.reason,
        "attempts": letter.copy.attempts,
        "settled_at": letter.settled_at,
        "message": envelope_of(letter.copy.message),
    }


def retry(call: Call, op: bodies.Retry) -> None:
    """Put it back into its mailbox."""

    def retried(outcome: base.Retried, now: Now) -> None:
        if outcome.copy is None:
            _unknown(call, op.agent, op.seq)
        else:
            call.desk.delivery.offer(op.agent, outcome.copy)
            call.result({"agent": op.agent, "seq": op.seq})

    call.commit(base.Retry(op.agent, op.seq), retried)


def drop(call: Call, op: bodies.Drop) -> None:
    """Remove it from the dead letters; the log keeps it for its retention time."""

    def dropped(outcome: base.Discarded, now: Now) -> None:
        if outcome.done:
            call.result({"agent": op.agent, "seq": op.seq})
        else:
            _unknown(call, op.agent, op.seq)

    call.commit(base.Discard(op.agent, 0, op.seq, "dropped", "", None), dropped)


def _unknown(call: Call, agent: str, seq: int) -> None:
    call.error(
        ErrorCode.BAD_MESSAGE,
        f"payload.seq: {agent} has no dead letter {seq}; `broker deadletters list` shows them",
    )
