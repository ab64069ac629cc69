"""What was found by a check."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "bad"]
"""``bad``: it does not work, is not safe, or loses what was promised. ``warning``: it may."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    check: str
    """What was: ``keys``, ``disk``, ``redis``, …"""
    level: Level
    found: str
    todo: str = ""
    """What to do about it; empty where it is well."""


def worst(*levels: Level) -> Level:
    """The worst of them."""
    order: tuple[Level, ...] = ("ok", "warning", "bad")
    return max(levels, key=order.index, default="ok")
