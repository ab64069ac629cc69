"""``broker resume``: an agent that was paused is handed its mail again."""

from __future__ import annotations

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.session import Session, session_options


@click.command("resume", epilog=EPILOG)
@click.argument("whom", metavar="AGENT")
@session_options()
def command(session: Session, whom: str) -> None:
    """Hand out again to AGENT, which was paused. What waits for it comes at once.

    \b
    Example:
      broker resume agni
    """
    from trishula_protocol.bodies import Resume

    answer = session.ask(lambda agent: agent.ask(Resume(whom)))
    if session.out.as_json:
        session.out.document(answer)
    else:
        session.out.lines(f"resumed {whom}" if not answer["paused"] else f"{whom} was paused again")
