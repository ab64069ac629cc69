"""A session that the store does not take for current ends here too."""

from __future__ import annotations

from trishula_broker.store import base
from trishula_protocol.errors import CloseCode
from trishula_protocol.hub_session import HubSession


def fence(session: HubSession, outcome: base.Fenced) -> None:
    """Close ``session``: for good when the agent is elsewhere, else it is to come back."""
    if outcome.epoch:
        session.close(CloseCode.TAKEN_OVER, "this agent registered elsewhere")
    else:
        session.close(CloseCode.RESTART, "this hub was given up for dead; come back")
