"""Operations on their way to the store, each with what happens next.

One commit is in flight at a time; what is submitted meanwhile is the next batch. What nobody waits
for, such as a settlement, goes along with what comes next: it has a commit of its own only when
nothing comes for a moment, so that a question and its answer are two commits and not five. A commit
that failed leaves it unknown what was applied: each operation's continuation is told so. What is
tried again then goes first, in its old order: what came later may be about the same copies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.now import Now
from trishula_broker.store import base
from trishula_protocol.errors import ErrorCode, ProtocolError

RETRY_MS: Final = 200
"""Wait before an operation of the hub's own is tried again after the store failed."""


class Unavailable(base.Outcome, frozen=True):
    """The store failed; whether the operation was applied is unknown."""

    why: str

    def error(self, remedy: str, reply_to: str | None) -> ProtocolError:
        """What whoever wanted the operation is told; ``remedy`` is what to do."""
        return ProtocolError(
            ErrorCode.UNAVAILABLE,
            f"the store cannot promise anything now ({self.why}); {remedy}",
            reply_to=reply_to,
        )


Then = Callable[[Any, Any, Any, Now], None]
"""``then(outcome, op, context, now)``; the outcome may be :class:`Unavailable`."""

Tap = Callable[[base.Operation, Any, Now], None]
"""``tap(op, outcome, now)``"""
_Entry = tuple[base.Operation, Then, Any]


class Commits:
    """The queue between the core and the store."""

    def __init__(self, agenda: Agenda, patience_ms: int) -> None:
        self._agenda = agenda
        self._patience_ms = patience_ms
        self._urgent = False
        """Something of what waits is not patient."""
        self._waiting: list[_Entry] = []
        self._in_flight: deque[list[_Entry]] = deque()
        self._again: list[_Entry] = []
        self.tap: Tap | None = None
        """Sees what each commit did, before whoever wanted it does."""

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._in_flight)) + len(self._again)

    def submit(self, op: base.Operation, then: Then, context: Any = None) -> None:
        """Queue ``op``."""
        self._waiting.append((op, then, context))
        self._urgent = True

    def submit_patiently(self, op: base.Operation, then: Then, context: Any, now: Now) -> None:
        """Queue ``op`` for the next commit there is, or for one in a moment."""
        self._waiting.append((op, then, context))
        if not self._urgent:
            if self._patience_ms:
                self._agenda.at(now.mono + self._patience_ms, "patience", self._hurry)
            else:
                self._urgent = True

    def _hurry(self, now: Now) -> None:
        self._urgent = bool(self._waiting)

    def take(self, ahead: bool = False) -> list[base.Operation]:
        """The next batch; empty while one is in flight, after a failure for a moment, or when
        there is nothing that is urgent. ``ahead``: the one in flight is durable, which is said
        next."""
        if (self._in_flight and not ahead) or self._again or not self._urgent:
            return []
        batch, self._waiting = self._waiting, []
        self._urgent = False
        self._agenda.cancel("patience")
        self._in_flight.append(batch)
        return [op for op, _, _ in batch]

    def deciding(self) -> frozenset[str] | None:
        """Who has something in the commit in flight, None when none is: senders, and
        ``@capability`` where the mail of its pool is handed out."""
        if not self._in_flight:
            return None
        ops = [op for batch in self._in_flight for op, _, _ in batch]
        names = [op.sender for op in ops if isinstance(op, base.Accept)]
        names += [f"@{op.capability}" for op in ops if type(op) is base.Assign]
        return frozenset(names)

    def committed(self, outcomes: Sequence[base.Outcome], now: Now) -> None:
        """The batch in flight is durable."""
        self._go_on(outcomes, now)

    def failed(self, why: str, now: Now) -> None:
        """The batch in flight failed."""
        self._go_on([Unavailable(why)] * len(self._in_flight[0]), now)

    def _go_on(self, outcomes: Sequence[base.Outcome], now: Now) -> None:
        entries = self._in_flight.popleft()
        bugs: list[Exception] = []
        if self.tap is not None:
            try:
                for (op, _, _), outcome in zip(entries, outcomes, strict=True):
                    self.tap(op, outcome, now)
            except Exception as bug:  # who listens is not who matters
                bugs.append(bug)
        for (op, then, context), outcome in zip(entries, outcomes, strict=True):
            try:
                then(outcome, op, context, now)
            except Exception as bug:  # the others must hear of their outcome all the same
                bugs.append(bug)
        if bugs:
            raise ExceptionGroup("continuations of a commit failed", bugs)

    def retry(self, op: base.Operation, then: Then, context: Any, now: Now) -> None:
        """Submit an idempotent operation again in a moment, before all that came after it."""
        self._again.append((op, then, context))
        self._agenda.at(now.mono + RETRY_MS, "again", self._resume)

    def _resume(self, now: Now) -> None:
        self._waiting[:0] = self._again
        self._again = []
        self._urgent = bool(self._waiting)
