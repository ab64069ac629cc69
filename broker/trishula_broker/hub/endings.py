"""Copies that end without being done: expired, given up, left behind by who was forgotten."""

from __future__ import annotations

from collections.abc import Callable

from trishula_broker.hub.commits import Commits, Unavailable
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.notices import notice
from trishula_broker.hub.now import Now
from trishula_broker.hub.roster import Seat
from trishula_broker.store import base
from trishula_protocol.errors import ErrorCode


class Endings:
    """Ends copies and sees that their senders are told.

    Args:
        offer_notice: delivers the hub's own mail about it.
        spared: called with the mailbox of a copy that the store did not end although it could.
    """

    def __init__(
        self,
        commits: Commits,
        membership: Membership,
        offer_notice: Callable[[base.Message | None], None],
        spared: Callable[[str, Now], None],
    ) -> None:
        self._commits = commits
        self._membership = membership
        self._offer_notice = offer_notice
        self._spared = spared

    def bury(self, seat: Seat, message: base.Message, reason: str, now: Now) -> None:
        """Move a copy to the dead letters and tell its sender."""
        text = f"{seat.agent} could not take it: {reason}; it is in the dead letters"
        self._discard(
            base.Discard(
                seat.agent,
                seat.epoch,
                message.seq,
                "dead",
                reason,
                notice(message, seat.agent, ErrorCode.UNDELIVERABLE, text, reason, now.wall),
            )
        )

    def expire(self, mailbox: str, copy: base.Copy, now: Now) -> None:
        """End a copy whose ttl has passed and tell its sender."""
        message = copy.message
        text = f"its ttl ended before {mailbox} had it"
        self._discard(
            base.Discard(
                mailbox,
                0,
                message.seq,
                "expired",
                "ttl",
                notice(message, mailbox, ErrorCode.EXPIRED, text, "ttl", now.wall),
                node=self._membership.node,
            )
        )

    def abandon(
        self,
        agent: str,
        copy: base.Copy,
        reason: str,
        text: str,
        now: Now,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Move a copy of an agent that is to be forgotten to the dead letters and tell its sender
        ``text``, unless it is online. ``then`` is called when it was moved."""
        message = copy.message
        told = notice(message, agent, ErrorCode.UNDELIVERABLE, text, reason, now.wall)
        op = base.Discard(agent, 0, message.seq, "dead", reason, told, offline_only=True)
        self._discard(op, then)

    def _discard(self, op: base.Discard, then: Callable[[], None] | None = None) -> None:
        # Until the store has answered: what is dead must not go on waiting.
        self._commits.submit(op, self._discarded, then)

    def _discarded(
        self,
        outcome: base.Discarded | base.Fenced | Unavailable,
        op: base.Discard,
        then: Callable[[], None] | None,
        now: Now,
    ) -> None:
        if isinstance(outcome, Unavailable):
            self._commits.retry(op, self._discarded, then, now)
        elif isinstance(outcome, base.Discarded):
            self._offer_notice(outcome.notice)
            if outcome.done and then is not None:
                then()
            if not outcome.done and outcome.current is None:
                self._spared(op.agent, now)
