"""How long proven sessions may stay: until their tokens expire, or are taken back.

A token's times are compared with this host's clock, as when it was shown; all else here goes by
the store's. What was revoked is in the store: each node hears of it by hint, and looks for what a
hint did not bring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from trishula_broker.auth.identity import Identity
from trishula_broker.auth.revocations import Revocations
from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.commits import RETRY_MS, Commits, Unavailable
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.hub.questions import Questions
from trishula_broker.hub.standing import Standing, standing_of
from trishula_broker.store import base
from trishula_protocol.errors import CloseCode
from trishula_protocol.hub_session import HubSession

LOOK_MS: Final = 2_000
"""Between looks at what the store has of revocations, while other nodes may add some."""
CLOCK_MS: Final = 60_000
"""An expiry is looked at this often at least: the host's clock may have jumped over it."""

WhenKnown = Callable[[Unavailable | None, Now], None]
"""``then(None, now)`` when it is known what was revoked; else ``then(unavailable, now)``."""


class Tenure:
    """Ends sessions whose tokens count no more.

    Args:
        sessions: all there are, by link.
        revocations: shared with whoever looks at tokens when they are shown; None on a hub
            without keys, which has nothing to look after.
        leeway_ms: how much longer a token counts than it says.
    """

    def __init__(
        self,
        namespace: str,
        sessions: Mapping[int, HubSession],
        revocations: Revocations | None,
        leeway_ms: int,
        membership: Membership,
        commits: Commits,
        questions: Questions,
        agenda: Agenda,
    ) -> None:
        self.ahead_ms = 0
        """The host's clock, less the store's."""
        self._namespace = namespace
        self._sessions = sessions
        self._revocations = revocations
        self._leeway_ms = leeway_ms
        self._membership = membership
        self._commits = commits
        self._questions = questions
        self._agenda = agenda
        self._known = revocations is None
        self._looking = False
        self._waiting: list[WhenKnown] = []
        if revocations is not None:
            agenda.at(0, "revoked", self.look)

    def __repr__(self) -> str:
        return f"<Tenure {self._revocations!r} known={self._known}>"

    # --- expiry ---

    def begin(self, session: HubSession, now: Now) -> None:
        """Watch over the token that ``session`` has now."""
        standing = standing_of(session)
        if standing is not None and standing.identity.expires_at is not None:
            left = standing.identity.expires_at + self._leeway_ms - self.host_wall(now)
            key = ("expiry", session.link)
            due = now.mono + max(0, min(left, CLOCK_MS))
            self._agenda.at(due, key, lambda now: self._expire(session, now))

    def expires_at(self, session: HubSession) -> int | None:
        """When its token says that it expires, by the clock that sessions are told."""
        standing = standing_of(session)
        if standing is None or standing.identity.expires_at is None:
            return None
        return standing.identity.expires_at - self.ahead_ms

    def _expire(self, session: HubSession, now: Now) -> None:
        standing = standing_of(session)
        if session.closed or standing is None:
            return
        ends = standing.identity.expires_at
        if ends is not None and ends + self._leeway_ms <= self.host_wall(now):
            session.close(CloseCode.TOKEN, "your token has expired; come back with a new one")
        else:
            self.begin(session, now)

    def host_wall(self, now: Now) -> int:
        """This host's clock: what tokens are dated by."""
        return now.wall + self.ahead_ms

    # --- revocation ---

    def is_revoked(self, identity: Identity) -> bool:
        """Whether its token was taken back, as far as is known here."""
        return self._revocations is not None and self._revocations.is_revoked(identity)

    def when_known(self, then: WhenKnown, now: Now) -> None:
        """Call ``then`` once it is known what was revoked before this hub began."""
        if self._known:
            then(None, now)
        else:
            self._waiting.append(then)

    def revoke(self, what: base.Revocation) -> int:
        """Take note of what was revoked, and end its sessions; how many they were."""
        self._note(what)
        return self._end_revoked()

    def _note(self, what: base.Revocation) -> bool:
        """Whether it was news."""
        known = self._revocations
        if known is None:
            return False
        if what.token_id:
            return known.revoke_token(self._namespace, what.token_id, what.until)
        return known.revoke_agent(self._namespace, what.agent, what.issued_before, what.until)

    def _end_revoked(self) -> int:
        ended = [session for session in self._sessions.values() if self._is_over(session)]
        for session in ended:
            close_revoked(session)
        return len(ended)

    def _is_over(self, session: HubSession) -> bool:
        standing = standing_of(session)
        return not session.closed and standing is not None and self.is_revoked(standing.identity)

    def issue(self, what: base.Revocation) -> int:
        """Revoke here at once, and have every node know; how many sessions ended here."""
        self._submit(base.Revoke(what))
        return self.revoke(what)

    def introduce(self, agent: str) -> None:
        """Make ``agent`` known: a token was made for it."""
        self._submit(base.Introduce(agent))

    def _submit(self, op: base.Introduce | base.Revoke) -> None:
        self._commits.submit(op, self._noted)

    def _noted(self, outcome: Any, op: base.Operation, context: None, now: Now) -> None:
        if isinstance(outcome, Unavailable):
            self._commits.retry(op, self._noted, None, now)

    def expiry_of(self, token_id: str) -> int | None:
        """Until when revoking a token matters, where a session here has it; None: for ever."""
        ends = {
            standing.identity.expires_at
            for session in self._sessions.values()
            if (standing := standing_of(session)) is not None
            and standing.identity.token_id == token_id
        }
        return max(end for end in ends if end is not None) if ends and None not in ends else None

    def issued_until(self, agent: str, now: Now) -> int:
        """A moment that all tokens of ``agent`` were issued before, as far as is known here: one
        may be of a clock that is ahead of this host's."""
        dated = [
            standing.identity.issued_at
            for session in self._sessions.values()
            if (standing := standing_of(session)) is not None and standing.identity.subject == agent
        ]
        return max(self.host_wall(now), *dated, 0) + 1

    # --- what other nodes revoked ---

    def look(self, now: Now) -> None:
        """See what the store has."""
        if not self._looking and self._revocations is not None:
            self._looking = True
            self._questions.ask(base.Revocations(), self._looked)

    def _look_later(self, now: Now) -> None:
        if not self._membership.alone:
            self.look(now)
        self._agenda.at(now.mono + LOOK_MS, "revoked", self._look_later)

    def _looked(
        self, answer: Sequence[base.Revocation] | Unavailable, context: None, now: Now
    ) -> None:
        self._looking = False
        if isinstance(answer, Unavailable):
            self._agenda.at(now.mono + RETRY_MS, "revoked", self.look)
            self._go_on(answer, now)
            return
        news = sum(self._note(what) for what in answer)
        if news:
            self._end_revoked()
        assert self._revocations is not None
        self._revocations.forget(self.host_wall(now) - self._leeway_ms)
        self._known = True
        self._agenda.at(now.mono + LOOK_MS, "revoked", self._look_later)
        self._go_on(None, now)

    def _go_on(self, outcome: Unavailable | None, now: Now) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(outcome, now)


def close_revoked(session: HubSession) -> None:
    """End a session whose token was taken back."""
    session.close(CloseCode.TOKEN, "your token was revoked; ask your operator for another")


def standing_for(identity: Identity | None) -> Standing | None:
    """What a connection may do of whom that was proven."""
    return None if identity is None else Standing(identity)
