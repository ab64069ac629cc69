"""Endpoints that are the hub's own operations: each is one, asked in the caller's session."""

from __future__ import annotations

from typing import Any

from trishula_broker.api import shapes
from trishula_broker.api.endpoint import Call
from trishula_broker.api.failures import Failure, not_found
from trishula_protocol.errors import ErrorCode


async def list_agents(call: Call) -> Any:
    """Agents of the namespace."""
    query: shapes.AgentsQuery = call.query
    return await call.ask(
        "agents",
        capability=query.capability,
        group=query.group,
        online=query.online,
        after=query.after,
    )


async def list_groups(call: Call) -> shapes.Groups:
    """Groups, and who is in each."""
    members: dict[str, list[str]] = {}
    online: dict[str, int] = {}
    after = ""
    while True:
        page = await call.ask("agents", after=after)
        for agent in page["agents"]:
            for group in agent["groups"]:
                members.setdefault(group, []).append(agent["id"])
                online[group] = online.get(group, 0) + agent["online"]
        if page["next"] is None:
            break
        after = page["next"]
    return shapes.Groups(
        [shapes.Group(name, members[name], online[name]) for name in sorted(members)]
    )


async def list_nodes(call: Call) -> Any:
    """The hubs, which of them leads, and whether agents are ordered to their folder."""
    return await call.ask("nodes")


async def pause_agent(call: Call) -> Any:
    """Hand out nothing more to an agent; its mailbox goes on filling."""
    return await call.ask("pause", agent=call.path["agent"], reason=call.body.reason)


async def resume_agent(call: Call) -> Any:
    """Hand out again."""
    return await call.ask("resume", agent=call.path["agent"])


async def order_folder_mode(call: Call) -> Any:
    """Order all agents that have a shared folder to it, or back."""
    return await call.ask("folder_mode", on=call.body.on, reason=call.body.reason)


async def forget_agent(call: Call) -> Any:
    """Forget an agent that is offline."""
    return await call.ask("forget", agent=call.path["agent"], discard=call.query.discard)


async def history(call: Call) -> Any:
    """What was said, from the log."""
    query: shapes.HistoryQuery = call.query
    return await call.ask(
        "history", agent=query.agent, thread=query.thread, after=query.after, limit=query.limit
    )


async def follow_message(call: Call) -> Any:
    """Where a message is that an agent sent or received, and what it waits for."""
    return await _known(call, "trace", agent=call.path["agent"], id=call.path["id"])


async def recall_message(call: Call) -> Any:
    """Take back what nobody has read."""
    return await _known(call, "recall", id=call.path["id"])


async def peek_mailbox(call: Call) -> Any:
    """Look at a mailbox."""
    return await _known(call, "peek", agent=call.path["agent"], limit=call.query.limit)


async def list_deadletters(call: Call) -> Any:
    """What was given up."""
    query: shapes.DeadLettersQuery = call.query
    return await call.ask("deadletters", agent=query.agent, after=query.after, limit=query.limit)


async def retry_deadletter(call: Call) -> Any:
    """Put one back into its mailbox, its attempts forgotten."""
    return await _known(call, "retry", agent=call.path["agent"], seq=call.path["seq"])


async def drop_deadletter(call: Call) -> Any:
    """Remove one; the log keeps it for its retention time."""
    return await _known(call, "drop", agent=call.path["agent"], seq=call.path["seq"])


async def _known(call: Call, op: str, **arguments: Any) -> Any:
    """The answer about what the path names, which was found to be well formed: what the hub does
    not take is not there."""
    try:
        return await call.ask(op, **arguments)
    except Failure as failure:
        if failure.code == ErrorCode.BAD_MESSAGE:
            raise not_found(failure) from None
        raise
