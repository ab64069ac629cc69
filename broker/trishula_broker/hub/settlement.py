"""What recipients say of their mail: done, read, rejected."""

from __future__ import annotations

from typing import Any

import msgspec

from trishula_broker.hub.commits import Commits, Unavailable
from trishula_broker.hub.delivery import Delivery
from trishula_broker.hub.notices import notice
from trishula_broker.hub.now import Now
from trishula_broker.hub.roster import Roster, Seat
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.address import HUB
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession


class Settlement:
    """Takes the ACKs of receiving sessions."""

    def __init__(self, commits: Commits, roster: Roster, delivery: Delivery) -> None:
        self._commits = commits
        self._roster = roster
        self._delivery = delivery

    def acknowledge(self, session: HubSession, envelope: Envelope, now: Now) -> None:
        """Check an ACK and submit what it says.

        Raises:
            ProtocolError: it is refused; nothing was submitted.
        """
        try:
            ack = msgspec.convert(envelope.payload, bodies.AgentAck)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE,
                f'payload: {error}; an ACK is {{"stage": "done"|"read"|"rejected", "seqs": [...]}}',
                reply_to=envelope.id,
            ) from error
        if envelope.to is not None and envelope.to != HUB:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE, "to: an ACK is for the hub", reply_to=envelope.id
            )
        seqs = list(dict.fromkeys(ack.seqs))
        seat = self._roster.seat_of(session)
        if seat is None:
            session.error(_stale(seqs), type="ACK")
            return
        if not seqs:
            return
        if isinstance(ack, bodies.Settle):
            self._done(seat, seqs, now)
        elif isinstance(ack, bodies.Read):
            self._read(seat, seqs, now)
        elif ack.requeue:
            self._delivery.requeue(seat, seqs, ack.reason or "rejected", self._requeued)
        else:
            self._reject(seat, seqs, ack.reason, now)

    def _done(self, seat: Seat, seqs: list[int], now: Now) -> None:
        mailbox = seat.mailbox
        mailbox.said_done(seqs)
        self._delivery.stir(seat)
        held = mailbox.held
        times = tuple([held[seq].delivered_at if seq in held else None for seq in seqs])
        self._commits.submit_patiently(
            base.Settle(seat.agent, seat.epoch, tuple(seqs), times), self._settled, seat, now
        )

    def _settled(
        self,
        outcome: base.Marked | base.Fenced | Unavailable,
        op: base.Settle,
        seat: Seat,
        now: Now,
    ) -> None:
        if isinstance(outcome, Unavailable):
            # Settling is idempotent: the hub goes on trying while the session lives.
            if seat.session.live:
                self._commits.retry(op, self._settled, seat, now)
            return
        if isinstance(outcome, base.Fenced):
            self._delivery.fenced(seat.session, outcome, now)
            return
        for held in seat.mailbox.settled(outcome.seqs):
            message = held.copy.message
            if message.receipt:
                self._roster.receipt(message.sender, "done", seat.agent, message.id)
        if outcome.seqs:
            seat.session.settled(list(outcome.seqs))
        self._tell_stale(outcome.stale, seat)

    def _read(self, seat: Seat, seqs: list[int], now: Now) -> None:
        until = now.mono + seat.session.lease_ms
        seat.mailbox.read(seqs, until)
        self._delivery.lease(seat, now, until)
        self._delivery.stir(seat)
        held = seat.mailbox.held
        want = any(seq not in held for seq in seqs)
        op = base.Read(seat.agent, seat.epoch, tuple(seqs), seat.session.lease_ms, want)
        self._commits.submit_patiently(op, self._marked_read, (seat, None), now)

    def _marked_read(
        self,
        outcome: base.Marked | base.Fenced | Unavailable,
        op: base.Read,
        context: tuple[Seat, str | None],
        now: Now,
    ) -> None:
        seat, reject = context
        if isinstance(outcome, Unavailable):
            if seat.session.live:
                self._commits.retry(op, self._marked_read, context, now)
            return
        if isinstance(outcome, base.Fenced):
            self._delivery.fenced(seat.session, outcome, now)
            return
        for copy in outcome.copies:
            seat.mailbox.adopt(copy, now.wall)
        for seq in outcome.seqs:
            held = seat.mailbox.held.get(seq)
            if held is None:
                seat.mailbox.release(seq)  # settled already: there is nothing to hold
            elif held.copy.message.receipt:
                message = held.copy.message
                self._roster.receipt(message.sender, "read", seat.agent, message.id)
        if reject is not None and outcome.seqs:
            self._reject(seat, list(outcome.seqs), reject, now, adopted=True)
        self._tell_stale(outcome.stale, seat)

    def _reject(
        self, seat: Seat, seqs: list[int], reason: str, now: Now, *, adopted: bool = False
    ) -> None:
        mailbox = seat.mailbox
        mailbox.said_done(seqs)
        self._delivery.stir(seat)
        if not adopted:  # else an earlier session has told when that was
            self._delivery.note_ended(seat, seqs)
        unheld: list[int] = []
        for seq in seqs:
            held = mailbox.held.get(seq)
            if held is None:
                unheld.append(seq)
                continue
            message = held.copy.message
            text = f"{seat.agent} rejected it: {reason or 'no reason given'}"
            told = notice(message, seat.agent, ErrorCode.UNDELIVERABLE, text, reason, now.wall)
            self._commits.submit(
                base.Discard(seat.agent, seat.epoch, seq, "rejected", reason, told),
                self._rejected,
                seat,
            )
        if unheld and adopted:
            # The store has them as this agent's, yet not to be taken up: they are settled.
            for seq in unheld:
                mailbox.release(seq)
            seat.session.settled(unheld)
        elif unheld:
            # Handed out under an older session: take them up again, then reject them.
            self._commits.submit(
                base.Read(seat.agent, seat.epoch, tuple(unheld), seat.session.lease_ms, True),
                self._marked_read,
                (seat, reason),
            )

    def _rejected(
        self,
        outcome: base.Discarded | base.Fenced | Unavailable,
        op: base.Discard,
        seat: Seat,
        now: Now,
    ) -> None:
        if isinstance(outcome, Unavailable):
            if seat.session.live:
                self._commits.retry(op, self._rejected, seat, now)
        elif isinstance(outcome, base.Fenced):
            self._delivery.fenced(seat.session, outcome, now)
        else:
            seat.mailbox.release(op.seq)
            self._delivery.offer_notice(outcome.notice)
            seat.session.settled([op.seq])

    def _requeued(self, seat: Seat, again: list[int], others: tuple[int, ...]) -> None:
        if again:
            seat.session.settled(again)
        if others:
            # Settled long ago, or never this agent's: a Read changes neither and knows which.
            self._commits.submit(
                base.Read(seat.agent, seat.epoch, others, seat.session.lease_ms),
                self._told_apart,
                seat,
            )

    def _told_apart(
        self, outcome: base.Marked | base.Fenced | Unavailable, op: base.Read, seat: Seat, now: Now
    ) -> None:
        if isinstance(outcome, Unavailable):
            if seat.session.live:
                self._commits.retry(op, self._told_apart, seat, now)
        elif isinstance(outcome, base.Fenced):
            self._delivery.fenced(seat.session, outcome, now)
        else:
            if outcome.seqs:
                seat.session.settled(list(outcome.seqs))
            self._tell_stale(outcome.stale, seat)

    def _tell_stale(self, seqs: tuple[int, ...], seat: Seat) -> None:
        for seq in seqs:
            seat.mailbox.release(seq)
        if seqs:
            seat.session.error(_stale(list(seqs)), type="ACK")


def _stale(seqs: list[int]) -> ProtocolError:
    details: dict[str, Any] = {"seqs": seqs}
    return ProtocolError(
        ErrorCode.STALE_ACK,
        "seqs: held by another agent or session now, or never yours; nothing changed",
        details=details,
    )
