"""``broker recall``: take a message back."""

from __future__ import annotations

import click

from trishula_broker.cli.exits import EPILOG, ExitCode, Failure
from trishula_broker.cli.known import answer_to_known
from trishula_broker.cli.session import Session, session_options


@click.command("recall", epilog=EPILOG)
@click.argument("id_", metavar="ID")
@session_options(required=True)
def command(session: Session, id_: str) -> None:
    """Take a message back from those who have not read it.

    The agent must have sent it. Ends with 1 when somebody keeps it.

    \b
    Example:
      broker recall 0198a5c2-7d7e-7cc0-8000-4e1d5e2f9a10 --as dc
    """
    answer = session.ask(lambda agent: answer_to_known(agent, agent.recall(id_)))
    recalled, kept = answer["recalled"], answer["kept"]
    if session.out.as_json:
        session.out.document(answer)
    elif recalled:
        session.out.lines(f"taken back from {', '.join(recalled)}")
    elif not kept:
        session.out.lines("nobody had it")
    if kept:
        who = ", ".join(f"{each['agent']} ({each['stage']})" for each in kept)
        raise Failure(ExitCode.REFUSED, f"too late for {who}")
