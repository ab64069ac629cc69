"""``broker peek``: what waits in a mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.known import answer_to_known
from trishula_broker.cli.session import Session, session_options
from trishula_broker.cli.table import show_table
from trishula_broker.cli.text import counted, moment, size_text

if TYPE_CHECKING:
    from trishula import Agent

COLUMNS: Final = ("accepted", "from", "to", "type", "priority", "size", "attempts", "id")


@click.command("peek", epilog=EPILOG)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    help="Messages to show, those delivered first; 20 by default.",
)
@click.option(
    "--agent",
    "whose",
    metavar="AGENT",
    help="Another agent's: for operators and observers, with a token of their own.",
)
@session_options(required=True)
def command(session: Session, limit: int, whose: str | None) -> None:
    """Show what is unsettled in an agent's mailbox, in the order of delivery.

    Nothing is delivered, read or settled by it.

    \b
    Examples:
      broker peek --as dc
      broker peek --agent dc --token-file ada.token
    """
    from trishula_protocol import bodies

    async def look(agent: Agent) -> Any:
        return await answer_to_known(agent, agent.ask(bodies.Peek(limit, whose)), whose)

    peeked = session.ask(look)
    if session.out.as_json:
        session.out.document(peeked)
        return
    count = peeked["count"]
    if not count:
        session.out.lines(f"nothing waits for {whose or session.name}")
        return
    by_priority = ", ".join(
        f"{each} of priority {priority}" for priority, each in peeked["by_priority"].items() if each
    )
    session.out.lines(
        f"{counted(count, 'message')}, {size_text(peeked['bytes'])}, "
        f"the oldest since {moment(peeked['oldest'])}: {by_priority}"
    )
    show_table(session.out, COLUMNS, [_row(head) for head in peeked["heads"]])
    if count > len(peeked["heads"]):
        session.out.lines(f"... and {count - len(peeked['heads'])} more; see --limit")


def _row(head: dict[str, Any]) -> list[str]:
    return [
        moment(head["accepted_at"]),
        head["from"],
        head["to"],
        head["type"],
        str(head.get("priority", 3)),
        size_text(head["size"]),
        str(head["attempt"] - 1),  # those that ended, as in trace and deadletters
        head["id"],
    ]
