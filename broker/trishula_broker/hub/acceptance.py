"""An envelope becomes a logged message, or a refusal."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Final

from trishula_broker.hub.commits import Commits, Unavailable
from trishula_broker.hub.delivery import Delivery
from trishula_broker.hub.mailbox import Held
from trishula_broker.hub.notices import full_notice
from trishula_broker.hub.now import Now
from trishula_broker.hub.questions import Questions
from trishula_broker.hub.roster import Roster
from trishula_broker.store import base
from trishula_protocol.address import HUB, Address, Kind, parse_address
from trishula_protocol.codec import decode_json, encode_json
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession
from trishula_protocol.payload import payload_fault, same_value

NAMES_COMPARED: Final = 2_000
"""Names looked at for a suggestion; comparing costs tens of microseconds each."""
NAMES_SHOWN: Final = 3
"""Suggestions: what is not among the nearest few was not meant."""
POST_PRIORITY: Final = 2
"""Of the hub's own mail to operators: before most, behind what is urgent."""
_AGENT: Final = Kind.AGENT  # Python 3.11 is slow to look a member of an Enum up
_ACCEPTED: Final = base.Accepted


class Acceptance:
    """Takes what agents send.

    Args:
        sweep_at: asks for a sweep at a wall-clock time.
        assign: hands out the pool of a capability.
    """

    def __init__(
        self,
        commits: Commits,
        roster: Roster,
        delivery: Delivery,
        questions: Questions,
        sweep_at: Callable[[int, Now], None],
        assign: Callable[[str], None],
    ) -> None:
        self._commits = commits
        self._roster = roster
        self._delivery = delivery
        self._questions = questions
        self._sweep_at = sweep_at
        self._assign = assign
        self.unaccepted_bytes = 0
        """Of all sessions: bodies submitted and not yet decided."""
        self.why_not: str | None = None
        """Why nothing is taken now, when nothing is."""
        self._then = self._decided  # bound once, not once a message

    def accept(self, session: HubSession, envelope: Envelope, now: Now) -> None:
        """Check ``envelope`` and submit it.

        Raises:
            ProtocolError: it is refused; nothing was submitted.
        """
        agent = session.agent
        id_ = envelope.id
        assert id_ is not None
        assert envelope.to is not None
        if self.why_not is not None:
            raise ProtocolError(
                ErrorCode.UNAVAILABLE,
                f"this hub takes no messages now ({self.why_not}); send it again under the same id",
                reply_to=envelope.id,
            )
        address = parse_address(envelope.to)
        settles = envelope.settles
        if settles is not None and not session.receive:
            raise ProtocolError(
                ErrorCode.STALE_ACK,
                f"settles: a side session holds no mail, so it cannot settle {settles}",
                reply_to=envelope.id,
            )
        held = None if settles is None else self._held(session, settles)
        thread = envelope.thread
        reply_to = envelope.reply_to
        if thread is None and reply_to is not None:
            thread = envelope.thread = _thread_of(reply_to, held)
        envelope.sender = agent
        if envelope.timestamp is None:
            envelope.timestamp = now.wall
        # The hub's own fields, whatever the client put there.
        envelope.settles = envelope.seq = envelope.attempt = envelope.expires_in = None
        body = _encode(envelope)
        op = base.Accept(
            agent,
            session.epoch,
            address,
            id_,
            envelope.type,
            envelope.priority,
            thread if thread != id_ else None,
            reply_to,
            envelope.receipt,
            envelope.ttl,
            body,
            settles,
            None
            if address.kind is _AGENT or not address.fans_out
            else full_notice(agent, id_, thread, envelope.to, now.wall),
            None if held is None else held.delivered_at,
        )
        size = len(body)
        session.unaccepted += 1
        session.unaccepted_bytes += size
        self.unaccepted_bytes += size
        self._commits.submit(op, self._then, session)

    def post(
        self, to: Address, id_: str, payload: Any, then: Callable[[str | None, Now], None], now: Now
    ) -> None:
        """Mail of the hub's own, for an agent or a group; the same ``id_`` is one message.

        Args:
            then: called with None once it is stored, else with why it is not.
        """
        body = encode_json(
            Envelope(
                "STATUS",
                id=id_,
                sender=HUB,
                to=str(to),
                timestamp=now.wall,
                priority=POST_PRIORITY,
                payload=payload,
            )
        )
        op = base.Accept(HUB, 0, to, id_, "STATUS", POST_PRIORITY, None, None, False, None, body)
        self._commits.submit(op, self._posted, then)

    def _posted(
        self,
        outcome: base.Outcome | Unavailable,
        op: base.Accept,
        then: Callable[[str | None, Now], None],
        now: Now,
    ) -> None:
        why = None
        if isinstance(outcome, base.Accepted):
            copy = _copy(op, outcome, None)
            for agent in outcome.recipients:
                self._delivery.offer(agent, copy)
        elif isinstance(outcome, Unavailable):
            why = outcome.why
        elif isinstance(outcome, base.Refused):
            why = f"{outcome.code}: {op.address}"
        then(why, now)  # a duplicate was stored before

    def _held(self, session: HubSession, seq: int) -> Held | None:
        seat = self._roster.seats.get(session.agent)
        return None if seat is None else seat.mailbox.held.get(seq)

    def _decided(
        self, outcome: base.Outcome, op: base.Accept, session: HubSession, now: Now
    ) -> None:
        size = len(op.body)
        session.unaccepted -= 1
        session.unaccepted_bytes -= size
        self.unaccepted_bytes -= size
        if type(outcome) is _ACCEPTED:
            self._accepted(outcome, op, session, now)
        elif isinstance(outcome, base.Duplicate):
            if not outcome.body or same_content(outcome.body, op.body):
                session.accepted(op.id)
                if op.settles is not None:
                    # Its first acceptance may have settled nothing, or something else.
                    settle = base.Settle(op.sender, op.epoch, (op.settles,), (op.delivered_at,))
                    self._commits.submit(settle, self._settled_late, (op, session))
            else:
                session.error(
                    ProtocolError(
                        ErrorCode.DUPLICATE_ID,
                        f"id: {op.id!r} was used before with other content; use a new id",
                        reply_to=op.id,
                    ),
                    **_about(op),
                )
        elif isinstance(outcome, base.Refused):
            self._refuse(outcome, op, session)
        elif isinstance(outcome, Unavailable):
            session.error(outcome.error("send it again under the same id", op.id))
        elif isinstance(outcome, base.Fenced):
            self._delivery.fenced(session, outcome, now)

    def _accepted(
        self, outcome: base.Accepted, op: base.Accept, session: HubSession, now: Now
    ) -> None:
        session.accepted(op.id)
        if op.settles is not None:
            self._settled(op, session)
        expires_at = None if op.ttl is None else outcome.accepted_at + op.ttl
        if expires_at is not None:
            self._sweep_at(expires_at, now)
        seats = self._roster.seats
        copy: base.Copy | None = None
        for agent in outcome.recipients:
            seat = seats.get(agent)
            if seat is not None:
                if copy is None:
                    copy = _copy(op, outcome, expires_at)
                self._delivery.offer_here(seat, copy)
        if outcome.notice is not None:
            self._delivery.offer_notice(outcome.notice)
        if outcome.behind and outcome.pool is not None:
            self._assign(outcome.pool)

    def _settled_late(
        self,
        outcome: base.Marked | base.Fenced | Unavailable,
        settle: base.Settle,
        context: tuple[base.Accept, HubSession],
        now: Now,
    ) -> None:
        op, session = context
        if isinstance(outcome, Unavailable):
            if session.live:
                self._commits.retry(settle, self._settled_late, context, now)
        elif isinstance(outcome, base.Marked) and outcome.seqs:
            self._settled(op, session)
        elif isinstance(outcome, base.Marked):
            self._stale(op, session)
        elif isinstance(outcome, base.Fenced):
            self._delivery.fenced(session, outcome, now)

    def _settled(self, op: base.Accept, session: HubSession) -> None:
        if op.settles is None:
            return
        seat = self._roster.seat_of(session)
        if seat is None:
            return
        held = seat.mailbox.release(op.settles)
        if held is None:
            seat.mailbox.remove(op.settles)  # it had not gone out yet, and must not now
        elif held.copy.message.receipt:
            message = held.copy.message
            self._roster.receipt(message.sender, "done", session.agent, message.id)
        session.settled([op.settles])
        self._delivery.stir(seat)

    def _refuse(self, outcome: base.Refused, op: base.Accept, session: HubSession) -> None:
        if outcome.code == "unknown_recipient":
            self._questions.ask(base.Agents(), self._suggest, (op, session))
        elif outcome.code == "mailbox_full":
            session.error(
                ProtocolError(
                    ErrorCode.MAILBOX_FULL,
                    f"to: the mailbox of {', '.join(outcome.agents)} is full; try again later",
                    reply_to=op.id,
                    details={"agents": list(outcome.agents)},
                ),
                **_about(op),
            )
        else:
            self._stale(op, session)

    def _stale(self, op: base.Accept, session: HubSession) -> None:
        session.error(
            ProtocolError(
                ErrorCode.STALE_ACK,
                f"settles: {op.settles} is not yours, or not any more; it was not settled",
                reply_to=op.id,
                details={"seqs": [op.settles]},
            ),
            **_about(op),
        )

    def _suggest(
        self,
        answer: Sequence[base.AgentRecord] | Unavailable,
        context: tuple[base.Accept, HubSession],
        now: Now,
    ) -> None:
        op, session = context
        records = () if isinstance(answer, Unavailable) else answer
        nearest = nearest_addresses(op.address, records)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        what = {
            Kind.GROUP: "has no other member",
            Kind.CAPABILITY: "was never offered by any agent",
        }.get(op.address.kind, "never registered here")
        session.error(
            ProtocolError(
                ErrorCode.UNKNOWN_RECIPIENT,
                f"to: {op.address} {what}{hint}",
                reply_to=op.id,
                details={"nearest": nearest},
            ),
            **_about(op),
        )


