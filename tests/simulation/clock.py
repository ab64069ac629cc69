"""Simulated time: what happens next is what is due first."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Scheduler:
    """Calls, each at its millisecond. Those of one millisecond run in the order they came."""

    def __init__(self, start: int) -> None:
        self.now = start
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: int, call: Callable[..., None], *args: Any) -> None:
        """Call ``call(*args)`` at ``when``, or now when that has passed."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, call, args))

    def after(self, delay: int, call: Callable[..., None], *args: Any) -> None:
        """Call ``call(*args)`` in ``delay`` milliseconds."""
        self.at(self.now + delay, call, *args)

    def step(self) -> bool:
        """Run what is due next; False when nothing is left."""
        if not self._heap:
            return False
        self.now, _, call, args = heapq.heappop(self._heap)
        call(*args)
        return True


class Alarm:
    """One wake-up call of one owner, moved forward as often as it likes.

    A call that was set later stays in the heap and finds that it is not the one waited for.
    """

    def __init__(self, clock: Scheduler, call: Callable[[], None]) -> None:
        self._clock = clock
        self._call = call
        self._due: int | None = None

    def set(self, due: int | None) -> None:
        """Call at ``due`` at the latest."""
        if due is None:
            return
        due = max(due, self._clock.now)
        if self._due is None or due < self._due:
            self._due = due
            self._clock.at(due, self._ring, due)

    def _ring(self, due: int) -> None:
        if due == self._due:
            self._due = None
            self._call()
