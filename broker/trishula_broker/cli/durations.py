"""How long something lasts, as people write it: 30d, 12h, 45m, never."""

from __future__ import annotations

import re
from typing import Final

import click

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_WRITTEN: Final = re.compile(r"([0-9]{1,9})([smhdw])\Z", re.ASCII)
LONGEST_S: Final = 36_500 * 86_400
"""Seconds of the longest, a hundred years: what is meant to last longer is for ever."""


def duration(ctx: click.Context, param: click.Parameter, text: str) -> int | None:
    """The callback of an option that is a duration: milliseconds; None for ``never``."""
    written = text.strip().lower()
    if written == "never":
        return None
    found = _WRITTEN.match(written)
    if found is None:
        raise click.BadParameter(f"{text!r}: write 30d, 12h, 45m, 90s or never.", ctx, param)
    seconds = int(found[1]) * _UNITS[found[2]]
    if not 0 < seconds <= LONGEST_S:
        raise click.BadParameter(f"{text!r}: from 1s to 36500d, or never.", ctx, param)
    return seconds * 1000
