"""Operators that listen: live copies of what this hub accepts, and of what is settled here.

Nothing is stored and nothing waits for who listens: copies there is no room for are counted, and
the count is told. Across nodes this is soft state. A node where somebody listens says so each
second (:class:`~trishula_broker.store.hints.Tapping`); the others tell it what passes there
(:class:`~trishula_broker.store.hints.Tapped`), a little at a time, until they have not heard from
it for a while. While nobody listens, a commit is asked one question.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.commits import Commits, Unavailable
from trishula_broker.hub.listening import Elsewhere, Group, Here, fits
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.hub.roster import Roster
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store import base
from trishula_protocol.address import Kind
from trishula_protocol.hub_session import HubSession

REPEAT_MS: Final = 1_000
"""A node says this often that somebody listens there, and is told how much has passed."""
FORGET_MS: Final = 3_000
"""A node that has not said so for this long is told nothing more."""


class Taps:
    """Who listens, here and elsewhere."""

    def __init__(
        self,
        membership: Membership,
        commits: Commits,
        roster: Roster,
        agenda: Agenda,
        settings: HubSettings,
    ) -> None:
        self._membership = membership
        self._commits = commits
        self._roster = roster
        self._agenda = agenda
        self._room = settings.outgoing_bytes
        self._here: dict[int, Here] = {}
        self._groups: dict[tuple[base.Wanted, int | None, str], Group] = {}
        self._elsewhere: dict[str, Elsewhere] = {}
        self._since = 0
        self._counts: dict[str, int] = {}
        """node → how many copies it has told of, or should have, ``_since`` then."""

    def __len__(self) -> int:
        return len(self._here)

    def __repr__(self) -> str:
        return f"<Taps {len(self._here)} here, {len(self._elsewhere)} nodes>"

    # --- who listens here ---

    def begin(self, session: HubSession, wanted: base.Wanted, most: int | None, now: Now) -> None:
        """``session`` hears what is ``wanted`` from now on, instead of what it heard before; at
        most so many copies a second."""
        if not self._here:
            self._since = max(now.wall, self._since + 1)
            self._counts = {}
        earlier = self._leave(session)
        key = (wanted, most, session.codec.subprotocol)
        group = self._groups.setdefault(key, Group(wanted, most, session.codec))
        missed = 0 if earlier is None else earlier.all_missed
        here = self._here[session.link] = Here(session, group, self._room, missed)
        group.members[session.link] = here
        self._say_so()
        self._regard(now)

    def end(self, session: HubSession, now: Now) -> None:
        """``session`` hears nothing more."""
        if self._leave(session) is not None:
            self._say_so()
            self._regard(now)

    def _leave(self, session: HubSession) -> Here | None:
        here = self._here.pop(session.link, None)
        if here is not None:
            del here.group.members[session.link]
            if not here.group.members:
                self._groups = {k: group for k, group in self._groups.items() if group.members}
        return here

    def _say_so(self) -> None:
        if not self._membership.alone:
            wanted = tuple(dict.fromkeys(group.wanted for group in self._groups.values()))
            self._tell(base.Tapping(self._membership.node, self._since, wanted))

    def _regard(self, now: Now) -> None:
        """See to it that commits are looked at, and that this goes on, while anybody listens."""
        if self._here or self._elsewhere:
            self._commits.tap = self._see
            self._agenda.at(now.mono + REPEAT_MS, "taps", self._repeat)
        else:
            self._commits.tap = None

    def _repeat(self, now: Now) -> None:
        if self._here:
            self._say_so()
        for here in self._here.values():
            here.has_room(now.wall)
        for node, other in list(self._elsewhere.items()):
            if other.until <= now.mono:
                del self._elsewhere[node]
            elif not other.busy:
                self._pass_on(other)  # though it may be nothing: what got lost is noticed
        self._regard(now)

    # --- what passes here ---

    def _see(self, op: base.Operation, outcome: base.Outcome, now: Now) -> None:
        if type(op) is base.Accept:
            if type(outcome) is base.Accepted:
                self._accepted(op, outcome, now)
        elif type(op) is base.Settle:
            if type(outcome) is base.Marked:
                self._settled(op.agent, outcome.seqs, "done", now)
        elif type(op) is base.Discard and type(outcome) is base.Discarded and outcome.done:
            self._settled(op.agent, (op.seq,), op.outcome, now)
            self._posted(outcome.notice, now)

    def _accepted(self, op: base.Accept, outcome: base.Accepted, now: Now) -> None:
        kind, name = op.address
        message = base.Message(
            outcome.seq,
            op.id,
            op.sender,
            op.type,
            name if kind is Kind.AGENT else str(op.address),
            op.priority,
            op.thread,
            op.receipt,
            outcome.accepted_at,
            None if op.ttl is None else outcome.accepted_at + op.ttl,
            op.body,
        )
        self._pass(base.Passed(message, outcome.recipients, outcome.pool), now)
        if op.settles is not None:
            self._settled(op.sender, (op.settles,), "done", now)
        self._posted(outcome.notice, now)

    def _posted(self, message: base.Message | None, now: Now) -> None:
        """The hub's own mail."""
        if message is not None:
            self._pass(base.Passed(message, (message.to,)), now)

    def _settled(self, agent: str, seqs: Iterable[int], outcome: base.Settled, now: Now) -> None:
        seat = self._roster.seats.get(agent)
        if seat is not None:
            for seq in seqs:
                held = seat.mailbox.held.get(seq)
                if held is not None:  # else it was settled before, or by an older session
                    self._pass(base.Passed(held.copy.message, (agent,), None, outcome), now)

    def _pass(self, passed: base.Passed, now: Now) -> None:
        self._hand_out(passed, self._membership.node, now)
        for other in self._elsewhere.values():
            if any(fits(wanted, passed) for wanted in other.wanted):
                other.add(passed)
                if not other.busy:
                    self._pass_on(other)

    def _hand_out(self, passed: base.Passed, node: str, now: Now) -> None:
        for group in self._groups.values():
            if fits(group.wanted, passed):
                group.hear(passed, node, now)

    # --- between nodes ---

    def tapping(self, hint: base.Tapping, now: Now) -> None:
        """Somebody listens elsewhere, or does so no more."""
        if hint.wanted:
            other = self._elsewhere.get(hint.node)
            if other is None or other.since != hint.since:
                other = self._elsewhere[hint.node] = Elsewhere(hint.node, hint.since)
            other.wanted = hint.wanted
            other.until = now.mono + FORGET_MS
        else:
            self._elsewhere.pop(hint.node, None)
        self._regard(now)

    def tapped(self, hint: base.Tapped, now: Now) -> None:
        """Something passed elsewhere."""
        if not self._here or hint.since != self._since:
            return  # who listened then does so no more
        # It counts anew when it had forgotten this node, or is another process.
        lost = max(0, hint.first - self._counts.get(hint.node, 0))
        self._counts[hint.node] = hint.first + len(hint.passed)
        for here in self._here.values():
            here.missed += lost
        for passed in hint.passed:
            self._hand_out(passed, hint.node, now)

    def _pass_on(self, other: Elsewhere) -> None:
        other.busy = True
        self._tell(other.take(self._membership.node), other)

    def _tell(self, hint: base.Hint, other: Elsewhere | None = None) -> None:
        node = "" if other is None else other.node
        self._commits.submit(base.Tell(None, hint, node), self._told, other)

    def _told(
        self, outcome: base.Told | Unavailable, op: base.Tell, other: Elsewhere | None, now: Now
    ) -> None:
        # Whether it was heard is not known; whoever hears the next one knows what is missing.
        if other is not None:
            other.busy = False
            if other.waiting and self._elsewhere.get(other.node) is other:
                self._pass_on(other)
