"""How far clocks are apart."""

from __future__ import annotations

from typing import Final

from trishula_broker.doctor.finding import Finding, Level

APART_S: Final = 1.0
"""Further than any clock that is kept by NTP."""


def offset(whose: str, seconds: float, give_or_take: float, leeway_s: float) -> Finding:
    """What is to be said of a clock that is so far ahead of this host's.

    Args:
        whose: it is, for people.
        seconds: how far it is ahead; below 0 behind.
        give_or_take: how wrong that may be: the answer took some time.
        leeway_s: what tokens' times may be apart.
    """
    apart = max(abs(seconds) - give_or_take, 0.0)
    level: Level = "ok"
    if apart > APART_S:
        level = "bad" if apart > leeway_s else "warning"
    way = "ahead of" if seconds >= 0 else "behind"
    text = f"{whose} is {abs(seconds):.3f} s {way} this host (±{give_or_take:.3f} s)"
    todo = "keep both hosts' clocks by NTP (timedatectl set-ntp true)" if level != "ok" else ""
    return Finding("clock", level, text, todo)
