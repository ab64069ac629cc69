"""Nodes that live, stop and lead, in memory: one function an operation."""

from __future__ import annotations

from trishula_broker.store import base
from trishula_broker.store.memory.books import Books
from trishula_broker.store.memory.node import Node
from trishula_broker.store.memory.sessions import end_session, sweep_at
from trishula_broker.store.memory.space import Space


def beat(books: Books, space: Space, now: int, op: base.Beat) -> base.Outcome:
    known = space.nodes.get(op.node)
    member = known is not None and known.alive and known.life == op.life
    if not member or op.last:
        for agent in space.agents.values():
            if agent.online and agent.node == op.node:
                end_session(space, agent, now)
    node = Node(op.node, op.life, op.role, op.address, op.lease_ms, now, now)
    if op.last:
        node.alive = False
    elif known is not None and member:
        node.since = known.since
    _pass_on(space, now, node, op.leads and not op.last, member)
    space.nodes[op.node] = node
    return base.Beating(
        member=member,
        lead=space.lead.of(op.node),
        leader=space.lead.holder,
        alone=not any(other.beats(now) for other in _others(space, op.node)),
        folder=space.folder_order,
    )


def _pass_on(space: Space, now: int, node: Node, wants: bool, member: bool) -> None:
    """Give the lease to ``node``, or take it from it, as its beat would have it."""
    lead = space.lead
    holder = space.nodes.get(lead.holder)
    if lead.holder == node.name and (not wants or not member):
        lead.holder = ""  # given back, or it was an earlier life's
        holder = None
    if not wants or lead.holder == node.name:
        return
    free = holder is None or not holder.beats(now)
    if free or (holder is not None and holder.role == "failover" and node.role == "primary"):
        lead.holder = node.name
        lead.epoch += 1


def end_node(books: Books, space: Space, now: int, op: base.EndNode) -> base.Outcome:
    if fenced := space.lead.fence(op.lead):
        return fenced
    node = space.nodes.get(op.node)
    if node is None or node.beats(now):
        return base.NodeEnded((), False, None)
    if node.alive:
        node.alive = False
        node.since = now
    online = [a for a in space.agents.values() if a.online and a.node == op.node]
    online.sort(key=lambda agent: agent.name)
    ended = online[: op.limit]
    for agent in ended:
        end_session(space, agent, now)
    due = [at for agent in ended if (at := sweep_at(space, agent)) is not None]
    names = tuple(agent.name for agent in ended)
    return base.NodeEnded(names, len(online) > len(ended), min(due, default=None))


def tell(books: Books, space: Space, now: int, op: base.Tell) -> base.Outcome:
    return base.Told()  # the hint goes out with those that operations cause


def dead(space: Space, now: int) -> list[str]:
    """Nodes that are to be ended."""
    stopped = (node for node in space.nodes.values() if not node.beats(now))
    online = {agent.node for agent in space.agents.values() if agent.online}
    return sorted(node.name for node in stopped if node.alive or node.name in online)


def next_lapse(space: Space, now: int) -> int | None:
    """When the next node may be found dead."""
    return min((node.lapses_at for node in space.nodes.values() if node.beats(now)), default=None)


def records(space: Space) -> tuple[base.NodeRecord, ...]:
    """What is known of each, by name."""
    return tuple(
        base.NodeRecord(
            node=name,
            role=node.role,
            address=node.address,
            alive=node.alive,
            since=node.since,
            beat_at=node.beat_at,
            agents=sum(a.online and a.node == name for a in space.agents.values()),
            lead=space.lead.of(name),
        )
        for name, node in sorted(space.nodes.items())
    )


def _others(space: Space, name: str) -> list[Node]:
    return [node for node in space.nodes.values() if node.name != name]
