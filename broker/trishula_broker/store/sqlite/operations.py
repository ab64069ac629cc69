"""Which function does which operation of a SQLite store, and how those of a batch are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from trishula_broker.store import base
from trishula_broker.store.sqlite import duties, mail, pausing, sessions
from trishula_broker.store.sqlite.directory import Space
from trishula_broker.store.sqlite.nodes import Nodes
from trishula_broker.store.sqlite.trail import archive
from trishula_broker.store.sqlite.work import Work

_ASKING: Final = {base.Fetch, base.Assign, base.Unassign, base.Sweep, base.Pause}
"""Operations that ask the database about more than single copies, so all must be written."""

_Operate = Callable[[Work, Space, Any], base.Outcome]

_TABLE: Final[dict[type, _Operate]] = {
    base.Register: sessions.register,
    base.Leave: sessions.leave,
    base.Update: sessions.update,
    base.Forget: sessions.forget,
    base.Pause: pausing.pause,
    base.OrderFolder: sessions.order_folder,
    base.Accept: mail.accept,
    base.Fetch: mail.fetch,
    base.Delivered: mail.delivered,
    base.Read: mail.read,
    base.Settle: mail.settle,
    base.Requeue: mail.requeue,
    base.Discard: mail.discard,
    base.Assign: duties.assign,
    base.Unassign: duties.unassign,
    base.Sweep: duties.sweep,
    base.Retry: duties.retry,
    base.Introduce: sessions.introduce,
    base.Revoke: sessions.revoke,
    base.Archive: archive,
}


class Operations:
    """All a store can do; about ``nodes`` it knows by itself, without tables."""

    def __init__(self, nodes: Nodes) -> None:
        self._table: Final[dict[type, _Operate]] = {
            **_TABLE,
            base.Beat: nodes.beat,
            base.EndNode: nodes.end_node,
            base.Tell: nodes.tell,
        }

    def run(self, work: Work, space: Space, ops: Sequence[base.Operation]) -> list[base.Outcome]:
        """The outcomes of ``ops``, one after the other, which the trail has, too."""
        outcomes = self._run(work, space, ops)
        work.record(space, ops, outcomes)
        return outcomes

    def _run(self, work: Work, space: Space, ops: Sequence[base.Operation]) -> list[base.Outcome]:
        table = self._table
        return [table[type(op)](work, space, op) for op in ops]

    def run_prepared(
        self, work: Work, space: Space, ops: Sequence[base.Operation]
    ) -> list[base.Outcome]:
        """:meth:`run`, having read together what they would read one by one."""
        outcomes: list[base.Outcome] = []
        start = 0
        while start < len(ops):
            end = start
            while end < len(ops) and type(ops[end]) not in _ASKING:
                end += 1
            mail.prepare(work, space, ops[start:end])
            outcomes += self._run(work, space, ops[start : end + 1])
            start = end + 1
        work.record(space, ops, outcomes)
        return outcomes
