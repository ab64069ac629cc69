"""How a session begins, is taken over, and ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.commits import RETRY_MS, Commits, Unavailable
from trishula_broker.hub.delivery import Delivery
from trishula_broker.hub.duties import SWEEP_SOON_MS, Duties
from trishula_broker.hub.mailbox import Mailbox
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.hub.outlet import Outlet
from trishula_broker.hub.questions import Questions
from trishula_broker.hub.refusals import who
from trishula_broker.hub.roster import Roster, Seat, presence
from trishula_broker.hub.settings import HubSettings
from trishula_broker.hub.standing import Standing, forbidden, standing_of
from trishula_broker.hub.tenure import Tenure, close_revoked
from trishula_broker.store import base
from trishula_protocol import bodies, limits
from trishula_protocol.address import HUB, agent_fault
from trishula_protocol.codec import Item
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import CloseCode, ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession

REGISTER_FIRST: Final = "the first envelope must be a COMMAND to hub with payload.op register"


class Registration:
    """Lets sessions in and out.

    Args:
        activated: called with a session that became active and the items it sent meanwhile.
        outlet: takes log lines, and records for the audit.
    """

    def __init__(
        self,
        namespace: str,
        role: str,
        settings: HubSettings,
        membership: Membership,
        commits: Commits,
        questions: Questions,
        agenda: Agenda,
        roster: Roster,
        delivery: Delivery,
        duties: Duties,
        tenure: Tenure,
        activated: Callable[[HubSession, list[Item], Now], None],
        outlet: Outlet,
    ) -> None:
        self._namespace = namespace
        self._role = role
        self._settings = settings
        self._membership = membership
        self._commits = commits
        self._questions = questions
        self._agenda = agenda
        self._roster = roster
        self._delivery = delivery
        self._duties = duties
        self._tenure = tenure
        self._activated = activated
        self._outlet = outlet
        self._registrations = 0

    def register(self, session: HubSession, envelope: Envelope, now: Now) -> None:
        """Check a registration and submit it.

        Raises:
            ProtocolError: it is refused; the session is as it was.
        """
        request = self._parse(envelope)
        standing = standing_of(session)
        if standing is not None:
            _check(standing, request)
        if request.receive and self._membership.reads_old(now):
            # Where it is now it would be taken over, and stay away: nobody is here.
            session.close(CloseCode.RESTART, "this hub stood still; come back")
            return
        session.registering(request)

        def go_on(unavailable: Unavailable | None, now: Now) -> None:
            if session.closed:
                pass  # it left while this node did not know whether it may let anybody in
            elif unavailable is not None:
                self._refuse(session, envelope.id, unavailable)
            elif standing is not None and self._tenure.is_revoked(standing.identity):
                close_revoked(session)
            else:
                self._submit(session, envelope.id, request, now)

        def sure(unavailable: Unavailable | None, now: Now) -> None:
            if standing is None or unavailable is not None:
                go_on(unavailable, now)
            else:
                self._tenure.when_known(go_on, now)

        self._membership.when_sure(sure, now)

    def _submit(
        self, session: HubSession, reply_to: str | None, request: bodies.Register, now: Now
    ) -> None:
        self._registrations += 1
        replaced = None
        if request.receive:
            # From here on the seat that is replaced is handed nothing more (Delivery.run): what
            # it holds unread is known now.
            self._roster.arriving[request.agent] += 1
            replaced = self._roster.seats.get(request.agent)
        name = f"{self._membership.node}-{now.wall:x}-{self._registrations:x}"
        self._commits.submit(
            base.Register(
                request.agent,
                self._membership.node,
                name,
                request.receive,
                request.ephemeral,
                request.lease_ms,
                None
                if request.capabilities is None
                else tuple(dict.fromkeys(request.capabilities)),
                None if request.groups is None else tuple(dict.fromkeys(request.groups)),
                0 if replaced is None else replaced.epoch,
                () if replaced is None else replaced.mailbox.unread,
                request.folder,
            ),
            self._registered,
            (session, reply_to, request),
        )

    def _parse(self, envelope: Envelope) -> bodies.Register:
        payload = envelope.payload
        if (
            envelope.type != "COMMAND"
            or envelope.to != HUB
            or not isinstance(payload, dict)
            or payload.get("op") != "register"
        ):
            raise ProtocolError(ErrorCode.NOT_REGISTERED, REGISTER_FIRST, reply_to=envelope.id)
        try:
            request = msgspec.convert(payload, bodies.Register)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE, f"payload: {error}", reply_to=envelope.id
            ) from error
        problem = agent_fault(request.agent)
        if problem is not None:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE,
                f"payload.agent: {request.agent[:80]!r} {problem}",
                reply_to=envelope.id,
            )
        if envelope.sender is not None and envelope.sender != request.agent:
            raise ProtocolError(
                ErrorCode.FORBIDDEN,
                f"from: it is {request.agent} that registers; leave it out",
                reply_to=envelope.id,
            )
        return request

    def _registered(
        self,
        outcome: base.Registered | Unavailable,
        op: base.Register,
        context: tuple[HubSession, str | None, bodies.Register],
        now: Now,
    ) -> None:
        session, reply_to, request = context
        if op.receive:
            self._roster.arrived(op.agent)
        if isinstance(outcome, Unavailable):
            if op.receive:
                self._look_after(op.agent)
                older = self._roster.seats.get(op.agent)
                if older is not None:
                    self._delivery.stir(older)
            if not session.closed:
                self._refuse(session, reply_to, outcome)
            return
        if session.closed:
            # It left, or was told to, before the store had answered. Whoever it replaced is not
            # taken over, for nobody is there; an SDK told so would stay away.
            if outcome.epoch:
                self._replace(op.agent, CloseCode.RESTART, "a registration since gone; come back")
                self._leave(op.agent, outcome.epoch, ())
            return
        if outcome.epoch:
            self._replace(op.agent, CloseCode.TAKEN_OVER, "a newer registration took over")
        session.activate(op.session, outcome.epoch, request.heartbeat_ms)
        session.prefetch = min(session.prefetch, self._settings.prefetch)
        self._roster.enter(session)
        session.answer(
            reply_to,
            bodies.Registered(
                op.agent,
                self._namespace,
                self._membership.node,
                self._role,
                op.session,
                request.heartbeat_ms,
                now.wall,
                bodies.SessionLimits(self._settings.frame_bytes, limits.BATCH, session.prefetch),
                self._tenure.expires_at(session),
                self._membership.folder_order is not None,
            ),
        )
        self._outlet.record(
            "connected", {**who(session), "session": op.session, "receive": op.receive}
        )
        standing = standing_of(session)
        if standing is not None:
            self.narrow(standing, op.agent, outcome.capabilities, outcome.groups)
        self._outlet.note(
            "registered",
            {"agent": op.agent, "link": session.link, "peer": session.peer, "epoch": outcome.epoch},
        )
        seat = None
        if outcome.epoch:
            seat = Seat(session, Mailbox(session.prefetch, self._settings))
            self._roster.seats[op.agent] = seat
            self._delivery.stir(seat)
            self._announce(op.agent, True, now, outcome.capabilities, outcome.groups)
            if not self._membership.alone:
                # What waits for it and may expire was another node's concern until now.
                self._duties.sweep_at(now.wall + SWEEP_SOON_MS, now)
        # Of a side session too: it may have told of capabilities for one that is online.
        for capability in outcome.pools:
            if seat is None:
                self._duties.assign(capability)
            else:
                self._duties.assign_first(capability, seat)
        waiting, session.waiting = session.waiting, []
        self._activated(session, waiting, now)

    def narrow(
        self,
        standing: Standing,
        agent: str,
        capabilities: tuple[str, ...],
        groups: tuple[str, ...],
    ) -> None:
        """Take ``agent`` out of what its token does not allow it to be reached by: an earlier one
        may have. An observer's token changes nothing."""
        if standing.identity.role == "observer":
            return
        left = standing.allowed("@", capabilities), standing.allowed("#", groups)
        if left != (capabilities, groups):
            node, lease_ms = self._membership.node, limits.LEASE_DEFAULT_MS
            op = base.Register(agent, node, "", False, False, lease_ms, *left)
            self._commits.submit(op, self._narrowed)

    def narrow_again(self, session: HubSession) -> None:
        """The same for a session that goes on under another token."""
        self._questions.ask(base.Agents(id=session.agent), self._seen, session)

    def _seen(
        self, found: Sequence[base.AgentRecord] | Unavailable, session: HubSession, now: Now
    ) -> None:
        standing = standing_of(session)
        if session.closed or standing is None:
            return  # its next registration sees to that
        if isinstance(found, Unavailable):
            due = now.mono + RETRY_MS
            key = ("narrow", session.link)
            self._agenda.at(due, key, lambda _: self.narrow_again(session))
            return
        for record in found:
            self.narrow(standing, record.id, record.capabilities, record.groups)

    def _narrowed(self, outcome: base.Outcome, op: base.Register, context: None, now: Now) -> None:
        if isinstance(outcome, Unavailable):
            self._commits.retry(op, self._narrowed, None, now)

    def _refuse_waiting(self, session: HubSession) -> None:
        waiting, session.waiting = session.waiting, []
        for item in waiting:
            # What was refused already was answered when it came; what has no id (HEARTBEAT, mostly
            # ACK) is said again by every client, and an answer to nothing would be taken for the
            # registration's.
            if isinstance(item, Envelope) and item.id is not None:
                session.error(
                    ProtocolError(
                        ErrorCode.UNAVAILABLE,
                        "the registration before it failed; register again, then send it again "
                        "under the same id",
                        reply_to=item.id,
                    )
                )

    def _refuse(self, session: HubSession, reply_to: str | None, outcome: Unavailable) -> None:
        session.refused()
        session.error(outcome.error("register again", reply_to))
        self._refuse_waiting(session)

    def _look_after(self, agent: str) -> None:
        """Nobody heard what became of a registration: see that no session is without anybody.

        The store would think that ``agent`` is online, and hand it mail for its capabilities.
        """
        self._questions.ask(base.Agents(id=agent), self._looked_after, agent)

    def _looked_after(
        self, answer: Sequence[base.AgentRecord] | Unavailable, agent: str, now: Now
    ) -> None:
        if isinstance(answer, Unavailable):
            due = now.mono + RETRY_MS
            self._agenda.at(due, ("registered", agent), lambda _: self._look_after(agent))
            return
        if agent in self._roster.arriving:
            return  # that one is newer
        seat = self._roster.seats.get(agent)
        for record in answer:
            newer = seat is None or seat.epoch < record.epoch
            if record.online and record.node == self._membership.node and newer:
                self._replace(agent, CloseCode.RESTART, "a registration since gone; come back")
                self._leave(agent, record.epoch, ())

    def disowned(self) -> None:
        """The store has ended every session of this node."""
        for agent in list(self._roster.seats):
            self._replace(agent, CloseCode.RESTART, "this hub was given up for dead; come back")

    def _replace(self, agent: str, code: CloseCode, reason: str) -> None:
        """The store knows a newer registration: the seat that is here is not one any more."""
        older = self._roster.seats.get(agent)
        if older is not None:
            older.session.close(code, reason)
            self._roster.exit(older.session)

    def end(self, session: HubSession, reason: str, now: Now) -> None:
        """``session`` is over, whoever ended it; safe to call twice."""
        seat = self._roster.exit(session)
        if seat is not None:
            unread = seat.mailbox.unread
            self._leave(session.agent, session.epoch, unread)
        if session.agent and session.session:
            self._outlet.note(
                "session_ended",
                {
                    "agent": session.agent,
                    "link": session.link,
                    "reason": reason,
                    "lasted_ms": now.mono - session.since,
                },
            )
            session.session = ""

    def _leave(self, agent: str, epoch: int, unread: tuple[int, ...]) -> None:
        self._commits.submit(base.Leave(agent, epoch, unread), self._left, False)

    def _left(
        self,
        outcome: base.Left | base.Fenced | Unavailable,
        op: base.Leave,
        again: bool,
        now: Now,
    ) -> None:
        if isinstance(outcome, Unavailable):
            self._commits.retry(op, self._left, True, now)
        elif isinstance(outcome, base.Left):
            self._announce(op.agent, False, now, None, None)
            if outcome.sweep_at is not None:
                self._duties.sweep_at(outcome.sweep_at, now)
        elif again and not outcome.epoch:
            # It was applied when nobody heard of it.
            self._announce(op.agent, False, now, None, None)
            self._duties.sweep(now)

    def _announce(
        self,
        agent: str,
        online: bool,
        now: Now,
        capabilities: tuple[str, ...] | None,
        groups: tuple[str, ...] | None,
    ) -> None:
        change = presence(agent, online, self._membership.node, now.wall)
        if capabilities is not None:
            change["capabilities"] = capabilities
        if groups is not None:
            change["groups"] = groups
        self._roster.announce(change, now.wall)


def _check(standing: Standing, request: bodies.Register) -> None:
    """See that a token allows a registration.

    Raises:
        ProtocolError: ``forbidden``.
    """
    identity = standing.identity
    if request.agent != identity.subject:
        why = f"your token is not for {request.agent}"
        raise forbidden("payload.agent", why, (identity.subject,))
    if identity.role == "observer":
        # It looks on: to be there for mail, or to be an address for long, would change something.
        if request.receive:
            raise forbidden("payload.receive", "an observer's token receives nothing", ("false",))
        if request.groups or request.capabilities:
            field = "groups" if request.groups else "capabilities"
            raise forbidden(f"payload.{field}", "an observer's token is reached by none", ())
        request.ephemeral = True
    standing.check_tags(request.groups, request.capabilities)
