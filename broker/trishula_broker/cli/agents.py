"""``broker agents``: who there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.known import unknown
from trishula_broker.cli.session import Session, note, session_options
from trishula_broker.cli.table import show_table
from trishula_broker.cli.text import moment, status_text, visible

if TYPE_CHECKING:
    from trishula import Agent

COLUMNS: Final = (
    "agent",
    "online",
    "since",
    "unsettled",
    "node",
    "capabilities",
    "groups",
    "status",
)


@click.command("agents", epilog=EPILOG)
@click.option("--capability", metavar="NAME", help="Only those who offer it.")
@click.option("--group", metavar="NAME", help="Only its members.")
@click.option("--online/--offline", default=None, help="Only those who are, or are not, there.")
@click.option(
    "--all", "everybody", is_flag=True, help="Also the passing names of commands that have ended."
)
@session_options()
def command(
    session: Session,
    capability: str | None,
    group: str | None,
    online: bool | None,
    everybody: bool,
) -> None:
    """List the agents: since when they are there or not, what waits for them, what they do.

    With --json a line each.

    \b
    Examples:
      broker agents --capability review --online
      broker agents --json | jq -r .id
    """

    async def look(agent: Agent) -> list[dict[str, Any]]:
        if session.name is not None and session.token is None:
            fault = unknown(session.name, await agent.agents())
            if fault:
                note(f"note: {fault}")
        return await agent.agents(capability=capability, group=group, online=online)

    found = session.ask(look)
    shown = [each for each in found if everybody or each["online"] or not each.get("ephemeral")]
    if session.out.as_json:
        for each in shown:
            session.out.document(each)
    else:
        show_table(session.out, COLUMNS, [_row(each) for each in shown])


def _row(record: dict[str, Any]) -> list[str]:
    return [
        record["id"],
        "yes" if record["online"] else "no",
        moment(record["since"]),
        str(record["unsettled"]),
        record["node"],
        ",".join(record["capabilities"]),
        ",".join(record["groups"]),
        "; ".join(filter(None, (_paused(record), status_text(record["status"])))),
    ]


def _paused(record: dict[str, Any]) -> str:
    paused = record.get("paused")
    if not isinstance(paused, dict):
        return ""
    reason = visible(str(paused.get("reason") or ""))
    return f"paused ({reason})" if reason else "paused"
