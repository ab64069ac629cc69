"""``broker deadletters``: what was given up, for operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.exits import EPILOG, ExitCode, Failure
from trishula_broker.cli.groups import Group
from trishula_broker.cli.known import must_be_known
from trishula_broker.cli.session import Session, session_options
from trishula_broker.cli.sure import make_sure
from trishula_broker.cli.table import show_table
from trishula_broker.cli.text import counted, moment, payload_text, visible

if TYPE_CHECKING:
    from trishula import Agent

COLUMNS: Final = ("agent", "seq", "given up", "outcome", "attempts", "from", "type", "reason")
PAGE: Final = 1000
"""Dead letters asked for together, as many as the hub gives."""


@click.group("deadletters", cls=Group, epilog=EPILOG)
def command() -> None:
    """List, show, retry and drop messages that were given up or refused."""


@command.command("list", epilog=EPILOG)
@click.option("--agent", "owner", metavar="AGENT", help="Only those of this mailbox.")
@session_options()
def list_(session: Session, owner: str | None) -> None:
    """List the dead letters by their place in the log.

    With --json a line each, messages included.

    \b
    Example:
      broker deadletters list --agent dc
    """

    async def collect(agent: Agent) -> list[dict[str, Any]]:
        found = [letter async for letter in letters(session, agent, owner)]
        if not found and owner is not None:
            await session.answer(must_be_known(agent, owner))
        return found

    found = session.visit(collect)
    if session.out.as_json:
        for letter in found:
            session.out.document(letter)
    elif found:
        show_table(session.out, COLUMNS, [_row(letter) for letter in found])
    else:
        session.out.lines("no dead letters")


@command.command("show", epilog=EPILOG)
@click.argument("owner", metavar="AGENT")
@click.argument("seq", type=click.IntRange(min=1))
@session_options()
def show(session: Session, owner: str, seq: int) -> None:
    """Print one dead letter with its payload.

    \b
    Example:
      broker deadletters show dc 1042
    """
    letter = session.ask(lambda agent: one(agent, owner, seq))
    if session.out.as_json:
        session.out.document(letter)
        return
    message = letter["message"]
    session.out.lines(
        f"{message['type']} {message['id']} from {message['from']} to {message['to']}, "
        f"accepted {moment(message['accepted_at'])}",
        f"{letter['outcome']} {moment(letter['settled_at'])} after "
        f"{counted(letter['attempts'], 'attempt')}: {visible(letter['reason']) or 'no reason'}",
        payload_text(message.get("payload"), indent=True),
    )


@command.command("retry", epilog=EPILOG)
@click.argument("owner", metavar="[AGENT", required=False)
@click.argument("seq", metavar="SEQ]", type=click.IntRange(min=1), required=False)
@click.option("--all", "everything", is_flag=True, help="All of AGENT, or of everybody.")
@session_options()
def retry(session: Session, owner: str | None, seq: int | None, everything: bool) -> None:
    """Put a dead letter back into its mailbox, its attempts forgotten.

    \b
    Examples:
      broker deadletters retry dc 1042
      broker deadletters retry dc --all
    """
    if everything == (seq is not None) or (seq is None and not everything):
        raise click.UsageError("Give AGENT and SEQ, or --all with or without AGENT.")

    async def put_back(agent: Agent) -> list[dict[str, Any]]:
        from trishula_protocol.bodies import Retry

        if owner is not None and seq is not None:
            return [await session.answer(agent.ask(Retry(owner, seq)))]
        # First all, then each: what fails again meanwhile must not come round again.
        wanted = [
            Retry(letter["agent"], letter["message"]["seq"])
            async for letter in letters(session, agent, owner)
        ]
        return [await session.answer(agent.ask(each)) for each in wanted]

    done = session.visit(put_back)
    if session.out.as_json:
        session.out.document({"retried": done})
    else:
        session.out.lines(f"put back {counted(len(done), 'message')}")


@command.command("drop", epilog=EPILOG)
@click.argument("owner", metavar="AGENT")
@click.argument("seq", type=click.IntRange(min=1))
@click.option("--yes", is_flag=True, help="Do not ask.")
@session_options()
def drop(session: Session, owner: str, seq: int, yes: bool) -> None:
    """Remove a dead letter for good.

    The log keeps it for its retention time.

    \b
    Example:
      broker deadletters drop dc 1042
    """
    make_sure(lambda: _question(session, owner, seq), "not dropped", yes)

    async def remove(agent: Agent) -> Any:
        from trishula_protocol.bodies import Drop

        return await agent.ask(Drop(owner, seq))

    dropped = session.ask(remove)
    if session.out.as_json:
        session.out.document({"dropped": [dropped]})
    else:
        session.out.lines(f"dropped {owner} {seq}")


async def letters(
    session: Session, agent: Agent, owner: str | None
) -> AsyncIterator[dict[str, Any]]:
    """All dead letters, page by page."""
    from trishula_protocol.bodies import DeadLetters

    after: int | None = 0
    while after is not None:
        page = await session.answer(agent.ask(DeadLetters(owner, after, PAGE)))
        for letter in page["deadletters"]:
            yield letter
        after = page["next"]


async def one(agent: Agent, owner: str, seq: int) -> dict[str, Any]:
    """One dead letter.

    Raises:
        Failure: there is no such one.
    """
    from trishula_protocol.bodies import DeadLetters

    page = await agent.ask(DeadLetters(owner, seq - 1, 1))
    for letter in page["deadletters"]:
        if letter["message"]["seq"] == seq:
            found: dict[str, Any] = letter
            return found
    raise Failure(
        ExitCode.REFUSED, f"{owner} has no dead letter {seq}; `broker deadletters list` shows them"
    )


def _question(session: Session, owner: str, seq: int) -> str:
    message = session.ask(lambda agent: one(agent, owner, seq))["message"]
    return f"Drop {message['type']} {message['id']} from {message['from']} for good?"


def _row(letter: dict[str, Any]) -> list[str]:
    message = letter["message"]
    return [
        letter["agent"],
        str(message["seq"]),
        moment(letter["settled_at"]),
        letter["outcome"],
        str(letter["attempts"]),
        message["from"],
        message["type"],
        letter["reason"],
    ]
