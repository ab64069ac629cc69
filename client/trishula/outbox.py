"""What was sent and not yet accepted, in order; it outlives connections.

Pure: no clock, no randomness, no asyncio. Time is monotonic milliseconds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from trishula_protocol import limits
from trishula_protocol.backoff import full_jitter_ms
from trishula_protocol.bodies import ErrorBody
from trishula_protocol.errors import ErrorCode

MESSAGES: Final = limits.UNACCEPTED_MESSAGES
"""Messages on their way at most. The hub would stop reading us at as many (§5)."""
BYTES: Final = limits.UNACCEPTED_BYTES
"""The same in bytes."""
PACE_MS: Final = 50
"""Where a hub limits messages a second, so many milliseconds' worth go at a time."""


class Outgoing(msgspec.Struct, eq=False):
    """A message, or a question to the hub, on its way.

    Attributes:
        id: the envelope's id; it stays the same however often it is sent.
        encoded: the envelope's bytes.
        waiter: whatever the owner wants back with the outcome.
        stored: whether it is a message, which is accepted, and not a question, which is answered.
        patient: also a full mailbox is waited for, instead of being refused.
        answers: the delivery this settles, an ``inbox.Delivery``.
        held: not to be sent before :meth:`Outbox.release`.
        by_file: for the shared folder although a hub answers; ``held`` until that has it.
        number: its place among all that were added.
        tries: how often it was refused.
    """

    id: str
    encoded: bytes
    waiter: Any = None
    stored: bool = True
    patient: bool = False
    answers: Any = None
    held: bool = False
    by_file: bool = False
    number: int = 0
    tries: int = 0

    def __repr__(self) -> str:
        return f"<Outgoing {self.id} {len(self.encoded)} bytes, refused {self.tries} times>"


class Pace:
    """How fast a hub takes messages that has said so: a few at a time, as many as it takes."""

    def __init__(self, per_s: float, now: int) -> None:
        self._per_ms = per_s / 1000
        # Less than what the hub lets through in the same time, for its clock is another.
        self._most = max(1.0, self._per_ms * PACE_MS)
        self._tokens = 0.0
        self._filled_at = now

    def __repr__(self) -> str:
        return f"<Pace {self._per_ms * 1000:g}/s, {self.allowed} now>"

    @property
    def allowed(self) -> int:
        """How many may go now."""
        return int(self._tokens)

    @property
    def due(self) -> int:
        """When to look again."""
        wanted = self._most - self._tokens
        return self._filled_at + max(1, math.ceil(wanted / self._per_ms))

    def spend(self, count: int) -> None:
        """So many have gone."""
        self._tokens -= count

    def fill(self, now: int) -> None:
        """Time has passed."""
        earned = max(0, now - self._filled_at) * self._per_ms
        self._tokens = min(self._most, self._tokens + earned)
        self._filled_at = max(now, self._filled_at)


