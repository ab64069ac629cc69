"""What is to be done, on its way out of the hub: frames of sessions, and other effects."""

from __future__ import annotations

from typing import Any

from trishula_broker.hub.effects import Close, Effect, Note, Record, Send
from trishula_protocol.errors import CloseCode
from trishula_protocol.hub_session import HubSession


class Outlet:
    """Collects until it is emptied.

    Attributes:
        sessions: those with something to say; each adds itself when it begins to have.
        troubled: those that were told an error, or closed; each adds itself, too.
    """

    def __init__(self) -> None:
        self.sessions: list[HubSession] = []
        self.troubled: list[HubSession] = []
        self._effects: list[Effect] = []

    def act(self, effect: Effect) -> None:
        """Have ``effect`` carried out, before what sessions say."""
        self._effects.append(effect)

    def note(self, event: str, fields: dict[str, Any]) -> None:
        """Have a log line written."""
        self._effects.append(Note(event, fields))

    def record(self, event: str, fields: dict[str, Any]) -> None:
        """Have the audit record what no commit tells of."""
        self._effects.append(Record(event, fields))

    def empty(self) -> list[Effect]:
        """What is to be done now, in order."""
        effects, self._effects = self._effects, []
        if self.sessions:
            sessions = self.sessions[:]
            self.sessions.clear()
            for session in sessions:
                if session.stalled_at is not None and not session.closed:
                    session.withhold()
                    continue
                link = session.link
                binary = session.codec.binary
                try:
                    effects.extend(Send(link, frame, binary) for frame in session.frames())
                except Exception as bug:  # one session's trouble is not the others'
                    self.note("bug", {"link": link, "error": repr(bug)})
                    effects.append(Close(link, CloseCode.INTERNAL, "internal error"))
                if session.close_code is not None:
                    effects.append(Close(link, session.close_code, session.close_reason))
                    session.close_code = None
        return effects
