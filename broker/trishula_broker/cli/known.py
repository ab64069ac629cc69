"""Names that nobody has are slips of the pen: told, with the nearest that somebody has."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.session import OWN_PREFIX

if TYPE_CHECKING:
    from trishula import Agent

T = TypeVar("T")


async def must_be_known(agent: Agent, name: str | None = None) -> None:
    """That ``name``, or else the asking agent's own, was ever registered here by an agent.

    For commands whose answer was empty: asking under a name makes it known to the hub, for a
    minute, but not the name of an agent.

    Raises:
        Failure: it was not; says the nearest that were.
    """
    fault = unknown(name or agent.name, await agent.agents())
    if fault:
        raise Failure(ExitCode.REFUSED, fault)


async def answer_to_known(agent: Agent, question: Awaitable[T], whose: str | None = None) -> T:
    """The hub's answer; a refusal of a name that nobody has is about the name: that of the agent
    asked about, or else the asking one's.

    Raises:
        Refused: the hub refused it for another reason.
        Failure: as :func:`must_be_known`.
    """
    from trishula import Refused

    try:
        return await question
    except Refused:
        await must_be_known(agent, whose)
        raise


def unknown(name: str, records: list[dict[str, Any]]) -> str | None:
    """What is to be said of a name that is no agent's; None when it is one's."""
    if name.startswith(OWN_PREFIX):  # a command's own; those of the last minute are known
        return None
    real = [each["id"] for each in records if each["online"] or not each.get("ephemeral")]
    if name in real:
        return None
    import difflib

    near = difflib.get_close_matches(name, real, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`broker agents` lists them"
    return f"no agent {name} is known here; {hint}"
