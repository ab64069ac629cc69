"""Sessions that do not register, say nothing or read nothing in time are closed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
ROUND_MS: Final = 128
"""Deadlines of one such span are looked at together, when it begins: by then nearly all have moved,
for who lives has spoken since. A deadline of its own on the agenda has only who has not."""


class Liveness:
    """Watches sessions; :meth:`HubSession.deadline` says what each has to do until when.

    Args:
        reads: whether a session's socket is read: of one that is not, nothing can be heard.
    """

    def __init__(self, agenda: Agenda, reads: Callable[[HubSession], bool]) -> None:
        self._agenda = agenda
        self._reads = reads
        self._rounds: dict[int, dict[int, HubSession]] = {}
        """By number of the span, sessions by link."""
        self._in_round: dict[int, int] = {}
        """link → the span in which it is looked at."""

    def watch(self, session: HubSession, now: Now) -> None:
        """Look at ``session`` when its deadline comes, or before."""
        deadline = session.deadline(self._reads(session))
        if deadline is None:
            return
        link, number = session.link, deadline // ROUND_MS
        if number * ROUND_MS <= now.mono:
            self._agenda.at(deadline, ("link", link), lambda now: self._check(session, now))
            return
        known = self._in_round.get(link)
        if known is not None:
            if known <= number:
                return  # whoever looks there asks again
            del self._rounds[known][link]
        self._in_round[link] = number
        fellows = self._rounds.get(number)
        if fellows is None:
            fellows = self._rounds[number] = {}
            self._agenda.at(number * ROUND_MS, ("links", number), partial(self._look, number))
        fellows[link] = session

    def resumed(self, session: HubSession, now: Now) -> None:
        """Its socket is read again: its silence counts from now on."""
        session.heard_at = now.mono
        self.watch(session, now)

    def forget(self, session: HubSession) -> None:
        """The session is over."""
        self._agenda.cancel(("link", session.link))
        number = self._in_round.pop(session.link, None)
        if number is not None:
            del self._rounds[number][session.link]

    def _look(self, number: int, now: Now) -> None:
        fellows = self._rounds.pop(number)
        for link in fellows:
            del self._in_round[link]
        for session in fellows.values():
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
