"""How quick the disk is: whether the event loop may wait for a short record itself.

Handing a record to a thread and hearing of it takes longer than a quick disk takes to write it. A
slow one must not keep everybody waiting: after a record that took long the thread writes for many
times as long, and goes on doing so until the disk was quick again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

QUICK_S: Final = 0.001
"""A record that took no longer was written quickly: while another thread runs Python as well, two
handings over take longer than that."""
SHARE: Final = 10
"""Slow records keep the event loop for one part in so many of its time at most."""


class Pace:
    """What the last records took.

    Args:
        clock: seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._was_quick = False
        self._rest_until = 0.0

    def __repr__(self) -> str:
        return f"<Pace {'quick' if self.is_quick else 'slow'}>"

    @property
    def is_quick(self) -> bool:
        """Whether the last record was written quickly, and no slow one came just before."""
        return self._was_quick and (not self._rest_until or self._clock() >= self._rest_until)

    def took(self, seconds: float) -> None:
        """A record was written in so long."""
        self._was_quick = seconds <= QUICK_S
        if not self._was_quick:
            self._rest_until = self._clock() + SHARE * seconds
