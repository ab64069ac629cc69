"""What the API shows that is not the hub's: health, tokens, the archive, the numbers.

Handed in by the composition root; nothing here is asked of a session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from trishula_broker.api.metrics import Asks
from trishula_broker.api.shapes import Series


class ArchivePlace(NamedTuple):
    """Where the archive is, and what reads it."""

    root: Path
    caught_up: Callable[[str], Awaitable[None]]
    """Returns when what happened in a namespace until now is there."""
    key: bytes | None = None
    """It is encrypted with this; never shown."""

    def __repr__(self) -> str:
        return f"ArchivePlace({str(self.root)!r})"


class Sources(NamedTuple):
    """All of it."""

    report: Callable[[], Awaitable[dict[str, Any]]]
    """What ``/health`` says."""
    metrics: Asks
    """What ``/metrics`` says."""
    series: Callable[[], Series]
    """The last hour."""
    clock: Callable[[], int]
    """Wall-clock milliseconds."""
    data: Path
    """The folder whose disk matters."""
    key_file: Path | None = None
    """The list of tokens is beside it; None on a hub without keys."""
    archive: ArchivePlace | None = None
    """None without an audit."""
