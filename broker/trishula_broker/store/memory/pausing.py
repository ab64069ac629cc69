"""Agents that are paused and go on, in memory."""

from __future__ import annotations

from trishula_broker.store import base
from trishula_broker.store.memory.books import Books
from trishula_broker.store.memory.duties import assign
from trishula_broker.store.memory.space import Space


def pause(books: Books, space: Space, now: int, op: base.Pause) -> base.Paused:
    agent = space.agents.get(op.agent)
    if agent is None:
        return base.Paused(False)
    if op.again and agent.paused is not None and not agent.resuming:
        return base.Paused(True, overtaken=True)
    before, agent.paused = agent.paused, op.reason if op.on else None
    agent.resuming = False
    if op.on or before is None or not agent.online:
        return base.Paused(True)
    copies: list[tuple[str, base.Copy]] = []
    more = False
    for name in sorted(agent.capabilities):
        assigned = assign(books, space, now, base.Assign(name, op.limit - len(copies)))
        copies += assigned.copies
        more |= assigned.more
    if more:
        agent.paused, agent.resuming = before, True
    return base.Paused(True, (), tuple(copies), more)
