"""Sessions that do not register, say nothing or read nothing in time are closed."""

from __future__ import annotations

from collections.abc import Callable

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.now import Now
from trishula_protocol.errors import CloseCode
from trishula_protocol.hub_session import HubSession, State


class Liveness:
    """Watches sessions; :meth:`HubSession.deadline` says what each has to do until when.

    Args:
        reads: whether a session's socket is read: of one that is not, nothing can be heard.
    """

    def __init__(self, agenda: Agenda, reads: Callable[[HubSession], bool]) -> None:
        self._agenda = agenda
        self._reads = reads

    def watch(self, session: HubSession, now: Now) -> None:
        """Look at ``session`` when its deadline comes."""
        deadline = session.deadline(self._reads(session))
        if deadline is not None:
            self._agenda.at(deadline, ("link", session.link), lambda now: self._check(session, now))

    def resumed(self, session: HubSession, now: Now) -> None:
        """Its socket is read again: its silence counts from now on."""
        session.heard_at = now.mono
        self.watch(session, now)

    def _check(self, session: HubSession, now: Now) -> None:
        deadline = session.deadline(self._reads(session))
        if deadline is not None and deadline <= now.mono:
            if session.state is not State.ACTIVE:
                session.close(CloseCode.PROTOCOL, "not registered in time")
            elif session.stalled_at is not None:
                session.close(CloseCode.TRY_LATER, "reading too slowly")
            else:
                session.close(CloseCode.HEARTBEAT, "nothing heard for two heartbeats")
        else:
            self.watch(session, now)
