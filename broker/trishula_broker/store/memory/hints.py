"""Hints between the nodes of a store in memory: what causes them, and the way they go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from trishula_broker.store import base
from trishula_broker.store.memory.space import Space

HINT_BYTES: Final = 8 << 10
"""The biggest body that goes along with a hint."""

Caused = tuple[str, base.Hint]
"""``(node, hint)``."""


class HintLink:
    """The way of hints to one node: in order, and what is lost on it is noticed later.

    Every hint has a number. ``carry``, when it is set, is called with each number that was put
    on the way, and sees to it that :meth:`arrive` is called; else hints arrive at once.
    """

    def __init__(self) -> None:
        self.tell: Callable[[str, Sequence[base.Hint]], None] = lambda namespace, hints: None
        self.carry: Callable[[int], None] | None = None
        self.last = 0
        """The number of the last hint."""
        self._way: deque[tuple[int, str, base.Hint]] = deque()

    def __repr__(self) -> str:
        return f"<HintLink last={self.last} on their way={len(self._way)}>"

    def put(self, namespace: str, hint: base.Hint) -> None:
        """Send ``hint``."""
        self.last += 1
        self._way.append((self.last, namespace, hint))
        if self.carry is None:
            self.arrive(self.last)
        else:
            self.carry(self.last)

    def lose(self, number: int) -> None:
        """That hint does not arrive."""
        self._way = deque(
            (n, namespace, base.Missed() if n == number else hint)
            for n, namespace, hint in self._way
        )

    def arrive(self, upto: int) -> None:
        """All up to this number are told, or it is told that they were missed."""
        way = self._way
        while way and way[0][0] <= upto:
            _, namespace, hint = way.popleft()
            self.tell(namespace, (hint,))

    def cut(self) -> None:
        """What is on its way reaches nobody: the node is another process now."""
        self._way.clear()


def caused(
    space: Space, op: base.Operation, outcome: base.Outcome, before: str | None
) -> Iterator[Caused]:
    """What ``op`` means for nodes, whoever said it.

    ``before`` is where the agent of a :class:`base.Register` was online.
    """
    if isinstance(outcome, base.Accepted) and isinstance(op, base.Accept):
        for agent in outcome.recipients:
            yield from _mail(space, agent, outcome.seq)
        yield from _notice(space, outcome.notice)
    elif isinstance(outcome, base.Discarded) and isinstance(op, base.Discard) and outcome.done:
        node = space.node_of(op.agent)
        if node is not None:
            yield node, base.Withdrawn(op.agent, op.seq)
        yield from _notice(space, outcome.notice)
    elif isinstance(outcome, base.Assigned):
        for agent, copy in outcome.copies:
            yield from _mail(space, agent, copy.message.seq)
    elif isinstance(outcome, base.Retried) and isinstance(op, base.Retry):
        if outcome.copy is not None:
            yield from _mail(space, op.agent, op.seq)
    elif isinstance(outcome, base.Paused) and isinstance(op, base.Pause):
        node = space.node_of(op.agent)
        for agent, copy in outcome.copies:
            yield from _mail(space, agent, copy.message.seq)
        if node is not None:
            yield node, base.Mail(op.agent, None)
    elif isinstance(outcome, base.Registered) and isinstance(op, base.Register):
        if before is not None and outcome.epoch:
            yield before, base.Ended(op.agent, outcome.epoch)
    elif isinstance(op, base.Revoke):
        for node in space.nodes:
            yield node, base.Revoked(op.what)
    elif isinstance(op, base.Tell):
        everybody = [op.node] if op.node else space.nodes
        for node in everybody if op.agent is None else [space.node_of(op.agent)]:
            if node is not None:
                yield node, op.hint


def _mail(space: Space, agent: str, seq: int) -> Iterator[Caused]:
    node = space.node_of(agent)
    if node is not None:
        record = space.mailbox(agent).copies[seq]
        fits = record.size <= HINT_BYTES and not record.attempts and record.due_at is None
        yield node, base.Mail(agent, record.copy() if fits else None)


def _notice(space: Space, message: base.Message | None) -> Iterator[Caused]:
    if message is not None:
        yield from _mail(space, message.to, message.seq)
