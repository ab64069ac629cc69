"""What arrives on a session, each envelope given to whom it is for.

It reads only what says whose an envelope is: the sender, the type, and whether it is for the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from trishula_broker.hub.guard import Guard
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call, Desk
from trishula_broker.hub.operations.status import status_of
from trishula_broker.hub.operations.table import perform
from trishula_broker.hub.refusals import about
from trishula_broker.hub.registration import Registration
from trishula_broker.hub.settlement import Settlement
from trishula_protocol.address import HUB
from trishula_protocol.codec import Item
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession, State

_ACTIVE: Final = State.ACTIVE  # Python 3.11 is slow to look a member of an Enum up


class Intake:
    """Takes envelopes, whichever session they come on.

    Args:
        accept: takes a message from a session that may say everything.
        guard: takes one from a session of which it is known what it may.
        settlement: takes what recipients say of their mail.
        membership: has the answer to a heartbeat.
        registration: takes the first envelope of a session.
        desk: answers operations.
    """

    def __init__(
        self,
        accept: Callable[[HubSession, Envelope, Now], None],
        guard: Guard,
        settlement: Settlement,
        membership: Membership,
        registration: Registration,
        desk: Desk,
    ) -> None:
        self._accept = accept
        self._guard = guard
        self._settlement = settlement
        self._membership = membership
        self._registration = registration
        self._desk = desk

    def take(self, session: HubSession, items: Sequence[Item], now: Now) -> None:
        """Do what ``items`` say, in their order; what is wrong with one is told its sender.

        Args:
            session: which of them to believe depends on its state.
            items: what a frame had, or what came while the session was registering.
        """
        accept = self._accept
        guard = self._guard.send
        for item in items:
            try:
                if isinstance(item, ProtocolError):
                    session.error(item)
                elif session.state is _ACTIVE:
                    if item.sender is not None and item.sender != session.agent:
                        raise _forged(item, session.agent)
                    kind = item.type
                    if kind == "ACK":
                        self._settlement.acknowledge(session, item, now)
                    elif kind == "HEARTBEAT":
                        session.say(self._membership.heartbeat(now))
                    elif item.to is None or item.to == HUB:
                        self._ask(session, item, now)
                    elif session.standing is None:
                        accept(session, item, now)
                    else:
                        guard(session, item, now)
                elif session.state is State.NEW:
                    self._registration.register(session, item, now)
                elif session.state is State.REGISTERING:
                    session.waiting.append(item)
            except ProtocolError as error:
                if isinstance(item, Envelope):
                    if error.reply_to is None:
                        error.reply_to = item.id
                    session.error(error, **about(item))
                else:
                    session.error(error)

    def _ask(self, session: HubSession, envelope: Envelope, now: Now) -> None:
        call = Call(self._desk, session, envelope.id, now)
        if envelope.type == "STATUS":
            perform(call, status_of(envelope.payload))
        elif envelope.type == "COMMAND":
            perform(call, envelope.payload)
        else:
            call.error(
                ErrorCode.BAD_MESSAGE,
                f"to: the hub takes COMMAND, STATUS, ACK and HEARTBEAT, not {envelope.type}",
            )


def _forged(envelope: Envelope, agent: str) -> ProtocolError:
    return ProtocolError(
        ErrorCode.FORBIDDEN,
        f"from: you are {agent}, not {str(envelope.sender)[:80]}; leave it out",
        reply_to=envelope.id,
    )
