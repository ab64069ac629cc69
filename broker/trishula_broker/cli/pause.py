"""``broker pause``: an agent is handed no more mail."""

from __future__ import annotations

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.session import Session, session_options


@click.command("pause", epilog=EPILOG)
@click.argument("whom", metavar="AGENT")
@click.option("--reason", default="", metavar="TEXT", help="Why, for others to see.")
@session_options()
def command(session: Session, whom: str, reason: str) -> None:
    """Hand out no more mail to AGENT, on any hub, until `broker resume`.

    Its mailbox goes on filling; what it was handed before it may finish. Mail for its capabilities
    goes to others. `broker agents` shows who is paused.

    \b
    Example:
      broker pause agni --reason "model is being replaced"
    """
    from trishula_protocol.bodies import Pause

    answer = session.ask(lambda agent: agent.ask(Pause(whom, reason)))
    if session.out.as_json:
        session.out.document(answer)
    else:
        session.out.lines(f"paused {whom}; `broker resume {whom}` hands out again")
