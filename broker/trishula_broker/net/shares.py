"""A rate that peers share fairly: a token bucket, and how much of it each has used lately.

It knows no sockets; time is asked of a clock.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Container
from typing import Final

ADDRESSES: Final = 4096
"""Addresses remembered; of more, those that asked longest ago are forgotten."""


class Shares:
    """Lets ``rate`` a second through, and as many at once after a quiet second.

    An address gets through while it has used less, of late, than is left in the bucket. One alone
    comes to use the whole rate and still leaves the bucket nearly full for the next; of several
    greedy ones each comes to use its part.

    Args:
        rate: a second.
        seconds: a clock that never jumps.
        proxies: addresses that many others are behind; to these only the rate applies.
    """

    def __init__(
        self, rate: float, seconds: Callable[[], float], proxies: Container[str] = ()
    ) -> None:
        self._rate = float(rate)
        self._seconds = seconds
        self._proxies = proxies
        self._left = float(rate)
        self._filled_at = seconds()
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By address: how much, and when that was so. It decays by 1/e a second."""

    def __repr__(self) -> str:
        return f"<Shares {self._left:.1f} of {self._rate:g}/s, {len(self._used)} addresses>"

    def __len__(self) -> int:
        return len(self._used)

    def take(self, address: str) -> bool:
        """Whether one from ``address`` may pass now; if so it is counted."""
        now = self._seconds()
        self._left = min(self._rate, self._left + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._left < 1:
            return False
        if address not in self._proxies:
            used, at = self._used.get(address, (0.0, now))
            used *= math.exp(at - now)
            if used >= self._left:
                return False
            self._used[address] = used + 1, now
            self._used.move_to_end(address)
            if len(self._used) > ADDRESSES:
                self._used.popitem(last=False)
        self._left -= 1
        return True
