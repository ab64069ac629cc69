"""How long something lasts, as people write it: 30d, 12h, 45m, never; short: 500ms, 1.5s."""

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


_SHORT_UNITS: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_SHORT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ms|s|m|h|)", re.ASCII)
LONGEST_SHORT_S: Final = 30 * 86_400.0
"""Seconds of the longest short one; what is longer is a slip of the pen."""


class Span(click.ParamType[float]):
    """A short one, to be measured or waited for: seconds, more than 0; so is a bare number."""

    name = "time"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds that ``value`` stands for."""
        if isinstance(value, float):
            return value
        found = _SHORT.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no time: such as 500ms, 60s, 5m or 1h", param, ctx)
        seconds = float(found[1]) * _SHORT_UNITS[found[2]]
        if not 0 < seconds <= LONGEST_SHORT_S:
            self.fail(f"{value!r} is not between 0 and 30 days", param, ctx)
        return seconds
