"""A length of time on the command line: ``500ms``, ``60s``, ``5m``, ``1h``."""

from __future__ import annotations

import re
from typing import Final

import click

_UNITS: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_FORM: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(?P<unit>ms|s|m|h|)")
LONGEST: Final = 30 * 86_400.0
"""Seconds; what is longer is a slip of the pen."""


class Span(click.ParamType[float]):
    """Seconds, more than 0; a bare number is seconds."""

    name = "time"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds that ``value`` stands for."""
        if isinstance(value, float):
            return value
        found = _FORM.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no time: such as 500ms, 60s, 5m or 1h", param, ctx)
        seconds = float(found["number"]) * _UNITS[found["unit"]]
        if not 0 < seconds <= LONGEST:
            self.fail(f"{value!r} is not between 0 and 30 days", param, ctx)
        return seconds
