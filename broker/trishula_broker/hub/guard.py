"""Lets through what a proven session may send, and says on it who sent it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from trishula_broker.hub.commits import RETRY_MS, Unavailable
from trishula_broker.hub.now import Now
from trishula_broker.hub.questions import Questions
from trishula_broker.hub.refusals import about
from trishula_broker.hub.roster import Roster
from trishula_broker.hub.standing import Standing, standing_of
from trishula_broker.store import base
from trishula_protocol.address import BROADCAST
from trishula_protocol.envelope import ANSWER_TYPES, AUTH, Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession

LOOKUPS: Final = 64
"""Messages of one session that wait for it to be known whom answers answer; each may be a frame."""

Accept = Callable[[HubSession, Envelope, Now], None]


class Guard:
    """Asked for every message of a proven session, and of no other.

    Who may receive from somebody may answer: an answer goes to whoever sent what it answers, also
    where the token's ``send`` does not name that address. So does a STATUS about it, while the
    session holds it. What that holds is at hand; of what was held earlier the store knows who sent
    it. While the store is asked, what the session sends waits where it may reach the same agent: it
    must not overtake.

    Args:
        accept: takes what is let through.
    """

    def __init__(self, roster: Roster, questions: Questions, accept: Accept) -> None:
        self._roster = roster
        self._questions = questions
        self._accept = accept
        self._waiting: dict[int, list[_Waiting]] = {}
        """link → answers that are looked up and what waits behind them, as they came."""

    def send(self, session: HubSession, envelope: Envelope, now: Now) -> None:
        """Check a message and have it accepted.

        Raises:
            ProtocolError: it is refused.
        """
        waiting = self._waiting.get(session.link)
        if waiting and _meets(envelope, waiting):
            self._wait(session, envelope)
        elif self._is_unclear(session, envelope):
            self._look(session, self._wait(session, envelope))
        else:
            self._let_through(session, envelope, now)

    def _let_through(self, session: HubSession, envelope: Envelope, now: Now) -> None:
        standing = standing_of(session)
        assert standing is not None
        envelope.headers[AUTH] = standing.auth
        self._accept(session, envelope, now)

    def _is_unclear(self, session: HubSession, envelope: Envelope) -> bool:
        """Whether only the store knows if it may be sent.

        Raises:
            ProtocolError: it may not.
        """
        standing = standing_of(session)
        assert standing is not None
        if not standing.limited:
            return False
        standing.check_type(envelope.type)
        to = envelope.to
        assert to is not None
        if standing.may_send(to) or self._answers_held(session, envelope):
            return False
        if envelope.type not in ANSWER_TYPES:
            raise standing.not_allowed(to)
        return True

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

    def _wait(self, session: HubSession, envelope: Envelope) -> _Waiting:
        waiting = self._waiting.setdefault(session.link, [])
        if len(waiting) >= LOOKUPS:
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"to: {LOOKUPS} of your messages wait for it to be known whom answers among them "
                "answer; send it again under the same id",
                reply_to=envelope.id,
                retry_after_ms=RETRY_MS,
            )
        one = _Waiting(envelope)
        waiting.append(one)
        return one

    def _look(self, session: HubSession, one: _Waiting) -> None:
        one.looked_up = True
        assert one.envelope.reply_to is not None
        query = base.Trace(session.agent, one.envelope.reply_to)
        self._questions.ask(query, self._looked, (session, one))

    def _looked(
        self,
        answer: Sequence[base.Traced] | Unavailable,
        context: tuple[HubSession, _Waiting],
        now: Now,
    ) -> None:
        session, one = context
        others = [each for each in self._waiting.pop(session.link, ()) if each is not one]
        if not session.live:
            return  # all of it is sent again
        self._judge(session, one.envelope, answer, now)
        left: list[_Waiting] = []
        for each in others:
            envelope = each.envelope
            if not each.looked_up and not _meets(envelope, left):
                try:
                    if not self._is_unclear(session, envelope):
                        self._let_through(session, envelope, now)
                        continue
                    self._look(session, each)
                except ProtocolError as error:
                    error.reply_to = envelope.id
                    session.error(error, **about(envelope))
                    continue
            left.append(each)
        if left:
            self._waiting[session.link] = left

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


class _Waiting:
    """A message that is not accepted yet."""

    __slots__ = ("envelope", "looked_up")

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.looked_up = False
        """The store is asked whom it answers."""


def _meets(envelope: Envelope, waiting: Iterable[_Waiting]) -> bool:
    """Whether it may reach somebody whom one that waits may reach."""
    to = envelope.to
    several = _may_be_several(to)
    return any(
        several or each.envelope.to == to or _may_be_several(each.envelope.to) for each in waiting
    )


def _may_be_several(to: str | None) -> bool:
    """Whether it is not known here who gets what is sent there."""
    return to is None or to == BROADCAST or to[0] in "#@"


def _received(traced: Sequence[base.Traced], agent: str, sender: str | None) -> bool:
    """Whether ``agent`` has, or had, one of these messages from ``sender``."""
    return any(
        each.message.sender == sender and any(copy.agent == agent for copy in each.copies)
        for each in traced
    )
