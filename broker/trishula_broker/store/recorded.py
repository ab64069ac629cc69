"""Which operations have a place in the trail, and what of them (docs/decisions/0012).

What changed nothing is not in it: refusals, duplicates, repetitions, questions. It is one table,
:data:`RECORDED`; whoever adds an operation that an auditor asks about adds a line to it, and its
number to :data:`~trishula_broker.store.op.CODES`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from trishula_broker.store.message import Copy
from trishula_broker.store.op import Outcome
from trishula_broker.store.operations.batch import (
    Operation,
)
from trishula_broker.store.operations.duties import (
    Assign,
    Assigned,
    Retried,
    Retry,
    Unassign,
    Unassigned,
)
from trishula_broker.store.operations.mail import (
    Accept,
    Accepted,
    Delivered,
    Discard,
    Discarded,
    Marked,
    Read,
    Requeue,
    Requeued,
    Settle,
)
from trishula_broker.store.operations.nodes import (
    EndNode,
    NodeEnded,
)
from trishula_broker.store.operations.sessions import (
    Forget,
    Forgotten,
    Leave,
    Left,
    Pause,
    Paused,
    Register,
    Registered,
)
from trishula_broker.store.ordered import FolderOrdered, OrderFolder
from trishula_broker.store.revoked import Introduce, Noted, Revoke
from trishula_broker.store.trail import Done


def _marked(op: Settle | Read | Delivered, outcome: Marked) -> Done | None:
    seqs = _without(outcome.seqs, outcome.again)
    return (op, Marked(seqs, ())) if seqs else None


def _without(seqs: Iterable[int], again: Iterable[int]) -> tuple[int, ...]:
    """``seqs`` but for ``again``: one that was named twice was changed once, at first."""
    left = Counter(again)
    kept: list[int] = []
    for seq in reversed(tuple(seqs)):
        if left[seq]:
            left[seq] -= 1
        else:
            kept.append(seq)
    return tuple(reversed(kept))


def _requeued(op: Requeue, outcome: Requeued) -> Done | None:
    copies = tuple(copy for copy in outcome.copies if copy[0] not in outcome.again)
    return (op, Requeued(copies, ())) if copies else None


def _registered(op: Register, outcome: Registered) -> Done:
    tags = [None if names is None else tuple(sorted(set(names))) for names in _tags(op)]
    return replace(op, capabilities=tags[0], groups=tags[1]), outcome


def _tags(op: Register) -> tuple[tuple[str, ...] | None, ...]:
    return op.capabilities, op.groups


def _assigned(op: Assign, outcome: Assigned) -> Done | None:
    copies = _without_bodies(outcome.copies)
    return (op, replace(outcome, copies=copies)) if copies else None


def _paused(op: Pause, outcome: Paused) -> Done | None:
    if not outcome.known or outcome.overtaken:
        return None
    return op, replace(outcome, copies=_without_bodies(outcome.copies))


def _retried(op: Retry, outcome: Retried) -> Done | None:
    return None if outcome.copy is None else (op, Retried(_without_body(outcome.copy)))


def _without_bodies(copies: Iterable[tuple[str, Copy]]) -> tuple[tuple[str, Copy], ...]:
    return tuple((agent, _without_body(copy)) for agent, copy in copies)


def _without_body(copy: Copy) -> Copy:
    return replace(copy, message=replace(copy.message, body=b""))


_Keep = Callable[[Any, Any], Done | None]

RECORDED: Final[dict[type, tuple[type, _Keep]]] = {
    Accept: (Accepted, lambda op, outcome: (op, outcome)),
    Settle: (Marked, _marked),
    Read: (Marked, _marked),
    Delivered: (Marked, _marked),
    Requeue: (Requeued, _requeued),
    Discard: (
        Discarded,
        lambda op, outcome: (op, outcome) if outcome.done and not outcome.again else None,
    ),
    Assign: (Assigned, _assigned),
    Unassign: (Unassigned, lambda op, outcome: (op, outcome) if outcome.seqs else None),
    Register: (Registered, _registered),
    Leave: (Left, lambda op, outcome: (op, outcome) if op.epoch else None),
    Retry: (Retried, _retried),
    Forget: (
        Forgotten,
        lambda op, outcome: None if outcome.waiting or outcome.again else (op, outcome),
    ),
    EndNode: (NodeEnded, lambda op, outcome: (op, outcome) if outcome.agents else None),
    Pause: (Paused, _paused),
    OrderFolder: (FolderOrdered, lambda op, outcome: (op, outcome) if outcome.new else None),
    Introduce: (Noted, lambda op, outcome: (op, outcome) if outcome.new else None),
    Revoke: (Noted, lambda op, outcome: (op, outcome) if outcome.new else None),
}
"""By operation: the outcome with which it did something, and what is kept of the two; None when
it changed nothing after all."""


def recorded(ops: Sequence[Operation], outcomes: Sequence[Outcome]) -> list[Done]:
    """What the trail keeps of a commit."""
    done: list[Any] = []
    for pair in zip(ops, outcomes, strict=False):
        op, outcome = pair
        if isinstance(outcome, Accepted):
            done.append(pair)
        elif isinstance(outcome, Marked) and not (outcome.again or outcome.stale or outcome.copies):
            if outcome.seqs:
                done.append(pair)
        elif (rule := RECORDED.get(type(op))) and isinstance(outcome, rule[0]):
            kept = rule[1](op, outcome)
            if kept is not None:
                done.append(kept)
    return done


_Ops = (
    Accept | Settle | Read | Delivered | Requeue | Discard | Assign | Unassign | Register | Leave
    | Retry | Forget | EndNode | Pause | Introduce | Revoke | OrderFolder
)  # fmt: skip
_Outcomes = (
    Accepted | Marked | Requeued | Discarded | Assigned | Unassigned | Registered | Left | Retried
    | Forgotten | NodeEnded | Paused | Noted | FolderOrdered
)  # fmt: skip

encode_done: Final = msgspec.msgpack.Encoder().encode
"""A list of :data:`~trishula_broker.store.trail.Done` as bytes; each operation and outcome is an
array that begins with its code."""
decode_done: Final[Callable[[bytes], tuple[Done, ...]]] = msgspec.msgpack.Decoder(
    tuple[tuple[_Ops, _Outcomes], ...]
).decode
"""The way back."""
