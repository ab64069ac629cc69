"""What load tests have in common: what a process costs, and marks that are reached or missed."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import NamedTuple


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    status = Path(f"/proc/{pid}/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) * 1024


def processor_s(pid: int) -> float:
    """Processor seconds a process has used; 0 where nobody tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def raise_descriptors() -> None:
    """As many open files as the system lets this process, and its children, have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Figure(NamedTuple):
    """A line of the table.

    Attributes:
        mark: the most it may be; None for what is only told.
    """

    what: str
    value: float
    unit: str
    mark: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it is within its mark."""
        return self.mark is None or self.value <= self.mark


class Figures:
    """A table that knows whether all marks were reached."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._found: list[Figure] = []

    def add(self, what: str, value: float, unit: str, mark: float | None = None) -> None:
        """One more line; ``mark`` is the most that ``value`` may be."""
        self._found.append(Figure(what, value, unit, mark))

    @property
    def missed(self) -> int:
        """How many marks were."""
        return sum(not each.reached for each in self._found)

    def __str__(self) -> str:
        rows = [
            (
                each.what,
                f"{each.value:,.10g}" if each.value == int(each.value) else f"{each.value:,.2f}",
                each.unit,
                ""
                if each.mark is None
                else f"{each.mark:g} {'reached' if each.reached else 'MISSED'}",
            )
            for each in self._found
        ]
        wide = max(len(row[0]) for row in rows)
        lines = [f"{a:<{wide}}  {b:>12}  {c:<12}  {d}".rstrip() for a, b, c, d in rows]
        head = f"{'':<{wide}}  {'':>12}  {'':<12}  at most"
        return "\n".join((self._title, head, *lines))
