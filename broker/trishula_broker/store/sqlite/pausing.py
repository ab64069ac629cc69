"""Agents that are paused and go on, in SQLite."""

from __future__ import annotations

from trishula_broker.store import base
from trishula_broker.store.sqlite.directory import Space
from trishula_broker.store.sqlite.duties import assign
from trishula_broker.store.sqlite.work import Work


def pause(work: Work, space: Space, op: base.Pause) -> base.Paused:
    box = space.mailboxes.get(op.agent)
    if box is None or not box.known:
        return base.Paused(False)
    if op.again and box.paused is not None and not box.resuming:
        return base.Paused(True, overtaken=True)
    before, box.paused = box.paused, op.reason if op.on else None
    box.resuming = False
    copies: list[tuple[str, base.Copy]] = []
    more = False
    if not op.on and before is not None and box.online:
        for name in box.capabilities:
            assigned = assign(work, space, base.Assign(name, op.limit - len(copies)))
            copies += assigned.copies
            more |= assigned.more
        if more:
            # In no table: who goes on with this does so in the same process, or not at all.
            box.paused, box.resuming = before, True
    work.save(space, box)
    return base.Paused(True, (), tuple(copies), more)
