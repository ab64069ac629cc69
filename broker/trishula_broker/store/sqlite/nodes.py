"""The one node that a SQLite store serves: it lives, it leads, and there is nobody to tell.

Kept beside the database, which no other process has open: a node is not there longer than its
process is.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trishula_broker.store import base
from trishula_broker.store.sqlite.directory import Space
from trishula_broker.store.sqlite.work import Work


class Nodes:
    """Who beats, by namespace."""

    def __init__(self) -> None:
        self._lives: dict[str, tuple[base.Beat, base.NodeRecord]] = {}
        self._lead = 0

    def beat(self, work: Work, space: Space, op: base.Beat) -> base.Beating:
        """Grant it."""
        known = self._lives.get(space.name)
        member = known is not None and (known[0].node, known[0].life) == (op.node, op.life)
        since, lead = work.now, 0
        if known is not None and member:
            since, lead = known[1].since, known[1].lead
        if op.last:
            since = work.now
        if op.last or not op.leads:
            lead = 0
        elif not lead:
            self._lead += 1
            lead = self._lead
        record = base.NodeRecord(
            op.node, op.role, op.address, not op.last, since, work.now, 0, lead
        )
        self._lives[space.name] = (op, record)
        leader = op.node if lead else ""
        return base.Beating(member, lead, leader, alone=True, folder=space.folder_order)

    def end_node(self, work: Work, space: Space, op: base.EndNode) -> base.NodeEnded | base.Fenced:
        """There is no other."""
        known = self._lives.get(space.name)
        lead = known[1].lead if known is not None else 0
        return base.NodeEnded((), False, None) if op.lead == lead else base.Fenced(lead)

    def tell(self, work: Work, space: Space, op: base.Tell) -> base.Told:
        """There is nobody to hear it."""
        return base.Told()

    def records(
        self, namespace: str, agents: Iterable[base.AgentRecord]
    ) -> tuple[base.NodeRecord, ...]:
        """The answer to :class:`~trishula_broker.store.base.Nodes`."""
        known = self._lives.get(namespace)
        if known is None:
            return ()
        online = sum(agent.online for agent in agents)
        return (msgspec.structs.replace(known[1], agents=online),)
