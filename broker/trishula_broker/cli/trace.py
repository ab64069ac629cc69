"""``broker trace``: where a message is."""

from __future__ import annotations

from typing import Any, Final

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.known import answer_to_known
from trishula_broker.cli.session import Session, session_options
from trishula_broker.cli.table import show_table
from trishula_broker.cli.text import counted, moment

COLUMNS: Final = ("recipient", "stage", "delivered", "read", "settled", "attempts", "waits for")


@click.command("trace", epilog=EPILOG)
@click.argument("id_", metavar="ID")
@click.option(
    "--agent",
    "whose",
    metavar="AGENT",
    help="Another agent's: for operators and observers, with a token of their own.",
)
@session_options(required=True)
def command(session: Session, id_: str, whose: str | None) -> None:
    """Show where each copy of a message is, and what it waits for.

    The agent must have sent or received it.

    \b
    Examples:
      broker trace 0198a5c2-7d7e-7cc0-8000-4e1d5e2f9a10 --as dc
      broker trace 0198a5c2-7d7e-7cc0-8000-4e1d5e2f9a10 --agent dc --token-file ada.token
    """
    from trishula_protocol import bodies

    question = bodies.Trace(id_, whose)
    traced = session.ask(lambda agent: answer_to_known(agent, agent.ask(question), whose))
    if session.out.as_json:
        session.out.document(traced)
        return
    for message in traced["messages"]:
        copies = message["copies"]
        expires = next((copy["expires_at"] for copy in copies if copy["expires_at"]), None)
        session.out.lines(
            f"{message['type']} {message['id']} from {message['from']} to {message['to']}, "
            f"accepted {moment(message['accepted_at'])}, priority {message.get('priority', 3)}, "
            f"seq {message['seq']}"
            + (f", expires {moment(expires)}" if expires else "")
            + f", {counted(len(copies), 'recipient')}"
        )
        if copies:
            show_table(session.out, COLUMNS, [_row(copy) for copy in copies])


def _row(copy: dict[str, Any]) -> list[str]:
    return [
        copy["agent"],
        copy["stage"],
        moment(copy["delivered_at"]),
        moment(copy["read_at"]),
        moment(copy["settled_at"]),
        str(copy["attempts"]),
        copy["waits_for"] or (f"nothing: {copy['reason']}" if copy["reason"] else "nothing"),
    ]
