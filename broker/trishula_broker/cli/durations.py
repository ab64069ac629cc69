"""How long something lasts, as people write it: 500ms, 90s, 1.5h, 30d; `never`, where it may."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_WRITTEN: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*(ms|[smhdw])", re.ASCII)
LONGEST_LIFETIME_S: Final = 36_500 * 86_400.0
"""Seconds of the longest lifetime, a hundred years: what is meant to last longer is for ever."""
DAY_S: Final = 86_400.0
LONGEST_SPAN_S: Final = 30 * DAY_S
"""Seconds of the longest span; what is longer is a slip of the pen."""


def seconds(text: str) -> float | None:
    """A number and its unit as seconds; None for what is no such thing. Spaces do not count."""
    found = _WRITTEN.fullmatch(text.strip().lower())
    return None if found is None else float(found[1]) * _UNIT_S[found[2]]


def timeout_option(help: str, default: float | None = None) -> Callable[[F], F]:
    """``--timeout TIME``: the command gets seconds, ``default`` where none is given."""
    return click.option(
        "--timeout",
        type=Span(),
        default=default,
        show_default=default is not None,
        metavar="TIME",
        help=help,
    )


class Lifetime(click.ParamType["int | None"]):
    """How long something is valid: milliseconds, a second at the least; None for ``never``."""

    name = "duration"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """The milliseconds that ``value`` stands for."""
        if value.strip().lower() == "never":
            return None
        length = seconds(value)
        if length is None:
            self.fail(f"{value!r}: write 30d, 12h, 45m, 90s or never.", param, ctx)
        if not 1 <= length <= LONGEST_LIFETIME_S:
            self.fail(f"{value!r}: from 1s to 36500d, or never.", param, ctx)
        return round(length * 1000)


class Span(click.ParamType[float]):
    """How long something is measured or may take: seconds, more than 0; so is a bare number.

    Args:
        longest_s: seconds of the longest.
    """

    name = "time"

    def __init__(self, longest_s: float = LONGEST_SPAN_S) -> None:
        self._longest_s = longest_s

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds that ``value`` stands for."""
        if isinstance(value, float):
            return value
        length = seconds(value)
        if length is None:
            length = seconds(f"{value}s")
        if length is None:
            self.fail(f"{value!r} is no time: such as 500ms, 60s, 5m or 1h", param, ctx)
        if not 0 < length <= self._longest_s:
            days = self._longest_s / DAY_S
            self.fail(f"{value!r} is not between 0 and {days:g} days", param, ctx)
        return length
