"""What this node hears from others: hints of what their commits mean for the sessions here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from trishula_broker.hub.commits import Commits
from trishula_broker.hub.delivery import Delivery
from trishula_broker.hub.duties import SWEEP_SOON_MS
from trishula_broker.hub.fencing import Fencing
from trishula_broker.hub.now import Now
from trishula_broker.hub.roster import Roster
from trishula_broker.hub.taps import Taps
from trishula_broker.hub.tenure import Tenure
from trishula_broker.store import base


class Hearing:
    """Acts on hints.

    Args:
        sweep_at: asks for a sweep at a wall-clock time.
    """

    def __init__(
        self,
        commits: Commits,
        roster: Roster,
        delivery: Delivery,
        fencing: Fencing,
        sweep_at: Callable[[int, Now], None],
        taps: Taps,
        tenure: Tenure,
    ) -> None:
        self._commits = commits
        self._roster = roster
        self._delivery = delivery
        self._fencing = fencing
        self._sweep_at = sweep_at
        self._taps = taps
        self._tenure = tenure
        self._held: list[base.Hint] = []
        self._deciding: frozenset[str] | None = None

    def __len__(self) -> int:
        return len(self._held)

    def hear(self, hints: Sequence[base.Hint], now: Now) -> None:
        """Act on ``hints``, in order.

        Mail whose sender has something in the commit under way is kept back with all behind it
        until that is decided: what was sent there first is delivered first.
        """
        for n, hint in enumerate(hints):
            if self._held or self._may_overtake(hint):
                self._held += hints[n:]
                return
            self._act(hint, now)

    def decided(self, now: Now) -> None:
        """The commit that was under way is over."""
        self._deciding = None
        held, self._held = self._held, []
        for hint in held:
            self._act(hint, now)

    def _may_overtake(self, hint: base.Hint) -> bool:
        if not isinstance(hint, base.Mail) or hint.copy is None:
            return False
        if self._deciding is None:
            self._deciding = self._commits.deciding()
        if self._deciding is None:
            return False  # nothing is under way
        copy = hint.copy
        return copy.message.sender in self._deciding or (
            copy.via is not None and f"@{copy.via}" in self._deciding
        )

    def _act(self, hint: base.Hint, now: Now) -> None:
        match hint:
            case base.Mail():
                self._mail(hint, now)
            case base.Withdrawn():
                self._delivery.withdraw(hint.agent, hint.seq)
            case base.Ended():
                self._ended(hint, now)
            case base.Receipt():
                for envelope_id in hint.ids:
                    self._roster.receipt_here(hint.to, hint.stage, hint.by, envelope_id)
            case base.Presence():
                change: dict[str, Any] = msgspec.json.decode(hint.change)
                self._roster.announce_here(change, now.wall)
            case base.Tapping():
                self._taps.tapping(hint, now)
            case base.Tapped():
                self._taps.tapped(hint, now)
            case base.Revoked():
                self._tenure.revoke(hint.what)
            case base.Missed():
                self._tenure.look(now)
                self._delivery.look_again(now)
                self._sweep_at(now.wall + SWEEP_SOON_MS, now)

    def _ended(self, hint: base.Ended, now: Now) -> None:
        seat = self._roster.seats.get(hint.agent)
        if seat is not None and seat.epoch < hint.epoch:
            self._fencing.fenced(seat.session, hint.epoch, now)

    def _mail(self, hint: base.Mail, now: Now) -> None:
        seat = self._roster.seats.get(hint.agent)
        if seat is None:
            return
        copy = hint.copy
        if copy is None:
            self._delivery.look_at(hint.agent)
            self._sweep_at(now.wall + SWEEP_SOON_MS, now)
        else:
            self._delivery.offer(hint.agent, copy)
            if copy.message.expires_at is not None:
                self._sweep_at(copy.message.expires_at, now)
