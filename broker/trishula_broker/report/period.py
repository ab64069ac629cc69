"""Which time a report is about: a day, a week or anything in between, in UTC."""

from __future__ import annotations

import datetime
import re
from typing import Final, NamedTuple

DAY_MS: Final = 86_400_000
LONGEST_MS: Final = 370 * DAY_MS
"""A year; what is longer is a slip of the pen."""
_WEEK: Final = re.compile(r"(\d{4})-?W(\d{1,2})", re.ASCII)


class Period(NamedTuple):
    """Milliseconds since the epoch; ``until`` is outside."""

    since: int
    until: int


def day(text: str) -> Period:
    """``2026-11-20``.

    Raises:
        ValueError: it is no day; says what to write.
    """
    try:
        begin = datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day; write 2026-11-20") from None
    return _from(begin, 1)


def week(text: str) -> Period:
    """``2026-W47``, from Monday to Sunday, or any day of it.

    Raises:
        ValueError: it is no week; says what to write.
    """
    found = _WEEK.fullmatch(text.strip().upper())
    try:
        if found is not None:
            return _from(datetime.date.fromisocalendar(int(found[1]), int(found[2]), 1), 7)
        given = datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no week; write 2026-W47, or a day of it") from None
    return _from(given - datetime.timedelta(days=given.weekday()), 7)


def between(since: int, until: int) -> Period:
    """A period of one's own.

    Raises:
        ValueError: it ends before it begins, or is longer than a year.
    """
    if until <= since:
        raise ValueError("it ends before it begins: --until is later than --since")
    if until - since > LONGEST_MS:
        raise ValueError("it is longer than a year; take a shorter one")
    return Period(since, until)


def _from(begin: datetime.date, days: int) -> Period:
    midnight = datetime.datetime(begin.year, begin.month, begin.day, tzinfo=datetime.UTC)
    since = round(midnight.timestamp() * 1000)
    return Period(since, since + days * DAY_MS)
