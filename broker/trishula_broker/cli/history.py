"""``broker history``: what was said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.known import answer_to_known, must_be_known
from trishula_broker.cli.session import Session, note, session_options
from trishula_broker.cli.text import message_line

if TYPE_CHECKING:
    from trishula import Agent

PAGE: Final = 100
"""Messages asked for at once; the hub sends fewer when they are large."""


@click.command("history", epilog=EPILOG)
@click.argument("thread", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, help="Messages at most; 100 by default."
)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="SEQ",
    help="Begin behind this place in the log.",
)
@click.option("--all", "everything", is_flag=True, help="To the end, whatever --limit says.")
@click.option(
    "--agent",
    "whose",
    metavar="AGENT",
    help="Another agent's: for operators and observers, with a token of their own.",
)
@session_options(required=True)
def command(
    session: Session,
    thread: str | None,
    limit: int,
    after: int,
    everything: bool,
    whose: str | None,
) -> None:
    """Print a THREAD the agent took part in, or all its mail, oldest first.

    With --json a line each, with "seq", which --after takes.

    \b
    Examples:
      broker history --as dc --all
      broker history 0198a5c2-7d7e-7cc0-8000-4e1d5e2f9a10 --as dc --json
      broker history --agent dc --token-file ada.token
    """
    session.run(_history(session, thread, None if everything else limit, after, whose))


async def _history(
    session: Session, thread: str | None, limit: int | None, after: int, whose: str | None
) -> None:
    printed = 0
    async with session.agent() as agent:
        messages = pages(agent, thread, after, limit, whose)
        while True:
            shown = await session.answer(answer_to_known(agent, anext(messages, None), whose))
            if shown is None:
                break
            printed += 1
            if session.out.as_json:
                await session.out.document_later(shown)
            else:
                await session.out.line_later(message_line(shown))
            after = shown["seq"]
        if not printed:
            await session.answer(must_be_known(agent, whose))
    if printed == limit:
        note(f"there may be more: --after {after}, or --all")
    elif not printed and not session.out.as_json:
        where = f" in thread {thread}" if thread else f" after {after}" if after else ""
        note(f"nothing that {whose or session.name} sent or received{where}")


async def pages(
    agent: Agent,
    thread: str | None,
    after: int,
    limit: int | None = None,
    whose: str | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """The messages of a history after ``after``, ``limit`` at most, page by page; the asking
    agent's own, or that of ``whose``."""
    from trishula_protocol import bodies

    left = limit
    cursor: int | None = after
    while cursor is not None and left != 0:
        most = PAGE if left is None else min(PAGE, left)
        page = await agent.ask(bodies.History(thread, cursor, most, whose))
        for shown in page["messages"]:
            yield shown
        cursor = page["next"]
        if left is not None:
            left -= len(page["messages"])
