"""``broker tap``: what passes, as it passes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from trishula_broker.cli.durations import timeout_option
from trishula_broker.cli.exits import EPILOG, ExitCode, Failure
from trishula_broker.cli.known import unknown
from trishula_broker.cli.session import Session, note, session_options
from trishula_broker.cli.text import counted, message_line, moment, visible

if TYPE_CHECKING:
    from trishula import Agent


@click.command("tap", epilog=EPILOG)
@click.option("--from", "sender", metavar="AGENT", help="Only what AGENT sends.")
@click.option(
    "--to", metavar="TO", help="Only what goes to this address, or to this agent by any other."
)
@click.option(
    "--type",
    "type_",
    type=click.Choice(["COMMAND", "STATUS", "RESULT", "ERROR"], case_sensitive=False),
    metavar="[COMMAND|STATUS|RESULT|ERROR]",
    help="Only messages of this type.",
)
@click.option("--thread", metavar="ID", help="Only messages of this conversation.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many lines.")
@timeout_option(
    "End, with exit code 4, when nothing has passed for this long; by default it waits for ever."
)
@session_options()
def command(
    session: Session,
    sender: str | None,
    to: str | None,
    type_: str | None,
    thread: str | None,
    count: int | None,
    timeout: float | None,
) -> None:
    """Print copies of messages as any hub accepts them, and what becomes of them, a line each.

    Nobody's mail changes by that. A second line about a message says who has settled it, and
    how. What is not read fast enough is counted: "missed". Ends when it is interrupted.

    \b
    Examples:
      broker tap --to agni
      broker tap --from dc --type COMMAND --json | jq .envelope.payload
    """
    filters = {"sender": sender, "to": to, "type": type_, "thread": thread}
    session.follow(_tap(session, filters, count, timeout))


async def _tap(
    session: Session, filters: dict[str, str | None], count: int | None, timeout: float | None
) -> None:
    from trishula_protocol.bodies import Tap

    async with session.agent() as agent:
        # The iterator first: what passes after the hub's answer is news to it.
        copies = agent.tap(**filters)
        await session.answer(agent.ask(Tap(**filters)))  # type: ignore[arg-type]
        await _look_out(session, agent, filters)
        note(f"tapping {agent.url}")
        printed = 0
        while printed != count:
            try:
                async with asyncio.timeout(timeout):
                    copy = await anext(copies, None)
            except TimeoutError:
                text = f"nothing passed for {timeout:g} s; {counted(printed, 'line')} before"
                raise Failure(ExitCode.TIMED_OUT, text) from None
            if copy is None:
                return
            if session.out.as_json:
                await session.out.document_later(copy)
            else:
                await session.out.line_later(_line(copy))
            printed += 1


async def _look_out(session: Session, agent: Agent, filters: dict[str, str | None]) -> None:
    """A mistyped name would show nothing for ever."""
    records = await session.answer(agent.agents())
    for name in (filters["sender"], filters["to"]):
        if name is not None and name not in ("hub", "broadcast") and name[0] not in "#@":
            fault = unknown(name, records)
            if fault:
                note(f"note: {fault}")


def _line(copy: dict[str, Any]) -> str:
    kind = copy.get("tap")
    if kind == "missed":
        return f"{moment(_now())}  missed {counted(copy['missed'], 'message')}"
    envelope = copy["envelope"]
    agents = copy.get("agents") or ()
    if kind == "accepted":
        others = [name for name in agents if name != envelope.get("to")]
        parts = [message_line(envelope)]
        if others:
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            parts.append(f"(for {', '.join(others[:5])}{more})")
        if copy.get("pool"):
            parts.append(f"(waits for somebody who offers {copy['pool']})")
        return "  ".join(parts)
    what = visible(str(copy.get("outcome") or kind))
    who = ", ".join(agents)
    return "  ".join(
        (moment(_now()), who, what, envelope["type"], envelope["id"], f"from {envelope['from']}")
    )


def _now() -> int:
    return time.time_ns() // 1_000_000
