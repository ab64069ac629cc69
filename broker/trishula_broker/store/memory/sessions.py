"""Sessions and the directory, in memory: one function an operation."""

from __future__ import annotations

from trishula_broker.store import base
from trishula_broker.store.memory.books import Books, end_reads, end_unread, fence
from trishula_broker.store.memory.space import Agent, Space
from trishula_broker.store.revoked import joined, matters
from trishula_protocol import limits


def register(books: Books, space: Space, now: int, op: base.Register) -> base.Outcome:
    agent = space.agents.get(op.agent)
    if agent is None:
        agent = space.agents[op.agent] = Agent(
            op.agent, node=op.node, ephemeral=op.ephemeral, lease_ms=op.lease_ms, since=now
        )
    if op.capabilities is not None:
        agent.capabilities = set(op.capabilities)
        space.capabilities |= agent.capabilities
    if op.groups is not None:
        agent.groups = set(op.groups)
    if not op.ephemeral:
        agent.ephemeral = False
    epoch = 0
    if op.receive:
        if op.replaces and op.replaces == agent.epoch:
            end_unread(space.mailbox(op.agent), op.unread)
        books.epoch += 1
        epoch = agent.epoch = books.epoch
        agent.online = True
        agent.since = now
        agent.node = op.node
        agent.ephemeral = op.ephemeral
        agent.lease_ms = op.lease_ms
        agent.folder = op.folder
        end_reads(space.mailbox(op.agent), now)
    capabilities = tuple(sorted(agent.capabilities))
    pools = tuple(name for name in capabilities if space.mailbox("@" + name).queue)
    return base.Registered(epoch, capabilities, tuple(sorted(agent.groups)), pools)


def leave(books: Books, space: Space, now: int, op: base.Leave) -> base.Outcome:
    if fenced := fence(space, op.agent, op.epoch):
        return fenced
    agent = space.agents.get(op.agent)
    if agent is None:
        return base.Left(None)
    box = space.mailbox(op.agent)
    end_unread(box, op.unread)
    end_session(space, agent, now)
    return base.Left(sweep_at(space, agent))


def end_session(space: Space, agent: Agent, now: int) -> None:
    """The session of ``agent`` is over, if there is one."""
    end_reads(space.mailbox(agent.name), now)
    if agent.online:
        agent.online = False
        agent.epoch = 0
        agent.since = now


def sweep_at(space: Space, agent: Agent) -> int | None:
    """When a sweep has something to do for an agent that left."""
    due = [at for at in (space.orphan_at(agent), agent.ghost_at) if at is not None]
    return min(due, default=None)


def update(books: Books, space: Space, now: int, op: base.Update) -> base.Outcome:
    if fenced := fence(space, op.agent, op.epoch):
        return fenced
    agent = space.agents.get(op.agent)
    if agent is None:
        return base.Updated(())
    if op.status is not None:
        agent.status = op.status
    if op.join is not None:
        agent.groups.add(op.join)
    if op.leave is not None:
        agent.groups.discard(op.leave)
    return base.Updated(tuple(sorted(agent.groups)))


def forget(books: Books, space: Space, now: int, op: base.Forget) -> base.Outcome:
    agent = space.agents.get(op.agent)
    if fenced := fence(space, op.agent, op.epoch):
        return fenced
    if agent is None:
        return base.Forgotten(0, again=True)
    if agent.online and op.epoch == 0:
        return base.Fenced(agent.epoch)
    waiting = len(space.mailbox(op.agent).queue)
    if not waiting:
        del space.agents[op.agent]
    return base.Forgotten(waiting)


def order_folder(books: Books, space: Space, now: int, op: base.OrderFolder) -> base.Outcome:
    before = space.folder_order
    since = now if before is None else before.since
    space.folder_order = base.FolderOrder(op.reason, since) if op.on else None
    return base.FolderOrdered(space.folder_order != before, space.folder_order)


def introduce(books: Books, space: Space, now: int, op: base.Introduce) -> base.Outcome:
    agent = space.agents.get(op.agent)
    new = agent is None or agent.ephemeral
    if agent is not None:
        agent.ephemeral = False
    else:
        space.agents[op.agent] = Agent(
            op.agent, node="", ephemeral=False, lease_ms=limits.LEASE_DEFAULT_MS, since=now
        )
    return base.Noted(new)


def revoke(books: Books, space: Space, now: int, op: base.Revoke) -> base.Outcome:
    kept = {key: each for key, each in space.revoked.items() if matters(each.until, now)}
    key = (op.what.token_id, op.what.agent)
    before = kept.get(key)
    kept[key] = joined(before, op.what)
    space.revoked = kept
    return base.Noted(kept[key] != before)
