"""Sessions that do not register, say nothing or read nothing in time are closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.now import Now
from trishula_protocol.errors import CloseCode
from trishula_protocol.hub_session import HubSession, State

LATE_MS: Final = 100
"""A deadline noticed this late: the process was busy, and what was said meanwhile may be unread."""
AGAIN_MS: Final = 50
"""Then it is looked at again, after the sockets were read. Otherwise a hub that has more to do than
it can would close thousands who did speak, and have all of them register again on top."""


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

    def _check(self, session: HubSession, now: Now, again: bool = False) -> None:
        deadline = session.deadline(self._reads(session))
        if deadline is not None and deadline <= now.mono:
            if now.mono - deadline > LATE_MS and not again:
                self._agenda.at(
                    now.mono + AGAIN_MS,
                    ("link", session.link),
                    lambda now: self._check(session, now, again=True),
                )
            elif session.state is not State.ACTIVE:
                session.close(CloseCode.PROTOCOL, "not registered in time")
            elif session.stalled_at is not None:
                session.close(CloseCode.TRY_LATER, "reading too slowly")
            else:
                session.close(CloseCode.HEARTBEAT, "nothing heard for two heartbeats")
        else:
            self.watch(session, now)
