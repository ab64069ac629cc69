"""Whether somebody is known: a mistyped name must not look like an empty mailbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trishula_broker.hub.acceptance import nearest_addresses
from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol.address import Address, Kind
from trishula_protocol.errors import ErrorCode


def if_known(call: Call, then: Callable[[], None]) -> None:
    """Go on; or refuse, with the nearest names, what is asked about one of whom there is nothing.

    Registering makes a name known, a side session's too. One that is ephemeral, has no session
    that receives, no mail, and has sent nothing, was made by asking.
    """

    def looked_up(found: Sequence[base.AgentRecord], now: Now) -> None:
        if any(record.online or not record.ephemeral for record in found):
            then()
        else:
            call.look_up(base.History(call.whose, None, 0, 1), read)

    def read(messages: Sequence[base.Message], now: Now) -> None:
        if messages:
            then()
        else:
            call.look_up(base.Agents(), suggest)

    def suggest(found: Sequence[base.AgentRecord], now: Now) -> None:
        near = nearest_addresses(Address(Kind.AGENT, call.whose), found)
        hint = f"did you mean {' or '.join(near)}?" if near else "the operation agents lists them"
        call.error(
            ErrorCode.BAD_MESSAGE,
            f"no agent {call.whose} is known here; {hint}",
            {"nearest": near},
        )

    call.look_up(base.Agents(id=call.whose), looked_up)


def refuse_unknown(call: Call, agent: str) -> None:
    """Refuse an operation on ``agent``, of whom the store knows nothing, with the nearest names."""

    def suggest(found: Sequence[base.AgentRecord], now: Now) -> None:
        near = nearest_addresses(Address(Kind.AGENT, agent), found)
        hint = f"did you mean {' or '.join(near)}?" if near else "the operation agents lists them"
        call.error(
            ErrorCode.UNKNOWN_RECIPIENT,
            f"payload.agent: no agent {agent} is known here; {hint}",
            {"nearest": near},
        )

    call.look_up(base.Agents(), suggest)
