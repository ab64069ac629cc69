"""``broker listen``: mail as it comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from trishula_broker.cli.durations import timeout_option
from trishula_broker.cli.exits import EPILOG, ExitCode, Failure
from trishula_broker.cli.session import Session, note, session_options
from trishula_broker.cli.text import counted, message_line

if TYPE_CHECKING:
    from trishula import Agent

PREFETCH: Final = 256
"""Messages delivered and not printed yet, at most."""


@click.command("listen", epilog=EPILOG)
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="NAME",
    help="Be found by @NAME; may be repeated. Replaces what the hub knew of --as.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Be found by #NAME; may be repeated. Replaces what the hub knew of --as.",
)
@click.option(
    "--count", type=click.IntRange(min=1), metavar="N", help="End after this many messages."
)
@timeout_option(
    "End, with exit code 4, when none has come for this long; by default it waits for ever."
)
@click.option(
    "--settle/--no-settle",
    default=True,
    help="Whether what was printed is done with; by default it is. Unsettled it is delivered "
    "again later, and after five times given up.",
)
@session_options(
    environment=False,
    as_help="Be this agent, and take over from a running one: it gets no more mail. By default "
    "a name made for this command and forgotten a minute later.",
)
def command(
    session: Session,
    capabilities: tuple[str, ...],
    groups: tuple[str, ...],
    count: int | None,
    timeout: float | None,
    settle: bool,
) -> None:
    """Print messages as they come, a line each, until interrupted.

    Each is settled once it is printed; a COMMAND gets no answer by that. To look without
    receiving, use `broker peek` and `broker history`. While the hub is away it waits for its
    return, and says so on stderr.

    \b
    Examples:
      broker listen --group ops
      broker listen --as dc --count 1 --timeout 60 --json | jq .payload
    """
    session.follow(_listen(session, capabilities, groups, count, timeout, settle))


async def _listen(
    session: Session,
    capabilities: tuple[str, ...],
    groups: tuple[str, ...],
    count: int | None,
    timeout: float | None,
    settle: bool,
) -> None:
    agent = session.agent(
        receive=True,
        ephemeral=session.name is None,
        capabilities=capabilities or None,
        groups=groups or None,
        # What is delivered and not printed goes back, which counts against it.
        prefetch=min(PREFETCH, count or PREFETCH),
    )
    async with agent:
        note(f"listening as {agent.name} on {agent.url}")
        await _print(session, agent, count, timeout, settle)


async def _print(
    session: Session, agent: Agent, count: int | None, timeout: float | None, settle: bool
) -> None:
    from trishula_broker.cli.waiting import envelope_of

    printed = 0
    messages = agent.messages()
    while printed != count:
        try:
            async with asyncio.timeout(timeout):
                message = await anext(messages, None)
        except TimeoutError:
            text = f"nothing came for {timeout:g} s; {counted(printed, 'message')} before"
            raise Failure(ExitCode.TIMED_OUT, text) from None
        if message is None:
            return
        shown = envelope_of(message)
        if session.out.as_json:
            await session.out.document_later(shown)
        else:
            await session.out.line_later(message_line(shown, mine=agent.name))
        if settle:
            await message.done()
        printed += 1
