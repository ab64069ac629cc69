"""Which hub of the list is tried next, and after how long. Pure: no clock, no asyncio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trishula_protocol.backoff import full_jitter_ms

FOREVER: Final = float("inf")
SHORT_ROUNDS: Final = 3
"""The growth of the waits that is left once a hub has let us in: they are below 0.8 s then. Hubs
that die one after the other are no reason to stay away, hubs that close at once are for a pause."""


class Rounds:
    """A round tries each hub once, one right after the other; full jitter comes between rounds.

    So whoever lost one hub is on the next one at once, and a crowd that has lost them all does
    not come back as one.

    Args:
        hubs: how many there are.
        fraction: uniform in [0, 1), for the jitter.
    """

    def __init__(self, hubs: int, fraction: Callable[[], float]) -> None:
        self._hubs = hubs
        self._fraction = fraction
        self._tried = 0
        self._before = 0
        self._asked = 0.0
        self.index = 0
        """The hub to try now, or the one that serves."""

    def __repr__(self) -> str:
        return f"<Rounds at hub {self.index} of {self._hubs}, {self._before} rounds failed>"

    def served(self, *, restart: bool) -> float:
        """The hub served for a while and does not any more: seconds to wait before the next.

        Args:
            restart: it asked for somebody else to be tried, or itself again.
        """
        self._tried = self._before = 0
        self._asked = 0.0
        if self._hubs == 1 and not restart:
            return self.failed()  # everybody else has lost it too
        self._next()
        return 0.0

    def cut_short(self, longest: float = FOREVER) -> float:
        """The hub served, and only for a moment: seconds to wait before the next."""
        self._before = min(self._before, SHORT_ROUNDS)
        return self.failed(0.0, longest)

    def failed(self, retry_after: float = 0.0, longest: float = FOREVER) -> float:
        """The hub was not to be had: seconds to wait before the next.

        Args:
            retry_after: seconds the hub asked for; kept between this round and the next.
            longest: seconds of jitter at most.
        """
        self._tried += 1
        self._asked = max(self._asked, retry_after)
        self._next()
        if self._tried < self._hubs:
            return 0.0
        wait = min(full_jitter_ms(self._before, self._fraction()) / 1000, longest) + self._asked
        self._tried = self.index = 0
        self._asked = 0.0
        self._before += 1
        return wait

    def _next(self) -> None:
        self.index = (self.index + 1) % self._hubs
