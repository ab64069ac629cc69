"""Messages that one agent sends another, one after the other: one operation of the script.

Most mail comes so, and what such messages have in common (whose session it is, whose mailbox, how
that is packed) is then said, looked up and told other nodes once. Only *plain* ones are joined:
those that are neither in a thread nor answers, do not expire, and go along with a hint. The order
of the operations stays. Knows nothing of connections, nor how far a script gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from trishula_broker.store import base
from trishula_broker.store.redis.encoding import Arguments, operation, outcome
from trishula_broker.store.redis.hints import HINT_BYTES, encode_hint
from trishula_broker.store.redis.messages import text
from trishula_broker.store.redis.page import Page, ends_of, page_of
from trishula_protocol.address import HUB, Kind

OPERATIONS: Final = 1_000
"""Operations that one script does at most; no run has more, nor goes on behind a multiple of it."""
_AGENT: Final = Kind.AGENT


def arguments(
    ops: Sequence[base.Operation],
) -> tuple[list[Arguments], list[int], list[Page | None]]:
    """``ops`` as the script takes them, how many of them each stands for, and the pages of runs."""
    encoded: list[Arguments] = []
    counts: list[int] = []
    pages: list[Page | None] = []
    at, end = 0, len(ops)
    while at < end:
        op, behind = ops[at], at + 1
        if type(op) is base.Accept and _is_plain(op):
            most = min(end, at - at % OPERATIONS + OPERATIONS)
            ids = {op.id}
            while behind < most and (after := _goes_along(op, ops[behind], ids)):
                ids.add(after.id)
                behind += 1
        if behind - at > 1:
            run = cast(Sequence[base.Accept], ops[at:behind])
            encoded.append(_run(run))
            pages.append(page_of(run))
        else:
            encoded.append(operation(op, encode_hint))
            pages.append(None)
        counts.append(behind - at)
        at = behind
    return encoded, counts, pages


def outcomes(
    ops: Sequence[base.Operation], counts: Sequence[int], answers: Sequence[Any], now: int
) -> list[base.Outcome]:
    """What became of ``ops``, of the script's answers at ``now``; each is to ``counts`` of them."""
    fresh: list[base.Outcome] = []
    for count, found in zip(counts, answers, strict=True):
        at = len(fresh)
        if count == 1:
            fresh.append(outcome(ops[at], found, now))
        else:
            fresh += _of_run(ops[at : at + count], found, now)
    return fresh


def _of_run(run: Sequence[base.Operation], found: Any, now: int) -> list[base.Outcome]:
    if type(found) is int:  # all were accepted, as is usual
        first = run[0]
        assert isinstance(first, base.Accept)
        to = (first.address.name,)
        return [base.Accepted(found + n, now, to) for n in range(len(run))]
    if found[0] == -1:
        return [base.Fenced(found[1]) for _ in run]
    return [outcome(op, one, now) for op, one in zip(run, found, strict=True)]


def _is_plain(op: base.Accept) -> bool:
    return (
        op.address.kind is _AGENT
        and op.thread is None
        and op.reply_to is None
        and op.ttl is None
        and op.settles is None
        and op.delivered_at is None
        and op.full_notice is None
        and op.sender != HUB
        and len(op.body) <= HINT_BYTES
    )


def _goes_along(first: base.Accept, op: base.Operation, ids: set[str]) -> base.Accept | None:
    """``op`` when it is of the same run, whose ``ids`` are each another."""
    if (
        type(op) is base.Accept
        and op.sender == first.sender
        and op.id not in ids
        and op.epoch == first.epoch
        and op.priority == first.priority
        and op.address == first.address
        and _is_plain(op)
    ):
        return op
    return None


def _run(run: Sequence[base.Accept]) -> Arguments:
    first = run[0]
    who = first.sender, first.epoch, first.address.name
    return ("run", *who, first.priority, len(run), text(ends_of(run)))
