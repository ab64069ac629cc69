"""``broker forget``: an agent that is no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trishula_broker.cli.exits import EPILOG, ExitCode, Failure
from trishula_broker.cli.session import Session, session_options
from trishula_broker.cli.sure import make_sure
from trishula_broker.cli.text import counted

if TYPE_CHECKING:
    from trishula import Agent


@click.command("forget", epilog=EPILOG)
@click.argument("whom", metavar="AGENT")
@click.option(
    "--discard",
    is_flag=True,
    help="Also when mail waits for it: that goes to the dead letters, and its senders are told.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@session_options()
def command(session: Session, whom: str, discard: bool, yes: bool) -> None:
    """Forget AGENT, which must be offline: mail to it is refused from then on.

    Its groups, capabilities and status are gone; its part in the log stays for its time. Who
    registers under the name again begins anew.

    \b
    Examples:
      broker forget agni
      broker forget agni --discard --yes
    """
    make_sure(lambda: _question(session, whom, discard), "not forgotten", yes)

    async def forget(agent: Agent) -> Any:
        from trishula import Refused
        from trishula_protocol.bodies import Forget

        try:
            return await agent.ask(Forget(whom, discard))
        except Refused as error:
            waiting = (error.details or {}).get("unsettled")
            if not isinstance(waiting, int):
                raise
            text = (
                f"{counted(waiting, 'message')} {'waits' if waiting == 1 else 'wait'} for {whom}; "
                "let it settle that, or say --discard to move it to the dead letters"
            )
            raise Failure(ExitCode.REFUSED, text) from None

    answer = session.ask(forget)
    if session.out.as_json:
        session.out.document(answer)
        return
    moved = answer["discarded"]
    note = f"; {counted(moved, 'message')} went to the dead letters" if moved else ""
    session.out.lines(f"forgot {whom}{note}")


def _question(session: Session, whom: str, discard: bool) -> str:
    records = session.ask(lambda agent: agent.agents())
    waiting = next((each["unsettled"] for each in records if each["id"] == whom), 0)
    with_mail = f", and discard {counted(waiting, 'message')}" if discard and waiting else ""
    return f"Forget {whom} for good{with_mail}?"
