"""What time makes due: expiry of what is held here and, for the node that has the lease, what
must be done once a namespace: expiry of what is nobody's, `@` mail on the move, ghosts, nodes
that stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.commits import RETRY_MS, Commits, Unavailable
from trishula_broker.hub.delivery import Delivery
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.hub.questions import Questions
from trishula_broker.hub.roster import Roster, Seat, presence
from trishula_broker.store import base

SWEEP: Final = 500
"""Copies and agents of each kind looked at in one sweep: commits must not wait for long."""
SWEEP_PAUSE_MS: Final = 1_000
"""Between sweeps that find something they must leave alone."""
SWEEP_SOON_MS: Final = 1_000
"""Between the arrival of mail, or of an agent, from elsewhere and a look at what of it expires."""
SWEEP_LATEST_MS: Final = 60_000
"""A sweep at least this often: the wall clock may have jumped over a due time."""
ASSIGN: Final = 200
"""Copies of a pool handed out in one operation; when there are more, another follows."""
PEEK: Final = 500
"""Copies of a ghost discarded at a time; when there are more, it is looked at again."""

GHOST: Final = "the recipient was ephemeral and left"
"""Why mail of one that left is a dead letter."""


class Duties:
    """Acts on what time has made due."""

    def __init__(
        self,
        membership: Membership,
        commits: Commits,
        roster: Roster,
        delivery: Delivery,
        questions: Questions,
        agenda: Agenda,
    ) -> None:
        self._membership = membership
        self._commits = commits
        self._roster = roster
        self._delivery = delivery
        self._questions = questions
        self._agenda = agenda
        self._sweeping = False
        self._assigning: dict[str, list[Seat]] = {}
        """Capabilities with an Assign on its way, which finds all that was accepted before it, and
        who waits for the pool to be empty."""

    def sweep_at(self, wall: int, now: Now) -> None:
        """Something is due at ``wall``."""
        wait = min(max(1, wall - now.wall), SWEEP_LATEST_MS)
        self._agenda.at(now.mono + wait, "sweep", self.sweep)

    def sweep(self, now: Now) -> None:
        """Look now."""
        if self._sweeping:
            # What it is asked for may be more than the one under way looks for.
            self._agenda.at(now.mono + RETRY_MS, "sweep", self.sweep)
        else:
            self._sweeping = True
            member = self._membership
            self._commits.submit(base.Sweep(SWEEP, member.node, member.lead), self._swept)

    def _go_on(self, op: base.Sweep, after: base.Due) -> None:
        # What sessions hold may be more than one sweep names, and must hide nothing behind it.
        self._commits.submit(base.Sweep(op.limit, op.node, op.lead, after), self._swept)

    def _swept(
        self,
        outcome: base.Swept | base.Fenced | Unavailable,
        op: base.Sweep,
        context: None,
        now: Now,
    ) -> None:
        if isinstance(outcome, Unavailable):
            self._sweeping = False
            self._agenda.at(now.mono + RETRY_MS, "sweep", self.sweep)
            return
        if isinstance(outcome, base.Fenced):
            self._sweeping = False
            self._membership.deposed(op.lead)
            self.sweep(now)
            return
        for mailbox, copy in outcome.expired:
            seat = self._roster.seats.get(mailbox)
            if seat is not None:
                if copy.message.seq in seat.mailbox.held:
                    continue  # a message expires only while nobody holds it
                seat.mailbox.remove(copy.message.seq)
            self._delivery.endings.expire(mailbox, copy, now)
        if op.after is None:
            self._attend(outcome, now)
        if outcome.more is not None:
            self._go_on(op, outcome.more)
            return
        self._sweeping = False
        due = now.wall + SWEEP_LATEST_MS if outcome.next_at is None else outcome.next_at
        if outcome.dead:
            due = now.wall  # until they are ended, or beat again
        self.sweep_at(max(due, now.wall + SWEEP_PAUSE_MS), now)

    def _attend(self, outcome: base.Swept, now: Now) -> None:
        if self._membership.may_end_nodes(now):
            for node in outcome.dead:
                self._end(node)
        for agent in outcome.orphans:
            self._commits.submit(base.Unassign(agent), self._unassigned, False)
        for agent in outcome.ghosts:
            # Mail for a capability was not for the ghost alone: others can take it.
            self._commits.submit(base.Unassign(agent), self._unassigned, False)
            self._reap(agent)
        for capability in outcome.pools:
            self.assign(capability)

    # --- nodes that stopped ---

    def _end(self, node: str) -> None:
        member = self._membership
        if node != member.node and member.lead:
            self._commits.submit(base.EndNode(node, member.lead, SWEEP), self._ended)

    def _ended(
        self,
        outcome: base.NodeEnded | base.Fenced | Unavailable,
        op: base.EndNode,
        context: None,
        now: Now,
    ) -> None:
        if isinstance(outcome, base.Fenced):
            self._membership.deposed(op.lead)
        elif isinstance(outcome, base.NodeEnded):
            for agent in outcome.agents:
                self._roster.announce(presence(agent, False, op.node, now.wall), now.wall)
            if outcome.sweep_at is not None:
                self.sweep_at(outcome.sweep_at, now)
            if outcome.more:
                self._end(op.node)

    # --- mail for a capability ---

    def assign(self, capability: str) -> None:
        """Hand out what waits in a capability's pool."""
        if capability not in self._assigning:
            self._assigning[capability] = []
            self._commits.submit(base.Assign(capability, ASSIGN), self._assigned)

    def assign_first(self, capability: str, seat: Seat) -> None:
        """The same; ``seat``, which has just come, is handed nothing else before: what was sent
        to it later must not go out first."""
        self.assign(capability)
        self._assigning[capability].append(seat)
        self._delivery.hold(seat)

    def _assigned(
        self, outcome: base.Assigned | Unavailable, op: base.Assign, context: None, now: Now
    ) -> None:
        if isinstance(outcome, Unavailable):
            self._commits.retry(op, self._assigned, context, now)
            return
        self.assigned(outcome.copies)
        waiting = self._assigning[op.capability]
        if outcome.more:
            # Who waits must not wait for ever, however much comes in meanwhile.
            limit = op.limit + ASSIGN if waiting else ASSIGN
            self._commits.submit(base.Assign(op.capability, limit), self._assigned)
            return
        del self._assigning[op.capability]
        for seat in waiting:
            self._delivery.release(seat)

    def assigned(self, copies: Sequence[tuple[str, base.Copy]]) -> None:
        """Somebody got these of a pool."""
        for agent, copy in copies:
            if copy.attempts:
                self._delivery.look_at(agent)  # it may wait for its next attempt: a fetch knows
            else:
                self._delivery.offer(agent, copy)

    def _unassigned(
        self, outcome: base.Unassigned | Unavailable, op: base.Unassign, again: bool, now: Now
    ) -> None:
        if isinstance(outcome, Unavailable):
            self._commits.retry(op, self._unassigned, True, now)
            return
        for capability in outcome.pools:
            self.assign(capability)
        if again:
            self.sweep(now)  # it may have been done when nobody heard of it

    # --- ephemeral agents that left ---

    def _reap(self, agent: str) -> None:
        self._questions.ask(base.Peek(agent, PEEK), self._peeked, agent)

    def _peeked(self, answer: base.Peeked | Unavailable, agent: str, now: Now) -> None:
        if isinstance(answer, Unavailable):
            return  # the next sweep names it again
        if self._roster.expects(agent):
            return  # it came back, and its mail is its own
        text = f"{agent} left and was forgotten; it is in the dead letters"
        for copy in answer.heads:
            self._delivery.endings.abandon(agent, copy, GHOST, text, now)
        self._commits.submit(base.Forget(agent, 0), self._forgotten)

    def _forgotten(
        self, outcome: base.Forgotten | Unavailable, op: base.Forget, context: None, now: Now
    ) -> None:
        if isinstance(outcome, base.Forgotten):
            if outcome.waiting:
                self._reap(op.agent)
            else:
                change = {"event": "forgotten", "agent": op.agent, "online": False}
                self._roster.announce(change, now.wall)
