"""Times as the archive writes them: UTC, ISO 8601, to the millisecond."""

from __future__ import annotations

import datetime
from typing import Final

_seconds: dict[int, str] = {}
_KEPT: Final = 4096
"""Seconds remembered: many records are of the same one."""


def iso(ms: int) -> str:
    """``ms`` since the Unix epoch as ``2026-11-21T16:20:00.123Z``."""
    second, fraction = divmod(ms, 1000)
    text = _seconds.get(second)
    if text is None:
        if len(_seconds) >= _KEPT:
            _seconds.clear()
        try:
            when = datetime.datetime.fromtimestamp(second, datetime.UTC)
        except (OverflowError, ValueError, OSError):
            return f"{ms} ms"  # no clock of a store says so; what it did say is kept
        text = _seconds[second] = when.strftime("%Y-%m-%dT%H:%M:%S.")
    return f"{text}{fraction:03}Z"


def parse(text: str) -> int:
    """Milliseconds since the Unix epoch of an ISO 8601 time; UTC where it names no zone.

    Raises:
        ValueError: it is none.
    """
    when = datetime.datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return round(when.timestamp() * 1000)
