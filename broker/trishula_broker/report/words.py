"""How numbers of a report look to people, in text and in HTML alike."""

from __future__ import annotations


def share(value: float | None) -> str:
    """A part of 1; never rounded up to all of it."""
    if value is None:
        return "unknown"
    percent = 100 * value
    if 99.99 <= percent < 100:
        return "99.99 %"
    return f"{percent:.2f} %"


def latency(ms: float | None) -> str:
    """Milliseconds."""
    if ms is None:
        return "-"
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:.0f} ms"


def span(seconds: float) -> str:
    """A length of time, in its two largest units."""
    total = round(seconds)
    if total < 60:
        return f"{seconds:.1f} s" if total < 10 else f"{total} s"
    units = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    first = next(n for n, (size, _) in enumerate(units) if total >= size)
    parts = []
    for size, name in units[first : first + 2]:
        count, total = divmod(total, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts)


def size(count: float) -> str:
    """Bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def number(count: int) -> str:
    """With thin groups of three."""
    return f"{count:,}".replace(",", " ")


def minute(at: str) -> str:
    """A time of a record, to the minute."""
    return at[:16].replace("T", " ")
