"""``broker watch``: presence and status changes as they happen."""

from __future__ import annotations

import time
from typing import Any

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.session import Session, note, session_options
from trishula_broker.cli.text import moment, status_text, visible


@click.command("watch", epilog=EPILOG)
@session_options()
def command(session: Session) -> None:
    """Print who comes, who goes, what they say they do and who is paused, until interrupted.

    Begins with those who are online. With --json the first line is {"event": "snapshot",
    "agents": [...]}, each further one a change. Changes while the hub is away are missed.

    \b
    Example:
      broker watch
    """
    session.follow(_watch(session))


async def _watch(session: Session) -> None:
    from trishula_protocol.bodies import Watch

    async with session.agent() as agent:
        # The watcher first: what changes after the hub's answer is news to it.
        changes = agent.watch()
        await session.answer(agent.ask(Watch()))
        picture = {"agents": await session.answer(agent.agents())}
        if session.out.as_json:
            await session.out.document_later({"event": "snapshot", **picture})
        else:
            for record in picture["agents"]:
                if record["online"]:
                    await session.out.line_later(_line(record["since"], record["id"], record))
        note(f"watching on {agent.url}")
        async for change in changes:
            if session.out.as_json:
                await session.out.document_later(change)
            else:
                now = time.time_ns() // 1_000_000
                await session.out.line_later(_line(now, change.get("agent", "?"), change))


def _line(at: int, agent: str, change: dict[str, Any]) -> str:
    parts = [moment(at), agent]
    if change.get("event") not in (None, "presence", "status"):
        parts.append(visible(str(change["event"])))
    elif change.get("event") != "status":
        parts.append("online" if change.get("online") else "offline")
    parts += [f"@{name}" for name in change.get("capabilities") or ()]
    parts += [f"#{name}" for name in change.get("groups") or ()]
    if change.get("event") == "paused" and change.get("reason"):
        parts.append(visible(str(change["reason"])))
    said = status_text(change.get("status"))
    if said:
        parts.append(said)
    return "  ".join(parts)
