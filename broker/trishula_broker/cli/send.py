"""``broker send``: one message, and what becomes of it when that is asked for."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import click

from trishula_broker.cli.durations import Span, timeout_option
from trishula_broker.cli.exits import EPILOG, ExitCode, Failure
from trishula_broker.cli.session import ANSWER_SECONDS, Session, note, session_options
from trishula_broker.cli.text import payload_text
from trishula_protocol.limits import TTL_MAX

if TYPE_CHECKING:
    from trishula import Agent, Receipt


@click.command("send", epilog=EPILOG)
@click.argument("to")
@click.argument("payload", metavar="JSON")
@click.option("--text", "as_text", is_flag=True, help="JSON is not JSON: send it as a string.")
@click.option(
    "--type",
    "type_",
    type=click.Choice(["COMMAND", "STATUS", "RESULT", "ERROR"], case_sensitive=False),
    metavar="[COMMAND|STATUS|RESULT|ERROR]",
    help="STATUS by default, COMMAND with --wait. RESULT and ERROR need --reply-to.",
)
@click.option(
    "--priority",
    type=click.IntRange(1, 5),
    default=3,
    help="1 is the most urgent; 3 by default.",
)
@click.option(
    "--ttl",
    type=Span(TTL_MAX / 1000),
    metavar="TIME",
    help="It expires unless delivered by then: 30s, 5m, 2h.",
)
@click.option("--thread", metavar="ID", help="The conversation it belongs to.")
@click.option("--reply-to", metavar="ID", help="The message it answers; settles nothing.")
@click.option(
    "--id",
    "id_",
    metavar="ID",
    help="Its own, unique for its sender: sent again with the same --as it is accepted once.",
)
@click.option("--wait", is_flag=True, help="Wait for the RESULT and print its payload.")
@click.option(
    "--until",
    type=click.Choice(["delivered", "read", "done"]),
    help="Wait until a recipient has it, has read it, or is done with it.",
)
@timeout_option("For --wait and --until; by default they wait as long as it takes.")
@session_options(
    as_help="Send in this agent's name, in a side session: a running one goes on. By default "
    "under a name made for this message, which is forgotten a minute later."
)
def command(
    session: Session,
    payload: str,
    as_text: bool,
    type_: str | None,
    wait: bool,
    until: str | None,
    timeout: float | None,
    **fields: Any,
) -> None:
    """Send JSON to TO: an agent, #group, @capability or broadcast.

    Prints the message's id once it is stored; the recipient need not be online. JSON is any
    JSON value, or - for what comes on standard input. Text is JSON in quotes, or use --text.

    --wait sends a COMMAND, shows its progress on stderr and prints the payload of the RESULT.
    With --as the answer is the agent's own mail: it is read from the history, and stays in the
    mailbox for the agent itself.

    \b
    Examples:
      broker send agni '{"op": "ping"}' --wait --timeout 10
      broker send '#ops' --text 'rolling out' --as dc --priority 1
      make report | broker send @review - --as ci --until done
    """
    if wait and until:
        raise click.UsageError("--wait and --until exclude one another: an answer is the end.")
    if wait and type_ not in (None, "COMMAND"):
        raise click.UsageError(f"--wait is for a COMMAND: nobody answers a {type_}.")
    if timeout is not None and not (wait or until):
        raise click.UsageError("--timeout is for --wait and --until.")
    value = read_payload(payload, as_text)
    kind = type_ or ("COMMAND" if wait else "STATUS")
    fields["type"] = kind
    if kind == "COMMAND" and not wait and session.name is None:
        note("note: an answer will find nobody; use --wait, or --as with a name that stays")
    session.run(_send(session, value, wait, until, timeout, fields))


async def _send(
    session: Session,
    value: Any,
    wait: bool,
    until: str | None,
    timeout: float | None,
    fields: dict[str, Any],
) -> None:
    from trishula_protocol.ids import IdMaker

    # Made here, so that it can be told when it is unknown what became of it.
    id = fields.pop("id_") or IdMaker(secrets.randbits(62))(time.time_ns() // 1_000_000)
    own = session.name is None
    async with session.agent(receive=wait and own, ephemeral=own) as agent:
        try:
            started = time.monotonic()
            watched = wait or until is not None
            receipt = await _accepted(session, agent, value, id, watched, timeout, fields)
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            if wait:
                await _answer(session, agent, receipt, own, left)
            elif until:
                await _reach(session, agent, receipt, until, left)
            elif session.out.as_json:
                session.out.document({"id": id, "from": agent.name})
            else:
                session.out.lines(f"accepted {id} from {agent.name}")
        except asyncio.CancelledError:  # Ctrl-C
            note(f"interrupted, and {_whereabouts(agent.name, id)}")
            raise


async def _accepted(
    session: Session,
    agent: Agent,
    value: Any,
    id: str,
    receipt: bool,
    timeout: float | None,
    fields: dict[str, Any],
) -> Receipt:
    seconds = ANSWER_SECONDS if timeout is None else timeout
    try:
        async with asyncio.timeout(seconds):
            return await agent.send(payload=value, id=id, receipt=receipt, **fields)
    except TimeoutError:
        again = (
            f"repeat it with --id {id}: it is accepted once"
            if session.name
            else "to be able to repeat it safely, use --as and --id"
        )
        raise Failure(
            ExitCode.TIMED_OUT,
            f"no hub accepted {id} within {seconds:g} s; whether it is stored is unknown; {again}",
        ) from None


async def _answer(
    session: Session, agent: Agent, receipt: Receipt, own: bool, timeout: float | None
) -> None:
    from trishula_broker.cli import waiting

    look = waiting.in_mailbox if own else waiting.in_history
    try:
        async with asyncio.timeout(timeout):
            answer, settle = await look(agent, receipt)
    except TimeoutError:
        _timed_out("not answered", agent.name, receipt.id)
    payload = answer.get("payload")
    failed = answer["type"] == "ERROR"
    if session.out.as_json:
        session.out.document(answer)
    elif not failed:
        session.out.lines(payload_text(payload, indent=session.out.terminal))
    if settle is not None:
        await settle()
    if failed:
        from trishula import RemoteError

        who = "the hub" if answer["from"] == "hub" else answer["from"]
        text = f"{who} answered: {RemoteError.of(payload, who)}"
        raise Failure(ExitCode.REFUSED, text)


async def _reach(
    session: Session, agent: Agent, receipt: Receipt, stage: str, timeout: float | None
) -> None:
    from trishula_broker.cli import waiting

    try:
        async with asyncio.timeout(timeout):
            by = await waiting.reached(agent, receipt, stage)
    except TimeoutError:
        _timed_out(f"not {stage}", agent.name, receipt.id)
    if session.out.as_json:
        session.out.document({"id": receipt.id, "from": agent.name, "stage": stage, "by": by})
    else:
        session.out.lines(f"{stage} {receipt.id} by {by}")


def _timed_out(what: str, name: str, id: str) -> NoReturn:
    raise Failure(ExitCode.TIMED_OUT, f"{what} in time, and {_whereabouts(name, id)}") from None


def _whereabouts(name: str, id: str) -> str:
    return f"not taken back; `broker trace {id} --as {name}` says where it is"


def read_payload(text: str, as_text: bool) -> Any:
    """The value that the argument, or standard input for ``-``, stands for.

    Raises:
        click.UsageError: it is not JSON, or not UTF-8.
    """
    import msgspec

    where = "JSON"
    try:
        if text == "-":
            where = "JSON from standard input"
            data = sys.stdin.buffer.read() if sys.stdin is not None else b""
        else:
            data = os.fsencode(text)  # the bytes of the command line, whatever the locale
        return data.decode() if as_text else msgspec.json.decode(data)
    except UnicodeError:
        raise click.UsageError(f"{where}: not UTF-8.") from None
    except RecursionError:
        raise click.UsageError(f"{where}: nested too deep.") from None
    except msgspec.DecodeError as error:
        raise click.UsageError(
            f"{where}: {error}. To send text put it in quotes, '\"hello\"', or use --text."
        ) from None
