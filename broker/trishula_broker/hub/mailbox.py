"""A mailbox as a receiving session sees it: the copies it holds, and those that wait behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from trishula_broker.hub.settings import HubSettings
from trishula_broker.hub.window import NOTHING, Place, Window
from trishula_broker.store.base import Copy, Fetched

FETCH: Final = 500
"""Copies asked for at once."""
FETCH_BYTES: Final = 1 << 20
"""Bytes of bodies asked for at once: one answer must not hold up a commit."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """A copy that was delivered and is not settled."""

    copy: Copy
    delivered_at: int
    """Wall clock."""


class Mailbox:
    """The waiting and held copies of one receiving session.

    ``prefetch`` bounds what is held and neither read nor settled.
    """

    __slots__ = (
        "_doubted",
        "_fetching",
        "_meanwhile",
        "_most",
        "_most_bytes",
        "_noted",
        "_prefetch",
        "_unread",
        "_window",
        "held",
        "leases",
        "paused",
    )

    def __init__(self, prefetch: int, settings: HubSettings) -> None:
        self._prefetch = prefetch
        self._most = settings.window_messages
        self._most_bytes = settings.window_bytes
        self._window = Window()
        self._fetching = False
        self._doubted = False
        self._meanwhile: list[Copy] = []
        self._unread: set[int] = set()
        self._noted: set[int] = set()
        self.held: dict[int, Held] = {}
        self.leases: dict[int, int] = {}
        """seq → when its lease ends (mono), earliest first: a renewal moves it to the end."""
        self.paused = False
        """The store hands nothing out, as far as is known: until it is doubted, nothing is asked
        for, and the window is empty."""

    def __repr__(self) -> str:
        return (
            f"<Mailbox waiting={self._window.count} horizon={self._window.horizon} "
            f"held={len(self.held)} unread={len(self._unread)} leases={len(self.leases)}>"
        )

    # --- what waits ---

    def offer(self, copy: Copy) -> None:
        """A copy was committed for this mailbox."""
        window = self._window
        if self._fetching:
            # The answer may or may not have it; what was committed meanwhile is merged in.
            self._meanwhile.append(copy)
        elif window.horizon is None or window.covers(copy):
            window.add(copy)
            if window.count > self._most or window.size > self._most_bytes:
                window.halve()

    def remove(self, seq: int) -> None:
        """A waiting copy ended or was moved away."""
        self._window.remove(seq)

    def withdraw(self, seq: int) -> bool:
        """A copy ended, or was moved, by somebody else's doing; whether it is out."""
        held = self.release(seq)
        if self._fetching:
            self.doubt()  # the answer may still have it
        else:
            self._window.remove(seq)
        return held is not None

    def doubt(self) -> None:
        """The window may have missed something: know nothing, fetch again."""
        self._window.clear()
        self.paused = False
        # A fetch on its way began somewhere else: its answer does not fill this window.
        self._doubted = self._fetching

    @property
    def room(self) -> int:
        """How many more copies may be delivered now."""
        return self._prefetch - len(self._unread)

    @property
    def ready(self) -> bool:
        """Whether something waits that there is room for."""
        return self._window.count > 0 and self.room > 0

    def wants_fetch(self) -> bool:
        """Whether the window is running dry while the store may have more."""
        return (
            self._window.horizon is not None
            and not self._fetching
            and not self.paused
            and self.room > 0
            and self._window.count < min(self._prefetch, FETCH) // 2 + 1
        )

    def fetch(self) -> tuple[Place | None, int, int]:
        """Begin a fetch: ``(after, limit, limit_bytes)``."""
        self._fetching = True
        self._meanwhile = []
        horizon = self._window.horizon
        assert horizon is not None
        if horizon == NOTHING:
            # From the top: what is held stands in front of what is waiting.
            held = sum(len(held.copy.message.body) for held in self.held.values())
            return None, FETCH + len(self.held), FETCH_BYTES + held
        return horizon, FETCH, FETCH_BYTES

    def fetched(self, outcome: Fetched) -> None:
        """The answer to :meth:`fetch`."""
        self._fetching = False
        if self._doubted:
            self._meanwhile = []
            self.doubt()
            return
        if outcome.paused:
            self._meanwhile = []
            self._window.clear()
            self.paused = True
            return
        for copy in outcome.copies:
            seq = copy.message.seq
            if seq not in self.held and seq not in self.leases:
                self._window.add(copy)
        if not outcome.more:
            self._window.horizon = None
        elif outcome.copies:
            last = outcome.copies[-1].message
            self._window.horizon = (last.priority, last.seq)
        meanwhile, self._meanwhile = self._meanwhile, []
        for copy in meanwhile:
            self.offer(copy)

    def fetch_failed(self) -> None:
        """The store could not answer; the next :meth:`wants_fetch` asks again."""
        self._fetching = False
        self._meanwhile = []
        self.doubt()

    # --- delivering and holding ---

    def take(self, size: int, wall: int) -> list[Copy]:
        """The copies that go out to the session now, held from here on.

        As many as there is room for, ``size`` bytes of bodies but for the last one.
        """
        window = self._window
        held, unread = self.held, self._unread
        room = self._prefetch - len(unread)
        if 0 < window.count <= room and window.size < size:
            taken = window.take_all()
            seqs = [copy.message.seq for copy in taken]
            held.update(zip(seqs, [Held(copy, wall) for copy in taken], strict=True))
            unread.update(seqs)
            return taken
        taken = []
        while window.count and room > 0 and size > 0:
            copy = window.pop()
            message = copy.message
            seq = message.seq
            held[seq] = Held(copy, wall)
            unread.add(seq)
            taken.append(copy)
            room -= 1
            size -= len(message.body)
        if taken and not window.count:
            window.shed()
        return taken

    def read(self, seqs: list[int], lease_until: int) -> None:
        """The application has these; they no longer count against the prefetch.

        Also for one that is not held here but waits for its next attempt: a handler that
        outlived its connection goes on, and it must not be delivered to it again.
        """
        for seq in seqs:
            self._unread.discard(seq)
            self.leases.pop(seq, None)
            self.leases[seq] = lease_until

    def adopt(self, copy: Copy, wall: int) -> None:
        """Hold a copy that was handed out under an older session of this agent."""
        seq = copy.message.seq
        self.remove(seq)
        if seq not in self.held:
            self.held[seq] = Held(copy, wall)

    def said_done(self, seqs: list[int]) -> None:
        """The application is done with these; not durable yet, but room for others."""
        self._unread.difference_update(seqs)

    def said_over(self, seqs: list[int]) -> None:
        """An attempt at each of these has ended; :meth:`let_go` when that is durable."""
        for seq in seqs:
            self._unread.discard(seq)
            self.leases.pop(seq, None)

    def let_go(self, seq: int) -> Held | None:
        """The end of an attempt is durable. Nothing when it was taken up again meanwhile."""
        return None if seq in self.leases else self.release(seq)

    def release(self, seq: int) -> Held | None:
        """A copy is settled, or not this session's any more."""
        self._unread.discard(seq)
        self.leases.pop(seq, None)
        self._noted.discard(seq)
        return self.held.pop(seq, None)

    def settled(self, seqs: Sequence[int]) -> list[Held]:
        """:meth:`release` of many; those that were held. One that had not gone out yet must not
        any more."""
        self._unread.difference_update(seqs)
        self._noted.difference_update(seqs)
        leases, take = self.leases, self.held.pop
        found: list[Held] = []
        for seq in seqs:
            if leases:
                leases.pop(seq, None)
            held = take(seq, None)
            if held is None:
                self._window.remove(seq)
            else:
                found.append(held)
        return found

    def unnoted(self, until: int | None = None) -> tuple[tuple[tuple[int, int], ...], int | None]:
        """Deliveries the store has not been told about, ``(seq, wall)``; they count as told.

        Of those until then (wall) when given, and when the first later one was.
        """
        noted = self._noted
        new: list[tuple[int, int]] = []
        later = None
        for seq, held in self.held.items():
            if seq not in noted:
                if until is not None and held.delivered_at > until:
                    later = held.delivered_at
                    break  # they are held in the order in which they went out
                new.append((seq, held.delivered_at))
        noted.update([seq for seq, _ in new])
        return tuple(new), later

    def note(self, seqs: list[int]) -> tuple[tuple[int, int], ...]:
        """The same of those of ``seqs`` that are held, whenever they went out."""
        held, noted = self.held, self._noted
        new = tuple(
            [(seq, held[seq].delivered_at) for seq in seqs if seq in held and seq not in noted]
        )
        noted.update([seq for seq, _ in new])
        return new

    @property
    def unread(self) -> tuple[int, ...]:
        """What was delivered and neither read nor settled."""
        return tuple(self._unread)

    def lapsed(self, now: int) -> tuple[list[int], int | None]:
        """Leases that ended by ``now`` (mono), and when the next one does."""
        ended: list[int] = []
        for seq, until in self.leases.items():
            if until > now:
                return ended, until
            ended.append(seq)
        return ended, None
