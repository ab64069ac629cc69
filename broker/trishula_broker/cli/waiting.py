"""What becomes of a message that was sent: its answer, or how far its recipients are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from trishula.message import Message
from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.history import pages
from trishula_broker.cli.session import note
from trishula_broker.cli.text import payload_text

if TYPE_CHECKING:
    from trishula import Agent, Receipt
    from trishula.receipt import Stage

LOOK_SECONDS: Final = (0.1, 2.0)
"""Between two looks where nothing tells us when to look: at first, and at most."""

Answer = tuple[dict[str, Any], Callable[[], Awaitable[None]] | None]
"""The RESULT or ERROR as an envelope, and what settles it once it has been printed."""


async def in_mailbox(agent: Agent, receipt: Receipt) -> Answer:
    """The answer as it is delivered to the agent that asked."""
    async for message in agent.messages():
        shown = envelope_of(message)
        if shown.get("reply_to") != receipt.id:
            continue  # of no use to a command that ends soon; it stays unsettled
        if is_answer(shown):
            return shown, message.done
        _progress(shown)
        await message.done()
    raise Failure(ExitCode.REFUSED, "the session ended before the answer came")


async def in_history(agent: Agent, receipt: Receipt) -> Answer:
    """The answer as the log has it, for a side session; the agent's mailbox keeps its copy.

    Looked for at intervals, and at once when a recipient is done, because answering settles.
    """
    traced = await agent.trace(receipt.id)
    after = max(each["seq"] for each in traced["messages"] if each["from"] == agent.name)
    wait = LOOK_SECONDS[0]
    done = False
    while True:
        async for shown in pages(agent, None, after):
            after = shown["seq"]
            if shown.get("reply_to") == receipt.id and shown["from"] != agent.name:
                if is_answer(shown):
                    return shown, None
                _progress(shown)
        if done:
            await asyncio.sleep(wait)
        else:
            try:
                await receipt.reached("done", wait)
                done = True
            except TimeoutError:
                pass
        wait = min(2 * wait, LOOK_SECONDS[1])


async def reached(agent: Agent, receipt: Receipt, stage: str) -> str:
    """Wait until a recipient got that far; which one.

    The hub tells a live session; what happened while there was none is looked up.

    Raises:
        Failure: it will not get that far any more.
    """
    wanted: Stage = "delivered" if stage == "delivered" else "read" if stage == "read" else "done"
    wait = LOOK_SECONDS[0]
    while True:
        try:
            return await receipt.reached(wanted, wait)
        except TimeoutError:
            pass
        traced = await agent.trace(receipt.id)
        copies = [
            copy
            for each in traced["messages"]
            if each["from"] == agent.name
            for copy in each["copies"]
        ]
        for copy in copies:
            if _is_at(copy, wanted):
                return str(copy["agent"])
        if all(copy["outcome"] is not None for copy in copies):
            ends = "; ".join(
                f"{copy['agent']}: {copy['outcome']}"
                + (f", {copy['reason']}" if copy["reason"] else "")
                for copy in copies
            )
            raise Failure(ExitCode.REFUSED, f"it ended otherwise; {ends or 'nobody got it'}")
        wait = min(2 * wait, LOOK_SECONDS[1])


def _is_at(copy: dict[str, Any], stage: Stage) -> bool:
    if copy["outcome"] == "done":
        return True
    if stage == "done":
        return False
    return copy["read_at" if stage == "read" else "delivered_at"] is not None


def envelope_of(message: Message) -> dict[str, Any]:
    """A delivered message as the envelope it came in."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(message.envelope)
    return found


def is_answer(shown: dict[str, Any]) -> bool:
    """Whether it is the end of a command; progress, and copies for full mailboxes, are not."""
    if shown["type"] not in ("RESULT", "ERROR"):
        return False
    # Of a fan-out: the others have it, and may answer.
    payload = shown.get("payload")
    code = payload.get("code") if isinstance(payload, dict) else None
    return not (shown["from"] == "hub" and code == "mailbox_full")


def _progress(shown: dict[str, Any]) -> None:
    note(f"{shown['from']}: {payload_text(shown.get('payload'))}")
