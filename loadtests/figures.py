"""What load tests have in common: what a process costs, and marks that are reached or missed."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import Final


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


WIDE: Final = 44
"""Characters of a line's name."""


class Figures:
    """A table, printed line by line as it is found, that knows whether all marks were reached."""

    def __init__(self, title: str) -> None:
        self.missed = 0
        """How many marks were."""
        print(title)
        print(f"{'':<{WIDE}}  {'':>12}  {'':<12}  at most", flush=True)

    def add(self, what: str, value: float, unit: str, mark: float | None = None) -> None:
        """One more line; ``mark`` is the most that ``value`` may be, None where it is only told."""
        shown = f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
        verdict = ""
        if mark is not None:
            reached = value <= mark
            self.missed += not reached
            verdict = f"{mark:g} {'reached' if reached else 'MISSED'}"
        print(f"{what:<{WIDE}}  {shown:>12}  {unit:<12}  {verdict}".rstrip(), flush=True)
