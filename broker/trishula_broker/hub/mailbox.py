"""A mailbox as a receiving session sees it: a window of waiting copies, and what it holds.

The store has the whole queue; this has its head. The window contains *every* waiting copy up to
its ``horizon``, and all of them while the horizon is None. So a copy that was just committed
either belongs into the window or will be fetched later, and strict priority holds without
looking at the store again. Memory is bounded whatever the mailbox's depth.
"""

from __future__ import annotations

import heapq
from typing import Final, NamedTuple

from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import Copy, Fetched

Place = tuple[int, int]
"""Where a copy stands in its mailbox: (priority, seq)."""

NOTHING: Final[Place] = (0, 0)
"""Before every copy: the window knows nothing."""
FETCH: Final = 500
"""Copies asked for at once."""
FETCH_BYTES: Final = 1 << 20


class Held(NamedTuple):
    """A copy that was delivered and is not settled."""

    copy: Copy
    delivered_at: int
    """Wall clock."""


class Mailbox:
    """The waiting and held copies of one receiving session.

    ``prefetch`` bounds what is held and neither read nor settled.
    """

    __slots__ = (
        "_bytes",
        "_doubted",
        "_fetching",
        "_horizon",
        "_meanwhile",
        "_prefetch",
        "_ready",
        "_seqs",
        "_settings",
        "_unread",
        "held",
        "leases",
        "unnoted",
    )

    def __init__(self, prefetch: int, settings: HubSettings) -> None:
        self._prefetch = prefetch
        self._settings = settings
        self._ready: list[tuple[int, int, Copy]] = []
        self._seqs: set[int] = set()
        self._bytes = 0
        self._horizon: Place | None = NOTHING
        self._fetching = False
        self._doubted = False
        self._meanwhile: list[Copy] = []
        self._unread: set[int] = set()
        self.held: dict[int, Held] = {}
        self.leases: dict[int, int] = {}
        """seq → when its lease ends (mono), earliest first: a renewal moves it to the end."""
        self.unnoted: dict[int, int] = {}
        """seq → wall clock of deliveries the store has not been told about."""

    def __repr__(self) -> str:
        return (
            f"<Mailbox ready={len(self._ready)} horizon={self._horizon} held={len(self.held)} "
            f"unread={len(self._unread)} leases={len(self.leases)}>"
        )

    # --- the window ---

    def offer(self, copy: Copy) -> None:
        """A copy was committed for this mailbox."""
        message = copy.message
        if self._fetching:
            # The answer may or may not have it; what was committed meanwhile is merged in.
            self._meanwhile.append(copy)
        elif self._horizon is None or (message.priority, message.seq) <= self._horizon:
            self._push(copy)
            if len(self._ready) > self._settings.window_messages or (
                self._bytes > self._settings.window_bytes
            ):
                self._shrink()

    def _push(self, copy: Copy) -> None:
        message = copy.message
        seq = message.seq
        if seq in self._seqs or seq in self.held or seq in self.leases:
            return
        self._seqs.add(seq)
        self._bytes += len(message.body)
        heapq.heappush(self._ready, (message.priority, seq, copy))

    def _shrink(self) -> None:
        # Keep the first half; what was dropped is fetched again when its turn comes.
        self._ready.sort()
        keep = max(1, len(self._ready) // 2)
        for _, seq, copy in self._ready[keep:]:
            self._seqs.discard(seq)
            self._bytes -= len(copy.message.body)
        del self._ready[keep:]
        priority, seq, _ = self._ready[-1]
        self._horizon = (priority, seq)

    def remove(self, seq: int) -> None:
        """A waiting copy ended or was moved away."""
        if seq in self._seqs:
            self._seqs.discard(seq)
            self._ready = [entry for entry in self._ready if entry[1] != seq]
            heapq.heapify(self._ready)
            self._bytes = sum(len(copy.message.body) for _, _, copy in self._ready)

    def doubt(self) -> None:
        """The window may have missed something: know nothing, fetch again."""
        self._ready = []
        self._seqs = set()
        self._bytes = 0
        self._horizon = NOTHING
        # A fetch on its way began somewhere else: its answer does not fill this window.
        self._doubted = self._fetching

    @property
    def room(self) -> int:
        """How many more copies may be delivered now."""
        return self._prefetch - len(self._unread)

    def wants_fetch(self) -> bool:
        """Whether the window is running dry while the store may have more."""
        return (
            self._horizon is not None
            and not self._fetching
            and self.room > 0
            and len(self._ready) < min(self._prefetch, FETCH) // 2 + 1
        )

    def fetch(self) -> tuple[Place | None, int, int]:
        """Begin a fetch: ``(after, limit, limit_bytes)``."""
        self._fetching = True
        self._meanwhile = []
        assert self._horizon is not None
        if self._horizon == NOTHING:
            # From the top: what is held stands in front of what is waiting.
            held = sum(len(held.copy.message.body) for held in self.held.values())
            return None, FETCH + len(self.held) + len(self._ready), FETCH_BYTES + held
        return self._horizon, FETCH, FETCH_BYTES

    def fetched(self, outcome: Fetched) -> None:
        """The answer to :meth:`fetch`."""
        self._fetching = False
        if self._doubted:
            self._meanwhile = []
            self.doubt()
            return
        for copy in outcome.copies:
            self._push(copy)
        if not outcome.more:
            self._horizon = None
        elif outcome.copies:
            last = outcome.copies[-1].message
            self._horizon = (last.priority, last.seq)
        meanwhile, self._meanwhile = self._meanwhile, []
        for copy in meanwhile:
            self.offer(copy)

    def fetch_failed(self) -> None:
        """The store could not answer; the next :meth:`wants_fetch` asks again."""
        self._fetching = False
        self._meanwhile = []
        self.doubt()

    # --- delivering and holding ---

    def next(self) -> Copy | None:
        """Take the first waiting copy out of the window."""
        if not self._ready:
            return None
        _, seq, copy = heapq.heappop(self._ready)
        self._seqs.discard(seq)
        self._bytes -= len(copy.message.body)
        return copy

    def hold(self, copy: Copy, wall: int) -> None:
        """``copy`` goes out to the session now."""
        seq = copy.message.seq
        self.held[seq] = Held(copy, wall)
        self._unread.add(seq)
        self.unnoted[seq] = wall

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
        self.unnoted.pop(seq, None)
        return self.held.pop(seq, None)

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
