"""Full-jitter exponential backoff.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. A storm of
clients that all lost the same hub spreads evenly over the whole interval.
"""

from __future__ import annotations

from typing import Final

BASE_MS: Final = 100
"""Upper bound of the first wait."""
CAP_MS: Final = 10_000
"""Upper bound of every wait: an agent is back at most this long after the hub is."""


def full_jitter_ms(
    attempt: int, fraction: float, base_ms: int = BASE_MS, cap_ms: int = CAP_MS
) -> int:
    """Milliseconds to wait before ``attempt`` (0 for the first retry).

    Args:
        attempt: retries made so far.
        fraction: uniform in [0, 1), the caller's randomness.
        base_ms: upper bound for attempt 0; it doubles with every attempt.
        cap_ms: upper bound for all.
    """
    return int(fraction * min(cap_ms, base_ms * 2 ** min(attempt, 30)))
