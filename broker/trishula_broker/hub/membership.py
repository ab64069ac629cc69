"""This node among the others: its beats, the lease on the duties, and whether it may act.

A node that stood still, or cannot reach its store, does not know whether its sessions are still
its own: until a beat has been answered it hands nothing out and lets nobody in. The store fences
whatever it says all the same (docs/decisions/0007).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.commits import RETRY_MS, Commits, Unavailable
from trishula_broker.hub.now import Now
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store import base
from trishula_protocol import limits
from trishula_protocol.address import HUB
from trishula_protocol.envelope import Envelope

STEADY_BEATS: Final = 2
"""Beats in a row that must have been answered before a leader ends other nodes: after an outage
of the store all are late, and each is given the time to say that it lives."""

GIVEN_UP_MS: Final = limits.HEARTBEATS_MISSED * limits.HEARTBEAT_MIN_MS
"""A hub that is silent for so long is given up by those who are the least patient."""

WhenSure = Callable[[Unavailable | None, Now], None]
"""``then(None, now)`` when the node is sure, ``then(unavailable, now)`` when it cannot be now."""


class Membership:
    """Beats, and what they are answered.

    Args:
        ended: called with True when the store had given this node up, with False when another
            process said that it is this node: either way all its sessions are over.
        leading: called when the lease came to this node.
        ordered: called with what the store says of agents and their shared folder, which
            :attr:`folder_order` is set to when it is new.
    """

    def __init__(
        self,
        node: str,
        life: str,
        role: str,
        address: str,
        settings: HubSettings,
        commits: Commits,
        agenda: Agenda,
        ended: Callable[[bool, Now], None],
        leading: Callable[[Now], None],
        ordered: Callable[[base.FolderOrder | None, Now], None],
    ) -> None:
        self.node = node
        self.lead = 0
        """The epoch of the lease while this node holds it, else 0."""
        self.leader = ""
        self.alone = True
        """Nobody else is there, as far as the last beat told."""
        self._life = life
        self._role = role
        self._address = address
        self._settings = settings
        self._commits = commits
        self._agenda = agenda
        self._ended = ended
        self._leading = leading
        self._ordered = ordered
        self.folder_order: base.FolderOrder | None = None
        self.why_not: str | None = None
        """Why the hub takes no new messages, when it does not."""
        self._beating = False
        self._leaving = False
        self._left = False
        self._sure_until = 0
        self._thawed_at = 0
        self._reads_old = False
        self._steady_since: int | None = None
        self._waiting: list[WhenSure] = []
        self._zero: int | None = None
        """The store's clock when ``mono`` was 0."""
        agenda.at(0, "node", self._beat)

    def __repr__(self) -> str:
        return (
            f"<Membership {self.node} lead={self.lead} leader={self.leader!r} "
            f"alone={self.alone} sure until {self._sure_until}>"
        )

    # --- what it knows ---

    def time(self, now: Now) -> Now:
        """``now`` by the store's clock, where it has one: leases and ttl go by that."""
        zero = self._zero
        return now if zero is None else Now(now.mono, now.mono + zero)

    def _set_clock(self, at: int, sent: int, now: Now) -> None:
        # It was ``at`` between the two; what was known stays where it agrees with that.
        earliest, latest = at - now.mono, at - sent
        if self._zero is None or not earliest <= self._zero <= latest:
            self._zero = earliest

    def sure(self, now: Now) -> bool:
        """Whether the sessions that are here can be taken for this node's own."""
        return now.mono < self._sure_until

    def heartbeat(self, now: Now) -> Envelope:
        """What clients hear: that the hub lives, and whether it can promise anything."""
        payload: dict[str, Any] = {"time": now.wall}
        if self.why_not is not None or not self.sure(now):
            payload["ready"] = False
        if self.folder_order is not None:
            payload["folder_mode"] = True
        return Envelope("HEARTBEAT", sender=HUB, payload=payload)

    def when_sure(self, then: WhenSure, now: Now) -> None:
        """Call ``then``, at once or when the next beat has been answered."""
        if self.sure(now):
            then(None, now)
        else:
            self._waiting.append(then)

    def reads_old(self, now: Now) -> bool:
        """Whether what arrives may have been sent by somebody who has given this node up since."""
        return self._reads_old and not self.sure(now)

    def may_end_nodes(self, now: Now) -> bool:
        """Whether another's silence is its own, and not the store's or this node's."""
        since = self._steady_since
        return since is not None and now.mono - since >= STEADY_BEATS * self._settings.beat_ms

    # --- what it hears of itself ---

    def frozen(self, now: Now, ms: int) -> None:
        """This process stood still for so long: what was answered before that says nothing about
        now."""
        self._sure_until = 0
        self._thawed_at = now.mono
        self._reads_old |= ms >= GIVEN_UP_MS
        self._steady_since = None
        self._agenda.at(now.mono, "node", self._beat)

    def deposed(self, lead: int) -> None:
        """The store does not know the lease of epoch ``lead`` any more."""
        if self.lead == lead:
            self.lead = 0

    def leave(self, now: Now) -> None:
        """Give the lease back, and do not want it any more."""
        self._leaving = True
        self._agenda.at(now.mono, "node", self._beat)

    def end(self) -> None:
        """Nobody is here any more: say so, once and for good."""
        if not self._left:
            self._left = True
            self.lead = 0
            self._commits.submit(self._say(last=True), self._gone)

    def _gone(
        self, outcome: base.Beating | Unavailable, op: base.Beat, context: None, now: Now
    ) -> None:
        """Nothing is left to do: without an answer the lease ends by itself."""
        self.leader = ""

    # --- beats ---

    def _say(self, *, last: bool = False) -> base.Beat:
        return base.Beat(
            self.node,
            self._life,
            self._role,
            self._address,
            self._settings.lease_ms,
            leads=not self._leaving,
            last=last,
        )

    def _beat(self, now: Now) -> None:
        if self._left:
            return
        # Also while one is on its way: a timer that comes late tells that the process stood still.
        self._agenda.at(now.mono + self._settings.beat_ms, "node", self._beat)
        if not self._beating:
            self._beating = True
            self._commits.submit(self._say(), self._beaten, now.mono)

    def _beaten(
        self, outcome: base.Beating | Unavailable, op: base.Beat, sent: int, now: Now
    ) -> None:
        self._beating = False
        if self._left:
            return
        if isinstance(outcome, Unavailable):
            self._steady_since = None
            self._agenda.at(now.mono + RETRY_MS, "node", self._beat)
            self._go_on(outcome, now)
            return
        settings = self._settings
        led = self.lead
        self.lead, self.leader, self.alone = outcome.lead, outcome.leader, outcome.alone
        if outcome.at:
            self._set_clock(outcome.at, sent, now)
        self._ordered(outcome.folder, now)
        if not outcome.member:
            # Who was sure when it said this beat cannot have been given up meanwhile.
            self._ended(sent >= self._sure_until, now)
        if sent < self._thawed_at or op.leads == self._leaving:
            self._beat(now)
        if sent >= self._thawed_at:
            # At least until the next beat: a store may be slower than the lease is long.
            self._sure_until = max(sent + settings.lease_ms, now.mono + settings.beat_ms)
            self._reads_old = False
            if self._steady_since is None:
                self._steady_since = now.mono
            self._go_on(None, now)
        if self.lead and self.lead != led:
            self._leading(now)

    def _go_on(self, outcome: Unavailable | None, now: Now) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(outcome, now)
