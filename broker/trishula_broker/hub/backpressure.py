"""Which sockets are read: a session that says more than can be decided soon waits.

Bounds what the hub holds in memory of what it was sent (docs/protocol.md §5, backpressure).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trishula_broker.hub.acceptance import Acceptance
from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.effects import Effect, Pause, Resume
from trishula_broker.hub.now import Now
from trishula_broker.hub.settings import HubSettings
from trishula_protocol.envelope import Envelope
from trishula_protocol.hub_session import HubSession


class Backpressure:
    """Stops reading sockets, and goes on.

    Args:
        act: takes the effects, Pause and Resume.
        resumed: called with a session that is read again; its silence counts from now on.
        heartbeat: what a session hears that is not read.
    """

    def __init__(
        self,
        settings: HubSettings,
        agenda: Agenda,
        acceptance: Acceptance,
        act: Callable[[Effect], None],
        resumed: Callable[[HubSession, Now], None],
        heartbeat: Callable[[Now], Envelope],
    ) -> None:
        self._settings = settings
        self._agenda = agenda
        self._acceptance = acceptance
        self._act = act
        self._resumed = resumed
        self._heartbeat = heartbeat
        self._paused: dict[int, HubSession] = {}
        self._intake: dict[int, tuple[int, int]] = {}
        """link → envelopes and bytes taken while a commit was under way."""
        self._draining = False

    def __len__(self) -> int:
        return len(self._paused)

    def reads(self, session: HubSession) -> bool:
        """Whether its socket is read."""
        return session.link not in self._paused

    def took(self, session: HubSession, count: int, size: int, committing: bool, now: Now) -> None:
        """A frame with ``count`` envelopes, ``size`` bytes, was taken."""
        if committing:
            before, total = self._intake.get(session.link, (0, 0))
            self._intake[session.link] = (before + count, total + size)
        if self._is_flooding(session, 1):
            self.regulate(session, now)

    def decided(self, now: Now) -> None:
        """A commit has ended: what it held up may be read again."""
        self._intake.clear()
        if self._paused:
            for session in list(self._paused.values()):
                self.regulate(session, now)

    def drain(self, sessions: Iterable[HubSession], now: Now) -> None:
        """Nothing is read any more."""
        self._draining = True
        for session in sessions:
            self.regulate(session, now)

    def forget(self, session: HubSession) -> None:
        """The session is over."""
        self._paused.pop(session.link, None)

    def regulate(self, session: HubSession, now: Now) -> None:
        """Stop or go on reading a socket."""
        if session.closed:
            self.forget(session)
            return
        paused = session.link in self._paused
        # Hysteresis: go on at half of what made it stop.
        full = (
            self._is_flooding(session, 2 if paused else 1)
            or session.stalled_at is not None
            or self._draining
        )
        if full and not paused:
            self._paused[session.link] = session
            self._act(Pause(session.link))
            self._beat_later(session, now)
        elif paused and not full:
            self.forget(session)
            self._act(Resume(session.link))
            self._resumed(session, now)

    def _is_flooding(self, session: HubSession, share: int) -> bool:
        """Whether more is undecided of ``session`` than a ``share`` of what it may have.

        Messages until they are accepted; and whatever else it says (settling, asking, what it
        sends along with its registration) while one commit is under way.
        """
        settings = self._settings
        count, size = self._intake.get(session.link, (0, 0))
        return (
            max(session.unaccepted, count) * share >= settings.unaccepted_messages
            or max(session.unaccepted_bytes, size) * share >= settings.unaccepted_bytes
            or self._acceptance.unaccepted_bytes * share >= settings.all_unaccepted_bytes
        )

    def _beat_later(self, session: HubSession, now: Now) -> None:
        due = now.mono + session.heartbeat_ms
        self._agenda.at(due, ("beat", session.link), lambda now: self._beat(session, now))

    def _beat(self, session: HubSession, now: Now) -> None:
        # The client hears that the hub lives although nothing it says is read.
        if session.link in self._paused:
            session.say(self._heartbeat(now))
            self._beat_later(session, now)
