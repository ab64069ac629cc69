"""Who is connected to this hub: receiving sessions, side sessions, watchers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from trishula_broker.hub.mailbox import Mailbox
from trishula_broker.hub.news import News, Stage
from trishula_protocol.address import HUB
from trishula_protocol.envelope import Envelope
from trishula_protocol.hub_session import HubSession


class Seat(NamedTuple):
    """An agent's receiving session here, with its mailbox."""

    session: HubSession
    mailbox: Mailbox

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self.session.agent

    @property
    def epoch(self) -> int:
        """The registration's epoch."""
        return self.session.epoch


def presence(agent: str, online: bool, node: str, wall: int) -> dict[str, Any]:
    """The announcement that ``agent`` has come to ``node``, or left it."""
    return {
        "event": "presence",
        "agent": agent,
        "online": online,
        "node": node,
        "since": wall,
    }


class Roster:
    """Live sessions by agent."""

    def __init__(self, news: News) -> None:
        self._news = news
        self.seats: dict[str, Seat] = {}
        self.arriving: Counter[str] = Counter()
        """Registrations of each agent that are on their way to the store."""
        self._sessions: dict[str, list[HubSession]] = {}
        self._watchers: dict[int, HubSession] = {}

    def __repr__(self) -> str:
        return f"<Roster seats={len(self.seats)} agents={len(self._sessions)}>"

    def enter(self, session: HubSession) -> None:
        """A session became active."""
        self._sessions.setdefault(session.agent, []).append(session)

    def arrived(self, agent: str) -> None:
        """The store has answered a registration, or failed to."""
        self.arriving[agent] -= 1
        if not self.arriving[agent]:
            del self.arriving[agent]

    def expects(self, agent: str) -> bool:
        """Whether ``agent`` has a seat here or is about to have one."""
        return agent in self.seats or agent in self.arriving

    def exit(self, session: HubSession) -> Seat | None:
        """A session ended; its seat, when it had one."""
        self._watchers.pop(session.link, None)
        sessions = self._sessions.get(session.agent)
        if sessions is not None and session in sessions:
            sessions.remove(session)
            if not sessions:
                del self._sessions[session.agent]
        seat = self.seats.get(session.agent)
        if seat is not None and seat.session is session:
            del self.seats[session.agent]
            return seat
        return None

    def seat_of(self, session: HubSession) -> Seat | None:
        """The seat of this very session."""
        seat = self.seats.get(session.agent)
        return seat if seat is not None and seat.session is session else None

    def receipt(self, sender: str, stage: Stage, by: str, envelope_id: str) -> None:
        """Tell a sender's sessions what became of a message, wherever they are."""
        self.receipt_here(sender, stage, by, envelope_id)
        if sender not in self.seats:
            self._news.receipt(sender, stage, by, envelope_id)

    def receipt_here(self, sender: str, stage: Stage, by: str, envelope_id: str) -> None:
        """Tell a sender's sessions that are here."""
        for session in self._sessions.get(sender, ()):
            session.receipt(stage, by, envelope_id)

    def watch(self, session: HubSession, on: bool) -> None:
        """Begin or end telling ``session`` of presence changes."""
        if on:
            self._watchers[session.link] = session
        else:
            self._watchers.pop(session.link, None)

    def announce(self, change: dict[str, Any], wall: int) -> None:
        """Tell the watchers, wherever they are; nothing is stored."""
        self.announce_here(change, wall)
        self._news.presence(change)

    def announce_here(self, change: dict[str, Any], wall: int) -> None:
        """Tell the watchers that are here."""
        for session in self._watchers.values():
            session.say(Envelope("STATUS", sender=HUB, timestamp=wall, payload=change))

    def live(self) -> Iterable[HubSession]:
        """Every active session."""
        return [session for sessions in self._sessions.values() for session in sessions]
