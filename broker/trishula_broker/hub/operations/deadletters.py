"""``deadletters``, ``retry``, ``drop``: what was given up, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.render import envelope_of, fitting
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.address import parse_address
from trishula_protocol.errors import ErrorCode


def deadletters(call: Call, op: bodies.DeadLetters) -> None:
    """A page by seq; ``next`` is the ``after`` of the following page, null at the end."""

    def render(letters: Sequence[base.DeadLetter]) -> dict[str, Any]:
        size = fitting([letter.copy.message for letter in letters])
        more = size < len(letters) or len(letters) == op.limit
        page = _whole(letters[:size]) if more else letters
        return {
            "deadletters": [_describe(letter) for letter in page],
            "next": page[-1].copy.message.seq if more else None,
        }

    call.ask(base.DeadLetters(op.agent, op.after, op.limit), render)


def _whole(letters: Sequence[base.DeadLetter]) -> Sequence[base.DeadLetter]:
    # A message to many may have died in many mailboxes: a page does not end between them,
    # for the next one begins behind a seq. (One seq alone may be more than a page.)
    last = letters[-1].copy.message
    if not parse_address(last.to).fans_out:
        return letters
    return [letter for letter in letters if letter.copy.message.seq != last.seq] or letters


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