class Outbox:
    """Bounded: its owner checks :attr:`full` before adding.

    Args:
        fraction: uniform in [0, 1), for the backoff's jitter.
    """

    def __init__(
        self, fraction: Callable[[], float], messages: int = MESSAGES, bytes_: int = BYTES
    ) -> None:
        self._fraction = fraction
        self._max_messages = messages
        self._max_bytes = bytes_
        self._entries: dict[str, Outgoing] = {}
        self.full = False
        """Whether nothing more may be added now."""
        self._bytes = 0
        self._numbers = 0
        self._ready: list[Outgoing] = []
        self._again: list[Outgoing] = []
        self._resume_at: int | None = None
        self._pauses = 0
        self._later: list[tuple[int, int, Outgoing]] = []
        self._pace: Pace | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    def __iter__(self) -> Iterator[Outgoing]:
        return iter(self._entries.values())

    def __repr__(self) -> str:
        return f"<Outbox {len(self._entries)} unaccepted, {self._bytes} bytes>"

    @property
    def room(self) -> int:
        """How many more messages may be added now; none while there are too many bytes."""
        if self._bytes >= self._max_bytes:
            return 0
        return self._max_messages - len(self._entries)

    @property
    def ready(self) -> int:
        """How many messages :meth:`take` would return, when nothing makes them wait."""
        return len(self._ready)

    @property
    def waiting(self) -> bool:
        """Whether :meth:`take` would return something."""
        return bool(self._ready) and self._resume_at is None and self._allowed > 0

    @property
    def underway(self) -> bool:
        """Whether something was taken and has had no outcome; looks at every message."""
        later = [entry[2] for entry in self._later]
        here = {out.id for part in (self._ready, self._again, later) for out in part}
        return any(not out.held and out.id not in here for out in self._entries.values())

    def add(self, out: Outgoing) -> None:
        """Put ``out`` at the end.

        Raises:
            ValueError: its id is on its way already.
        """
        if out.id in self._entries:
            raise ValueError(f"id: {out.id!r} is on its way already")
        self._numbers += 1
        out.number = self._numbers
        self._entries[out.id] = out
        self._bytes += len(out.encoded)
        self.full = len(self._entries) >= self._max_messages or self._bytes >= self._max_bytes
        if not out.held:
            self._ready.append(out)

    def release(self, outs: Iterable[Outgoing]) -> None:
        """Let messages that were ``held`` go out."""
        for out in outs:
            if out.held and out.id in self._entries:
                out.held = False
                self._ready.append(out)

    def take(self) -> list[Outgoing]:
        """What is to be written now, in order."""
        if self._resume_at is not None:
            return []
        allowed = self._allowed
        ready, self._ready = self._ready[:allowed], self._ready[allowed:]
        if self._pace is not None:
            self._pace.spend(len(ready))
        return ready

    @property
    def _allowed(self) -> int:
        """How many may be taken now."""
        return len(self._ready) if self._pace is None else self._pace.allowed

    def accepted(self, ids: Iterable[str]) -> list[Outgoing]:
        """Take out messages that the hub has."""
        outs: list[Outgoing] = []
        pop = self._entries.pop
        size = 0
        for id in ids:
            out = pop(id, None)
            if out is not None:
                size += len(out.encoded)
                outs.append(out)
        if outs:
            self._left(size)
        return outs

    def _left(self, size: int) -> None:
        self._bytes -= size
        self.full = len(self._entries) >= self._max_messages or self._bytes >= self._max_bytes
        self._pauses = 0

    def remove(self, id: str) -> Outgoing | None:
        """Take out what has its outcome."""
        out = self._entries.pop(id, None)
        if out is not None:
            self._left(len(out.encoded))
        return out

    def withdraw(self, out: Outgoing) -> None:
        """Take out what is not to be sent any more."""
        self.remove(out.id)
        if out in self._ready:
            self._ready.remove(out)

    def refuse(self, id: str, error: ErrorBody, now: int) -> Outgoing | None:
        """The hub refused ``id``. What is refused for good is returned, taken out.

        ``unavailable`` and ``rate_limited`` are about the hub: everything waits, then goes out
        again in its old order, and where the hub says how many a second it takes, no faster than
        that. A full mailbox is about one recipient: a patient message waits alone.
        """
        out = self._entries.get(id)
        if out is None:
            return None
        if error.code in (ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED):
            self._again.append(out)
            self._slow_down(error, now)
            if self._resume_at is None:
                wait = error.retry_after_ms
                if wait is None:
                    wait = full_jitter_ms(self._pauses, self._fraction())
                self._pauses += 1
                self._resume_at = now + max(1, wait)
            return None
        if out.patient and error.code == ErrorCode.MAILBOX_FULL:
            wait = error.retry_after_ms
            if wait is None:
                wait = full_jitter_ms(out.tries, self._fraction())
            out.tries += 1
            heapq.heappush(self._later, (now + max(1, wait), out.number, out))
            return None
        return self.remove(id)

    def _slow_down(self, error: ErrorBody, now: int) -> None:
        per_s = (error.details or {}).get("messages_per_s")
        if isinstance(per_s, int | float) and per_s > 0:
            self._pace = Pace(per_s, now)

    def reconnected(self) -> None:
        """A new connection: all of it goes out again, in its old order."""
        self._pace = None
        self._ready = [out for out in self._entries.values() if not out.held]
        self._again = []
        self._later = []
        self._resume_at = None

    def next_timeout(self) -> int | None:
        """When :meth:`timeout` has something to do."""
        due = self._resume_at
        if due is None and self._ready and self._pace is not None:
            due = self._pace.due
        if self._later and (due is None or self._later[0][0] < due):
            return self._later[0][0]
        return due

    def timeout(self, now: int) -> None:
        """Make ready what has waited long enough."""
        if self._pace is not None:
            self._pace.fill(now)
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            merged = {out.number: out for out in self._again + self._ready}
            self._ready = [merged[n] for n in sorted(merged) if merged[n].id in self._entries]
            self._again = []
        while self._later and self._later[0][0] <= now:
            out = heapq.heappop(self._later)[2]
            if out.id in self._entries:
                self._ready.append(out)
