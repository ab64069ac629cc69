"""Getting committed copies to sessions, and the attempts at them that end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.commits import RETRY_MS, Commits, Unavailable
from trishula_broker.hub.counts import Counts
from trishula_broker.hub.endings import Endings
from trishula_broker.hub.fencing import Fencing
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.hub.roster import Roster, Seat
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store import base
from trishula_protocol import limits
from trishula_protocol.hub_session import HubSession

HandedOut = Callable[[str, Sequence[base.Copy]], None]
"""``handed_out(agent, copies)``: they go out to it now."""
Requeued = Callable[[Seat, list[int], tuple[int, ...]], None]
"""``requeued(seat, those that wait again, those that were not waiting for this agent)``."""

NOTE_MS: Final = 2_000
"""A delivery not settled within this is told to the store, for traces: longer than one takes whose
recipient is as busy as can be."""


class Delivery:
    """The way from a mailbox to its session."""

    def __init__(
        self,
        commits: Commits,
        roster: Roster,
        agenda: Agenda,
        membership: Membership,
        fencing: Fencing,
        settings: HubSettings,
        counts: Counts,
        handed_out: HandedOut | None,
    ) -> None:
        self._commits = commits
        self._counts = counts
        self._handed_out = handed_out
        self._membership = membership
        self._fencing = fencing
        self._roster = roster
        self._agenda = agenda
        self._settings = settings
        self._stirred: dict[int, Seat] = {}
        self._held: Counter[int] = Counter()
        """link → what has to happen before it is handed anything."""
        self._shared: dict[tuple[int, bool], bytes] = {}
        """What a session is sent of a message to many, by seq and whether it is MessagePack: made
        once for all of those that are given it in the same :meth:`run`."""
        self.endings = Endings(commits, membership, self.offer_notice, self._not_ended)
        """Ends copies that cannot be delivered, of mailboxes here or elsewhere."""

    # --- in ---

    def offer(self, agent: str, copy: base.Copy) -> None:
        """``copy`` was committed to the mailbox of ``agent``, who may or may not be here."""
        seat = self._roster.seats.get(agent)
        if seat is not None:
            self.offer_here(seat, copy)

    def offer_here(self, seat: Seat, copy: base.Copy) -> None:
        """``copy`` was committed to the mailbox of ``seat``."""
        session, mailbox = seat
        mailbox.offer(copy)
        self._stirred[session.link] = seat

    def offer_notice(self, message: base.Message | None) -> None:
        """The hub's own mail was committed."""
        if message is not None:
            self.offer(message.to, base.Copy(message, 0, 0, None))

    def withdraw(self, agent: str, seq: int) -> None:
        """A copy ended by somebody else's doing: it must not go out any more, and where it is out
        nobody need begin it."""
        seat = self._roster.seats.get(agent)
        if seat is not None:
            if seat.mailbox.withdraw(seq):
                seat.session.withdrawn([seq])
            self.stir(seat)

    def look_at(self, agent: str) -> None:
        """What is known of the mailbox of ``agent``, who may be here, may not hold any more."""
        seat = self._roster.seats.get(agent)
        if seat is not None:
            seat.mailbox.doubt()
            self.stir(seat)

    def stir(self, seat: Seat) -> None:
        """Something changed that may let ``seat`` have more."""
        self._stirred[seat.session.link] = seat

    def hold(self, seat: Seat) -> None:
        """Hand nothing to ``seat`` until :meth:`release`, called as often."""
        self._held[seat.session.link] += 1

    def release(self, seat: Seat) -> None:
        """What it waited for has happened."""
        link = seat.session.link
        self._held[link] -= 1
        if not self._held[link]:
            del self._held[link]
            self.stir(seat)

    def doubt_all(self, now: Now) -> None:
        """A commit failed: the store may hold what no window knows of. Look in a moment."""
        for seat in self._roster.seats.values():
            seat.mailbox.doubt()
            self._fetch_later(seat, now)

    def fenced(self, session: HubSession, outcome: base.Fenced, now: Now) -> None:
        """The store does not take ``session`` for current."""
        self._fencing.fenced(session, outcome.epoch, now)

    def look_again(self, now: Now) -> None:
        """What others did may have gone unheard: know nothing, of no mailbox."""
        for seat in self._roster.seats.values():
            seat.mailbox.doubt()
            if seat.mailbox.wants_fetch():
                self.stir(seat)
            else:  # nothing is to be fetched, but whether it is still current is to be known
                self._commits.submit(base.Delivered(seat.agent, seat.epoch, ()), self._proved, seat)

    def _proved(
        self, outcome: base.Marked | base.Fenced | Unavailable, op: object, seat: Seat, now: Now
    ) -> None:
        if isinstance(outcome, base.Fenced):
            self.fenced(seat.session, outcome, now)

    def _fetch_later(self, seat: Seat, now: Now) -> None:
        self._agenda.at(
            now.mono + RETRY_MS, ("fetch", seat.session.link), lambda _: self.stir(seat)
        )

    # --- out ---

    def run(self, now: Now) -> None:
        """Deliver what the stirred seats have room for, once they are known to be this node's."""
        if self._stirred and self._membership.sure(now):
            stirred, self._stirred = self._stirred, {}
            arriving, held = self._roster.arriving, self._held
            for link, seat in stirred.items():
                if seat.session.live and seat.agent not in arriving and link not in held:
                    self._deliver(seat, now)
            self._shared.clear()

    def _deliver(self, seat: Seat, now: Now) -> None:
        session, mailbox = seat
        if session.stalled_at is None:
            bound = self._settings.outgoing_bytes
            copies = mailbox.take(bound - session.buffered, now.wall)
            if copies:
                stored, agent = session.codec.stored, seat.agent
                parts = []
                for copy in copies:
                    message = copy.message
                    if message.expires_at is not None or copy.attempts or copy.deliveries:
                        if self._ends(seat, copy, now):
                            continue
                        at = message.expires_at
                        left = None if at is None else at - now.wall
                        part = stored(message.body, message.seq, copy.attempts + 1, left)
                    elif message.to == agent:
                        part = stored(message.body, message.seq, 1, None)
                    else:  # others are given the same
                        key = message.seq, session.codec.binary
                        shared = self._shared.get(key)
                        if shared is None:
                            shared = stored(message.body, message.seq, 1, None)
                            self._shared[key] = shared
                        part = shared
                    parts.append(part)
                    if message.receipt:
                        self._roster.receipt(message.sender, "delivered", seat.agent, message.id)
                session.deliver(parts)
                waited = now.wall - copies[0].message.accepted_at
                self._counts.out(len(parts), waited, now.mono - session.since)
                if self._handed_out is not None:
                    went = copies
                    if len(parts) != len(copies):  # some have ended instead
                        went = [copy for copy in copies if copy.message.seq in mailbox.held]
                    self._handed_out(seat.agent, went)
                at = now.mono + NOTE_MS
                self._agenda.at(at, ("note", session.link), partial(self._note_late, seat))
            # So much at a time; go on once it, or what else there is, was written.
            if mailbox.ready:
                self._agenda.at(now.mono, ("more", session.link), lambda _: self.stir(seat))
        if mailbox.wants_fetch():
            after, limit, limit_bytes = mailbox.fetch()
            self._commits.submit(
                base.Fetch(seat.agent, seat.epoch, after, limit, limit_bytes), self._fetched, seat
            )

    def _ends(self, seat: Seat, copy: base.Copy, now: Now) -> bool:
        """End a copy that must not go out any more."""
        message = copy.message
        if message.expires_at is not None and message.expires_at <= now.wall:
            self.endings.expire(seat.agent, copy, now)
        elif copy.attempts >= limits.ATTEMPTS:
            self.endings.bury(seat, message, f"given up after {copy.attempts} attempts", now)
        elif copy.deliveries >= limits.DELIVERIES:
            reason = f"delivered {copy.deliveries} times, never read"
            self.endings.bury(seat, message, reason, now)
        else:
            self._counts.redelivered += bool(copy.attempts or copy.deliveries)
            return False
        seat.mailbox.release(message.seq)
        return True

    def _not_ended(self, agent: str, now: Now) -> None:
        # The store's clock thinks otherwise: it waits, and no window knows of it.
        seat = self._roster.seats.get(agent)
        if seat is not None:
            seat.mailbox.doubt()
            self._fetch_later(seat, now)

    def _fetched(
        self,
        outcome: base.Fetched | base.Fenced | Unavailable,
        op: base.Fetch,
        seat: Seat,
        now: Now,
    ) -> None:
        if isinstance(outcome, base.Fetched):
            seat.mailbox.fetched(outcome)
            self.stir(seat)
            if outcome.due_at is not None:
                self._wake_at(outcome.due_at, limits.RETRY_DELAYS_MS[-1], seat, now)
        elif isinstance(outcome, Unavailable):
            seat.mailbox.fetch_failed()
            self._fetch_later(seat, now)
        else:
            self.fenced(seat.session, outcome, now)

    def _wake_at(self, wall: int, most: int, seat: Seat, now: Now) -> None:
        # The store's clock may be another, and this one set back: no delay is longer than
        # ``most``, and what the store does not find due is not asked for without a pause.
        wait = wall - now.wall
        wait = min(wait, most) if wait > 0 else RETRY_MS

        def due(_: Now) -> None:
            seat.mailbox.doubt()
            self.stir(seat)

        self._agenda.at(now.mono + wait, ("due", seat.session.link), due)

    def note(self, seat: Seat, then: Callable[[Now], None] | None = None) -> bool:
        """Tell the store of deliveries that are still unsettled; False when there are none.

        ``then`` is called once the store has been told, or could not be.
        """
        if not seat.session.live:
            return False
        unnoted, _ = seat.mailbox.unnoted()
        if unnoted:
            op = base.Delivered(seat.agent, seat.epoch, unnoted)
            self._commits.submit(op, self._noted, then)
        return bool(unnoted)

    def note_ended(self, seat: Seat, seqs: list[int]) -> None:
        """Tell the store of the deliveries of ``seqs`` that end before it would have been told."""
        unnoted = seat.mailbox.note(seqs)
        if unnoted:
            op = base.Delivered(seat.agent, seat.epoch, unnoted)
            self._commits.submit(op, self._noted, None)

    def _note_late(self, seat: Seat, now: Now) -> None:
        session, mailbox = seat
        if session.live:
            unnoted, later = mailbox.unnoted(now.wall - NOTE_MS)
            if unnoted:
                op = base.Delivered(seat.agent, seat.epoch, unnoted)
                self._commits.submit(op, self._noted, None)
            if later is not None:
                # Never later than that, whatever was done to the clock, nor at once again.
                wait = min(max(later + NOTE_MS - now.wall, 1), NOTE_MS)
                at = now.mono + wait
                self._agenda.at(at, ("note", session.link), partial(self._note_late, seat))

    def _noted(
        self, outcome: object, op: object, then: Callable[[Now], None] | None, now: Now
    ) -> None:
        # Notes for traces carry no promise: nothing is tried again.
        if then is not None:
            then(now)

    # --- attempts that end ---

    def lease(self, seat: Seat, now: Now, until: int) -> None:
        """Watch the leases of ``seat``; the next one ends at ``until`` (mono)."""
        self._agenda.at(until, ("lease", seat.session.link), lambda now: self._lapse(seat, now))

    def _lapse(self, seat: Seat, now: Now) -> None:
        ended, until = seat.mailbox.lapsed(now.mono)
        if ended and seat.session.live:
            self.requeue(seat, ended, "lease lapsed")
        if until is not None:
            self.lease(seat, now, until)

    def requeue(
        self, seat: Seat, seqs: list[int], reason: str, then: Requeued | None = None
    ) -> None:
        """End an attempt at each of ``seqs``; ``then`` is called once that is durable."""
        self.note_ended(seat, seqs)
        # Held until it is durable: until then a fetch may still find it waiting.
        seat.mailbox.said_over(seqs)
        self.stir(seat)
        self._commits.submit(
            base.Requeue(seat.agent, seat.epoch, tuple(seqs)),
            self._requeued,
            (seat, reason, then),
        )

    def _requeued(
        self,
        outcome: base.Requeued | base.Fenced | Unavailable,
        op: base.Requeue,
        context: tuple[Seat, str, Requeued | None],
        now: Now,
    ) -> None:
        seat, reason, then = context
        if isinstance(outcome, Unavailable):
            if seat.session.live:
                self._commits.retry(op, self._requeued, context, now)
            return
        if isinstance(outcome, base.Fenced):
            self.fenced(seat.session, outcome, now)
            return
        released = {seq: seat.mailbox.let_go(seq) for seq in op.seqs}
        for seq, attempts, due_at in outcome.copies:
            held = released[seq]
            if held is None:
                seat.mailbox.remove(seq)  # it had not gone out yet, and must not now
            if attempts >= limits.ATTEMPTS and held is not None:
                text = f"given up after {attempts} attempts: {reason}"
                self.endings.bury(seat, held.copy.message, text, now)
            else:
                self._wake_at(due_at, limits.retry_delay_ms(attempts), seat, now)
        if then is not None:
            then(seat, [seq for seq, _, _ in outcome.copies], outcome.stale)
