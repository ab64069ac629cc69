"""A session that the store does not take for current ends here too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.commits import RETRY_MS, Unavailable
from trishula_broker.hub.now import Now
from trishula_broker.hub.questions import Questions
from trishula_broker.hub.roster import Roster
from trishula_broker.store import base
from trishula_protocol.errors import CloseCode
from trishula_protocol.hub_session import HubSession

LOOK_MS: Final = 300
"""After this it is seen whether who took over is there. A hub that stood still registers agents
who have long gone elsewhere, and lets them go with its next commit."""


class Fencing:
    """Closes sessions that are over, each with the code its agent acts on.

    4409 makes an SDK stay away for good. So it is said when the agent is seen in another session,
    and not when somebody only took over: that may have been a registration nobody waits for.
    """

    def __init__(self, questions: Questions, roster: Roster, agenda: Agenda) -> None:
        self._questions = questions
        self._roster = roster
        self._agenda = agenda

    def fenced(self, session: HubSession, epoch: int, now: Now) -> None:
        """The agent's current session is that of ``epoch``; it has none when that is 0.

        ``session`` is handed nothing more, and closes as soon as it is known why.
        """
        if not session.live:
            return
        newer = self._roster.seats.get(session.agent)
        if not epoch:
            session.close(CloseCode.RESTART, "this hub was given up for dead; come back")
        elif newer is not None and newer.epoch >= epoch:
            session.close(CloseCode.TAKEN_OVER, "a newer registration took over")
        else:
            self._roster.exit(session)
            self._look_later(session, now.mono + LOOK_MS)

    def _look_later(self, session: HubSession, due: int) -> None:
        self._agenda.at(due, ("fenced", session.link), lambda _: self._look(session))

    def _look(self, session: HubSession) -> None:
        if session.live:
            self._questions.ask(base.Agents(id=session.agent), self._seen, session)

    def _seen(
        self, answer: Sequence[base.AgentRecord] | Unavailable, session: HubSession, now: Now
    ) -> None:
        if isinstance(answer, Unavailable):
            self._look_later(session, now.mono + RETRY_MS)
        elif any(record.online and record.epoch > session.epoch for record in answer):
            session.close(CloseCode.TAKEN_OVER, "this agent registered elsewhere")
        else:
            session.close(CloseCode.RESTART, "a registration since gone; come back")