def _thread_of(reply_to: str, held: Held | None) -> str:
    """A reply carries the thread on. What it settles is at hand; else what it answers is taken
    for the thread's first message."""
    if held is not None and held.copy.message.id == reply_to:
        return held.copy.message.thread or reply_to
    return reply_to


def _about(op: base.Accept) -> dict[str, Any]:
    return {"type": op.type, "to": str(op.address)}


def _encode(envelope: Envelope) -> bytes:
    try:
        body = encode_json(envelope)
    except RecursionError:
        body = b""
    problem = payload_fault(envelope.payload, body) if body else "payload: nested too deep"
    if problem is not None:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=envelope.id)
    return body


def _copy(op: base.Accept, outcome: base.Accepted, expires_at: int | None) -> base.Copy:
    kind, name = op.address
    message = base.Message(
        outcome.seq,
        op.id,
        op.sender,
        op.type,
        name if kind is _AGENT else str(op.address),
        op.priority,
        op.thread,
        op.receipt,
        outcome.accepted_at,
        expires_at,
        op.body,
    )
    via = name if kind is not _AGENT and kind is Kind.CAPABILITY else None
    return base.Copy(message, 0, 0, via)


def same_content(stored: bytes, sent: bytes) -> bool:
    """Whether an id was used again for the same: type, to, reply_to and the payload's value."""
    if stored == sent:
        return True
    a, b = decode_json(stored), decode_json(sent)
    return (a.type, a.to, a.reply_to) == (b.type, b.to, b.reply_to) and same_value(
        a.payload, b.payload
    )


def nearest_addresses(address: Address, records: Sequence[base.AgentRecord]) -> list[str]:
    """Known addresses of the same kind that look like ``address``, best first."""
    names: set[str] = set()
    for record in records:
        if address.kind is Kind.GROUP:
            names.update(record.groups)
        elif address.kind is Kind.CAPABILITY:
            names.update(record.capabilities)
        elif not record.ephemeral:
            names.add(record.id)
    likely = [name for name in names if abs(len(name) - len(address.name)) <= 4]
    found = difflib.get_close_matches(address.name, likely[:NAMES_COMPARED], NAMES_SHOWN)
    return [str(Address(address.kind, name)) for name in found]
