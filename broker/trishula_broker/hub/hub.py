"""The hub of one namespace: events and the time in, operations and effects out.

Start reading here; docs/architecture.md shows the whole way of a message. This class only
hands things on: what arrives to :mod:`.intake`, who gets in is :mod:`.registration`, what is
sent :mod:`.acceptance`, what goes out :mod:`.delivery`, what recipients say :mod:`.settlement`,
what time makes due :mod:`.duties`, what agents ask :mod:`.operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from trishula_broker.auth.identity import Identity
from trishula_broker.auth.revocations import Revocations
from trishula_broker.hub.acceptance import Acceptance
from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.backpressure import Backpressure
from trishula_broker.hub.commits import Commits
from trishula_broker.hub.counts import Counts
from trishula_broker.hub.delivery import Delivery, HandedOut
from trishula_broker.hub.duties import Duties
from trishula_broker.hub.effects import Effect
from trishula_broker.hub.fencing import Fencing
from trishula_broker.hub.folder_mode import FolderMode
from trishula_broker.hub.guard import Guard
from trishula_broker.hub.hearing import Hearing
from trishula_broker.hub.intake import Intake
from trishula_broker.hub.liveness import Liveness
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.news import News
from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Desk
from trishula_broker.hub.outlet import Outlet
from trishula_broker.hub.questions import Question, Questions
from trishula_broker.hub.rates import Rates
from trishula_broker.hub.refusals import Refusals, who
from trishula_broker.hub.registration import Registration
from trishula_broker.hub.roster import Roster
from trishula_broker.hub.settings import HubSettings
from trishula_broker.hub.settlement import Settlement
from trishula_broker.hub.taps import Taps
from trishula_broker.hub.tenure import Tenure, close_revoked, standing_for
from trishula_broker.store import base
from trishula_protocol import limits
from trishula_protocol.address import Address
from trishula_protocol.codec import Codec, Item
from trishula_protocol.errors import CloseCode, ProtocolError
from trishula_protocol.hub_session import HubSession

CLOCK_APART_MS: Final = 5_000
"""The host's clock is worth a log line when it is further than this from the store's."""
FROZEN_MS: Final = 1_000
"""A timer this late means that the process itself stood still: silence then proves nothing."""


class Hub:
    """Every session of one namespace on this node.

    Args:
        namespace: whose agents these are; addresses never leave it.
        node: this process's name.
        role: ``primary`` or ``failover``, told to clients; of nodes that share a store the
            primary leads.
        life: names this run of the process; sessions of other lives of ``node`` are over.
        address: where clients find this node, for people.
        settings: limits.
        identify: who a token proves somebody to be, for sessions that bring a new one; None on a
            hub without keys. Raises TokenRefused.
        revocations: what was taken back, shared with whoever looks at tokens before they come
            here; None on a hub without keys.
        handed_out: told what goes out, for whoever follows messages; None when nobody does.
    """

    def __init__(
        self,
        *,
        namespace: str,
        node: str,
        role: str,
        life: str = "",
        address: str = "",
        settings: HubSettings | None = None,
        identify: Callable[[str], Identity] | None = None,
        revocations: Revocations | None = None,
        handed_out: HandedOut | None = None,
    ) -> None:
        self._settings = settings or HubSettings()
        self._sessions: dict[int, HubSession] = {}
        self.counts = Counts()
        """What it has done, for whoever measures it."""
        self._outlet = Outlet()
        self._draining = False
        self._clock_apart = False
        self._led = False
        self._agenda = Agenda()
        self._commits = Commits(self._agenda, self._settings.patience_ms)
        self._questions = Questions()
        self._membership = Membership(
            node,
            life,
            role,
            address,
            self._settings,
            self._commits,
            self._agenda,
            self._disowned,
            self._leading,
            lambda order, now: self._folder_mode.learn(order, now),
        )
        self._time = self._membership.time
        self._news = News(self._membership, self._commits)
        self._roster = Roster(self._news)
        self._folder_mode = FolderMode(self._membership, self._roster, self._outlet)
        fencing = Fencing(self._questions, self._roster, self._agenda)
        self._delivery = Delivery(
            self._commits,
            self._roster,
            self._agenda,
            self._membership,
            fencing,
            self._settings,
            self.counts,
            handed_out,
        )
        self._duties = Duties(
            self._membership,
            self._commits,
            self._roster,
            self._delivery,
            self._questions,
            self._agenda,
        )
        self._acceptance = Acceptance(
            self._commits,
            self._roster,
            self._delivery,
            self._questions,
            self._duties.sweep_at,
            self._duties.assign,
        )
        self._liveness = Liveness(self._agenda, lambda session: self._backpressure.reads(session))
        self._backpressure = Backpressure(
            self._settings,
            self._agenda,
            self._acceptance,
            self._outlet.act,
            self._liveness.resumed,
            self._membership.heartbeat,
        )
        settlement = Settlement(self._commits, self._roster, self._delivery)
        self._refusals = Refusals(self._agenda, self._outlet.record, self.counts.errors)
        accept = self._acceptance.accept
        if self._settings.messages_per_s:
            accept = Rates(
                self._settings.messages_per_s, self._settings.messages_burst, accept
            ).accept
        self._tenure = Tenure(
            namespace,
            self._sessions,
            revocations,
            self._settings.leeway_ms,
            self._membership,
            self._commits,
            self._questions,
            self._agenda,
        )
        self._registration = Registration(
            namespace,
            role,
            self._settings,
            self._membership,
            self._commits,
            self._questions,
            self._agenda,
            self._roster,
            self._delivery,
            self._duties,
            self._tenure,
            self._activated,
            self._outlet,
        )
        self._taps = Taps(
            self._membership, self._commits, self._roster, self._agenda, self._settings
        )
        self._hearing = Hearing(
            self._commits,
            self._roster,
            self._delivery,
            fencing,
            self._duties.sweep_at,
            self._taps,
            self._tenure,
        )
        desk = Desk(
            node,
            self._commits,
            self._questions,
            self._roster,
            self._delivery,
            self._duties.assign,
            self._duties.assigned,
            self._taps,
            self._tenure,
            self._registration,
            self._folder_mode,
            self._outlet.record,
            identify,
        )
        self._intake = Intake(
            accept,
            Guard(self._roster, self._questions, accept),
            settlement,
            self._membership,
            self._registration,
            desk,
        )
        self._agenda.at(0, "sweep", self._duties.sweep)

    def __repr__(self) -> str:
        return (
            f"<Hub sessions={len(self._sessions)} {self._roster!r} commits={len(self._commits)} "
            f"paused={len(self._backpressure)}{' draining' if self._draining else ''}>"
        )

    # --- connections ---

    def connect(
        self, link: int, codec: Codec, peer: str, identity: Identity | None, now: Now
    ) -> None:
        """A connection is open; ``link`` names it from now on.

        ``identity`` is who it was proven to be; None on a hub without keys, where everybody may be
        whom they say, and may do everything.
        """
        now = self._host_time(now)
        session = HubSession(
            link, codec, peer, self._outlet.sessions, self._outlet.troubled, now.mono
        )
        session.standing = standing_for(identity)
        self._sessions[link] = session
        if self._draining:
            session.close(CloseCode.RESTART, "this hub is draining; try the next one")
        elif identity is not None and self._tenure.is_revoked(identity):
            close_revoked(session)
        else:
            self._liveness.watch(session, now)
            self._tenure.begin(session, now)
        self._advance(now)

    def disconnect(self, link: int, reason: str, now: Now) -> None:
        """The connection is gone."""
        now = self._time(now)
        session = self._sessions.pop(link, None)
        if session is not None:
            self._backpressure.forget(session)
            session.lost()
            self._end(session, reason, now)
            self._advance(now)

    def writable(self, link: int, yes: bool, now: Now) -> None:
        """The transport takes no more for now, or takes more again."""
        now = self._time(now)
        session = self._sessions.get(link)
        if session is None:
            return
        if yes:
            session.stalled_at = None
            session.touch()
            seat = self._roster.seat_of(session)
            if seat is not None:
                self._delivery.stir(seat)
        elif session.stalled_at is None:
            session.stalled_at = now.mono
        self._backpressure.regulate(session, now)
        self._liveness.watch(session, now)
        self._advance(now)

    # --- what arrives ---

    def receive(self, link: int, items: Sequence[Item], size: int, now: Now) -> None:
        """A frame of ``size`` bytes arrived with these envelopes."""
        now = self._time(now)
        session = self._sessions.get(link)
        if session is None or session.closed:
            return
        session.heard_at = now.mono
        session.bad_frames = 0
        self._intake.take(session, items, now)
        self._backpressure.took(session, len(items), size, bool(self._commits), now)
        self._advance(now)

    def unreadable(self, link: int, error: ProtocolError, now: Now) -> None:
        """A frame arrived that does not parse."""
        now = self._time(now)
        session = self._sessions.get(link)
        if session is None or session.closed:
            return
        session.heard_at = now.mono
        session.bad_frames += 1
        session.error(error)
        if session.bad_frames >= limits.BAD_FRAMES:
            session.close(CloseCode.PROTOCOL, f"{limits.BAD_FRAMES} unreadable frames in a row")
        self._advance(now)

    def alive(self, link: int, now: Now) -> None:
        """A ping or pong arrived."""
        session = self._sessions.get(link)
        if session is not None:
            session.heard_at = now.mono

    def _activated(self, session: HubSession, items: list[Item], now: Now) -> None:
        self._liveness.watch(session, now)
        self._intake.take(session, items, now)

    # --- the store ---

    def ops_to_commit(self, ahead: bool = False) -> list[base.Operation]:
        """The next batch; empty while one is in flight. With ``ahead`` not even then, for a
        caller who knows that it is durable and says so next (:meth:`committed`)."""
        return self._commits.take(ahead)

    def committed(self, outcomes: Sequence[base.Outcome], now: Now) -> None:
        """The batch in flight is durable; ``outcomes`` are in its order."""
        now = self._time(now)
        self._commits.committed(outcomes, now)
        self._hearing.decided(now)
        self._backpressure.decided(now)
        self._advance(now)

    def commit_failed(self, why: str, now: Now) -> None:
        """The batch in flight failed; what was applied of it is unknown."""
        now = self._time(now)
        self._delivery.doubt_all(now)
        self._commits.failed(why, now)
        self._hearing.decided(now)
        self._backpressure.decided(now)
        self._advance(now)

    def questions(self) -> list[Question]:
        """What to ask the store now."""
        return self._questions.take()

    def answered(self, question: Question, answer: Any, now: Now) -> None:
        """The store answered."""
        now = self._time(now)
        self._questions.answered(question, answer, now)
        self._advance(now)

    def question_failed(self, question: Question, why: str, now: Now) -> None:
        """The store could not answer."""
        now = self._time(now)
        self._questions.failed(question, why, now)
        self._advance(now)

    # --- tokens ---

    def introduce(self, agent: str, now: Now) -> None:
        """A token was made for ``agent``: make it known as an address, when it is not."""
        self._tenure.introduce(agent)
        self._advance(self._time(now))

    def revoke(self, what: base.Revocation, now: Now) -> None:
        """Tokens were taken back: end their sessions, here and on every other node."""
        self._tenure.issue(what)
        self._advance(self._time(now))

    # --- the hub's own mail ---

    def post(
        self, to: Address, id_: str, payload: Any, then: Callable[[str | None, Now], None], now: Now
    ) -> None:
        """Send a STATUS of the hub's own; see :meth:`.acceptance.Acceptance.post`."""
        now = self._time(now)
        self._acceptance.post(to, id_, payload, then, now)
        self._advance(now)

    # --- other nodes ---

    @property
    def leads(self) -> bool:
        """Whether this node has the duties of the namespace."""
        return self._membership.lead != 0

    def hinted(self, hints: Sequence[base.Hint], now: Now) -> None:
        """What others committed for agents that are here, and what their cores tell."""
        now = self._time(now)
        self._hearing.hear(hints, now)
        self._advance(now)

    def _disowned(self, given_up: bool, now: Now) -> None:
        node, sessions = self._membership.node, len(self._roster.seats)
        if not given_up:
            why = "another process says that it is this node: give each hub a name of its own"
            self._outlet.note("node_name_taken", {"node": node, "sessions": sessions, "why": why})
        elif sessions:
            why = "this hub did not reach its store for too long; its agents come back"
            self._outlet.note("given_up", {"node": node, "sessions": sessions, "why": why})
        self._registration.disowned()

    def _leading(self, now: Now) -> None:
        self.counts.leading += 1
        self._outlet.note("leading", {"lead": self._membership.lead})
        self._duties.sweep(now)

    # --- time ---

    def next_timeout(self) -> int | None:
        """When :meth:`timeout` wants to be called (mono)."""
        return self._agenda.next()

    def timeout(self, now: Now) -> None:
        """Do what is due."""
        now = self._host_time(now)
        self._compare_clocks(self._tenure.ahead_ms)
        due = self._agenda.next()
        if due is not None and due > 0 and now.mono - due > FROZEN_MS:
            for session in self._sessions.values():
                session.heard_at = now.mono
            self._membership.frozen(now, now.mono - due)
        for task in self._agenda.due(now.mono):
            task(now)
        self._advance(now)
        leads = self.leads
        if self._led and not leads and not self._draining:
            self._outlet.note("lead_lost", {"leader": self._membership.leader})
        self._led = leads

    def _host_time(self, now: Now) -> Now:
        wall = now.wall
        now = self._time(now)
        self._tenure.ahead_ms = wall - now.wall
        return now

    def _compare_clocks(self, ahead_ms: int) -> None:
        apart = abs(ahead_ms) > CLOCK_APART_MS
        if apart and not self._clock_apart:
            self._outlet.note("clock_apart", {"ahead_of_the_store_ms": ahead_ms})
        self._clock_apart = apart

    # --- the end ---

    def accepting(self, why: str | None, now: Now) -> None:
        """Refuse new messages while ``why`` says what is in the way; deliveries and settlements
        go on. None takes messages again."""
        self._acceptance.why_not = self._membership.why_not = why
        self._advance(self._time(now))

    def drain(self, now: Now) -> None:
        """Accept nothing more; close every session once what was taken is decided."""
        now = self._time(now)
        self._draining = True
        self._membership.leave(now)
        self._backpressure.drain(self._sessions.values(), now)
        self._advance(now)

    @property
    def drained(self) -> bool:
        """Nothing is left to do."""
        return self._draining and not self._commits and not self._roster.live()

    def _end(self, session: HubSession, reason: str, now: Now) -> None:
        self._refusals.end(session, now)
        self._outlet.record(
            "disconnected",
            {
                **who(session),
                "session": session.session,
                "why": reason,
                "code": session.close_code,
                "lasted_ms": now.mono - session.since,
            },
        )
        self._liveness.forget(session)
        for key in (
            "beat",
            "note",
            "more",
            "fetch",
            "due",
            "lease",
            "fenced",
            "expiry",
            "narrow",
        ):
            self._agenda.cancel((key, session.link))
        self._taps.end(session, now)
        self._registration.end(session, reason, now)

    # --- what comes out ---

    def _advance(self, now: Now) -> None:
        """Deliver what can be, and let go of sessions that were closed."""
        self._delivery.run(now)
        self._news.tell()
        if self._draining and not self._commits and not self._questions:
            for session in self._sessions.values():
                session.close(CloseCode.RESTART, "this hub restarts; come back or use the next")
        # Of those with something to say there may be thousands, and this is for every frame.
        if self._outlet.troubled:
            self._let_go(now)
        if self._draining and not (self._sessions or self._commits or self._questions):
            self._membership.end()

    def _let_go(self, now: Now) -> None:
        troubled = self._outlet.troubled
        for session in troubled:  # more may add themselves
            if session.errors:
                self._refusals.take(session, now)
            if session.closed and self._sessions.pop(session.link, None) is not None:
                self._backpressure.forget(session)
                self._end(session, session.close_reason, now)
        troubled.clear()

    def effects(self) -> list[Effect]:
        """What is to be done now, in order."""
        return self._outlet.empty()

    def describe(self, now: Now) -> dict[str, Any]:
        """What ``/health`` tells of this namespace; who leads only where that is known."""
        sure = self._membership.sure(now)
        return {
            "sessions": len(self._sessions),
            "agents_online": len(self._roster.seats),
            "unsettled": sum(len(seat.mailbox.held) for seat in self._roster.seats.values()),
            "commits_waiting": len(self._commits),
            "paused": len(self._backpressure),
            "leader": self._membership.leader if sure else "",
            "lead": self._membership.lead if sure else 0,
            "alone": self._membership.alone,
            "folder_mode": self._folder_mode.describe(),
        }
