"""Which workers hang, for a service manager that wants to know that all of them live.

It goes by looks and not by the clock: when all of this host stood still, nobody missed anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trishula_broker.notify import BEATS, ServiceManager
from trishula_broker.workers.board import Board
from trishula_broker.workers.worker import SHOWN_EVERY_S

MISSED: Final = BEATS - 1
"""Looks in a row at which a worker had said nothing: it hangs. As many are within the time that the
service manager allows for a beat."""


class Watchdog:
    """Looks at the board, and beats.

    Args:
        board: what the workers' event loops write to.
        manager: who wants to know; one without a watchdog does not.
    """

    def __init__(self, board: Board, manager: ServiceManager) -> None:
        self._board = board
        self._manager = manager
        self._every_s = manager.watchdog_s / BEATS
        self._next = 0.0
        self._seen: dict[int, tuple[int, int]] = {}
        """Of each worker the beats at the last look, and how many looks in a row changed none."""

    @property
    def worker_s(self) -> float:
        """Between two beats of a worker: twice a look at least."""
        return min(SHOWN_EVERY_S, self._every_s / 2) or SHOWN_EVERY_S

    def wait(self, now: float) -> float | None:
        """Seconds until the next look, None when nobody wants one; ``now`` is monotonic."""
        return max(self._next - now, 0.0) if self._every_s else None

    def look(self, now: float, serving: Iterable[int]) -> list[int]:
        """Beat, once the next look is due; which of the workers ``serving`` hang."""
        if not self._every_s or now < self._next:
            return []
        self._next = now + self._every_s
        self._manager.alive()
        before, self._seen = self._seen, {}
        for number in serving:
            beats, missed = self._board.beats(number), 0
            if number in before and before[number][0] == beats:
                missed = before[number][1] + 1
            self._seen[number] = beats, missed
        return [number for number, (_, missed) in self._seen.items() if missed == MISSED]
