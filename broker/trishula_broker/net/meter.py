"""What the driver and the sockets have done, in plain integers, for whoever measures them.

A frame costs two readings of a clock, an operation some additions when its commit is over. It
knows no exposition format.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

from trishula_broker.hub.counts import Buckets
from trishula_broker.store import base

SECONDS: Final = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.5, 5.0),
)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
LAG_S: Final = 0.25
"""Between two looks at how late the event loop is."""
DEAD: Final = frozenset({"dead", "rejected"})
"""Outcomes that make dead letters."""
REASONS: Final = 100
"""Reasons of refusals that are counted apart; others are counted as ``other``."""


class Meter:
    """Counts, since the process began.

    Attributes:
        accept: seconds from the arrival of a frame to the commit of what was in it, weighted by its
            envelopes.
        commits: seconds that commits took; ``sizes`` are their operations.
        failed: commits of which it is not known what became.
        messages: by type and outcome: ``accepted``, ``duplicate``, ``fenced``, a refusal's code.
        settled: copies settled, by outcome: ``done`` or one of a dead letter's.
        requeued: attempts that ended and come again.
        notes: what the cores noted, by event.
        refused: connections and requests turned away, by what and reason.
        unproven: those of them that had no good token.
        lag: seconds that the event loop was late.
    """

    def __init__(self) -> None:
        self.accept = Buckets(SECONDS)
        self.commits = Buckets(SECONDS)
        self.sizes = Buckets(SIZES)
        self.failed = 0
        self.messages: dict[tuple[str, str], int] = {}
        self.settled: Counter[str] = Counter()
        self.requeued = 0
        self.notes: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self.unproven = 0
        self.lag = Buckets(SECONDS)
        self.ended: Callable[[str, base.Operation, base.Outcome], None] | None = None
        """Told of a namespace's copies that became dead letters, and of nodes that were ended."""
        self._arrived: list[tuple[float, int]] = []
        self._under_way: deque[tuple[float, list[tuple[float, int]]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Meter commits={sum(self.commits.counts)} failed={self.failed}>"

    # --- commits ---

    def arrived(self, envelopes: int) -> None:
        """A frame came."""
        self._arrived.append((perf_counter(), envelopes))

    def collected(self, any_: bool) -> None:
        """The driver looked for what to commit: a commit begins, or there was nothing."""
        arrived, self._arrived = self._arrived, []
        if any_:
            self._under_way.append((perf_counter(), arrived))

    @property
    def dead_letters(self) -> int:
        """Copies that became dead letters."""
        return sum(self.settled[outcome] for outcome in DEAD)

    @property
    def pending_s(self) -> float:
        """Seconds that the oldest commit under way has taken so far."""
        return perf_counter() - self._under_way[0][0] if self._under_way else 0.0

    def committed(
        self, batches: Sequence[base.Batch], outcomes: Sequence[Sequence[base.Outcome]]
    ) -> None:
        """The oldest commit under way is over; ``outcomes`` are empty when it failed."""
        if not batches:
            return  # it was to ask the store whether it is well
        began, arrived = self._under_way.popleft()
        now = perf_counter()
        self.commits.add(now - began)
        self.sizes.add(sum([len(batch.ops) for batch in batches]))
        if not outcomes:
            self.failed += 1
            return
        for at, envelopes in arrived:
            self.accept.add(now - at, envelopes)
        for batch, decided in zip(batches, outcomes, strict=True):
            self._count(batch.namespace, batch.ops, decided)

    def _count(
        self,
        namespace: str,
        ops: Sequence[base.Operation],
        outcomes: Sequence[base.Outcome],
    ) -> None:
        messages = self.messages
        done = 0
        for op, outcome in zip(ops, outcomes, strict=True):
            if type(op) is base.Accept:
                if type(outcome) is base.Accepted:
                    key = (op.type, "accepted")
                    done += op.settles is not None
                else:
                    key = (op.type, _refusal(outcome))
                messages[key] = messages.get(key, 0) + 1
            elif type(op) is base.Settle:
                if type(outcome) is base.Marked:
                    done += len(outcome.seqs)
            elif type(op) is base.Requeue:
                if type(outcome) is base.Requeued:
                    self.requeued += len(outcome.copies)
            elif type(op) is base.Discard and type(outcome) is base.Discarded:
                self.settled[op.outcome] += outcome.done
                if outcome.done and op.outcome in DEAD and self.ended is not None:
                    self.ended(namespace, op, outcome)
            elif type(op) is base.EndNode and self.ended is not None:
                self.ended(namespace, op, outcome)
        if done:
            self.settled["done"] += done

    # --- the rest ---

    def noted(self, event: str) -> None:
        """A core noted something."""
        self.notes[event] += 1

    def turned_away(self, what: str, reason: str, status: int) -> None:
        """A connection or a request, with this status."""
        self.unproven += status == HTTPStatus.UNAUTHORIZED
        if (what, reason) not in self.refused and len(self.refused) >= REASONS:
            reason = "other"
        self.refused[what, reason] += 1

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look how late the loop is."""
        due = loop.time() + LAG_S
        self._timer = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.lag.add(max(0.0, loop.time() - due))
        self.watch(loop)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _refusal(outcome: Any) -> str:
    if isinstance(outcome, base.Refused):
        return outcome.code
    return "duplicate" if isinstance(outcome, base.Duplicate) else "fenced"
