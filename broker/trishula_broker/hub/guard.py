"""Lets through what a proven session may send, and says on it who sent it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from trishula_broker.hub.commits import RETRY_MS, Unavailable
from trishula_broker.hub.now import Now
from trishula_broker.hub.questions import Questions
from trishula_broker.hub.refusals import about
from trishula_broker.hub.roster import Roster
from trishula_broker.hub.standing import Standing, standing_of
from trishula_broker.store import base
from trishula_protocol.envelope import ANSWER_TYPES, AUTH, Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession

LOOKUPS: Final = 64
"""Answers of one session that wait for it to be known whom they answer; each may be a frame."""

Accept = Callable[[HubSession, Envelope, Now], None]


class Guard:
    """Asked for every message of a proven session, and of no other.

    Who may receive from somebody may answer: an answer goes to whoever sent what it answers, also
    where the token's ``send`` does not name that address. So does a STATUS about it, while the
    session holds it. What that holds is at hand; of what was held earlier the store knows who sent
    it. While the store is asked, what the session sends to the same address waits: it must not
    overtake.

    Args:
        accept: takes what is let through.
    """

    def __init__(self, roster: Roster, questions: Questions, accept: Accept) -> None:
        self._roster = roster
        self._questions = questions
        self._accept = accept
        self._looking: Counter[int] = Counter()
        """link → answers that wait, and what waits behind them."""
        self._behind: dict[tuple[int, str], list[Envelope]] = {}
        """(link, address) → what waits behind the answer that is looked up there."""

    def send(self, session: HubSession, envelope: Envelope, now: Now) -> None:
        """Check a message and have it accepted.

        Raises:
            ProtocolError: it is refused.
        """
        standing = standing_of(session)
        assert standing is not None
        if self._behind and envelope.to is not None:
            behind = self._behind.get((session.link, envelope.to))
            if behind is not None:
                self._count(session, envelope)
                behind.append(envelope)
                return
        if standing.limited:
            standing.check_type(envelope.type)
            to = envelope.to
            assert to is not None
            if not standing.may_send(to) and not self._answers_held(session, envelope):
                if envelope.type not in ANSWER_TYPES:
                    raise standing.not_allowed(to)
                self._look(session, envelope)
                return
        envelope.headers[AUTH] = standing.auth
        self._accept(session, envelope, now)

    def _answers_held(self, session: HubSession, envelope: Envelope) -> bool:
        """Whether it answers something that ``session`` holds, to whoever sent that."""
        seat = self._roster.seat_of(session)
        if envelope.type == "COMMAND" or envelope.reply_to is None or seat is None:
            return False
        held = seat.mailbox.held
        if envelope.settles is not None:
            one = held.get(envelope.settles)
            if one is not None:
                return one.copy.message.sender == envelope.to
        return any(
            each.copy.message.id == envelope.reply_to and each.copy.message.sender == envelope.to
            for each in held.values()
        )

    def _count(self, session: HubSession, envelope: Envelope) -> None:
        if self._looking[session.link] >= LOOKUPS:
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"to: {LOOKUPS} of your answers wait for it to be known whom they answer; "
                "send it again under the same id",
                reply_to=envelope.id,
                retry_after_ms=RETRY_MS,
            )
        self._looking[session.link] += 1

    def _look(self, session: HubSession, envelope: Envelope) -> None:
        self._count(session, envelope)
        assert envelope.reply_to is not None
        assert envelope.to is not None
        self._behind[session.link, envelope.to] = []
        query = base.Trace(session.agent, envelope.reply_to)
        self._questions.ask(query, self._looked, (session, envelope))

    def _looked(
        self,
        answer: Sequence[base.Traced] | Unavailable,
        context: tuple[HubSession, Envelope],
        now: Now,
    ) -> None:
        session, envelope = context
        assert envelope.to is not None
        behind = self._behind.pop((session.link, envelope.to))
        self._looking[session.link] -= 1 + len(behind)
        if not self._looking[session.link]:
            del self._looking[session.link]
        self._judge(session, envelope, answer, now)
        for each in behind:
            if session.live:
                try:
                    self.send(session, each, now)
                except ProtocolError as error:
                    error.reply_to = each.id
                    session.error(error, **about(each))

    def _judge(
        self,
        session: HubSession,
        envelope: Envelope,
        answer: Sequence[base.Traced] | Unavailable,
        now: Now,
    ) -> None:
        standing = standing_of(session)
        if not session.live or standing is None:
            return  # it is sent again
        try:
            if isinstance(answer, Unavailable):
                raise answer.error("send it again under the same id", envelope.id)
            if not _received(answer, session.agent, envelope.to):
                raise self._unanswerable(session, standing, envelope)
            envelope.headers[AUTH] = standing.auth
            self._accept(session, envelope, now)
        except ProtocolError as error:
            error.reply_to = envelope.id
            session.error(error, **about(envelope))

    def _unanswerable(
        self, session: HubSession, standing: Standing, envelope: Envelope
    ) -> ProtocolError:
        """What an answer is refused with that is none to whom it is sent."""
        seat = self._roster.seat_of(session)
        settles = envelope.settles
        if settles is None or (seat is not None and settles in seat.mailbox.held):
            assert envelope.to is not None
            return standing.not_allowed(envelope.to)
        # It may have been its mail, and be another's now: that is nobody's fault.
        return ProtocolError(
            ErrorCode.STALE_ACK,
            f"settles: {settles} is not yours, or not any more; it was not settled",
            details={"seqs": [settles]},
        )


def _received(traced: Sequence[base.Traced], agent: str, sender: str | None) -> bool:
    """Whether ``agent`` has, or had, one of these messages from ``sender``."""
    return any(
        each.message.sender == sender and any(copy.agent == agent for copy in each.copies)
        for each in traced
    )
