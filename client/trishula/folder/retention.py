"""What may go from a shared folder after a time. It blocks."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from trishula.folder.directory import Directory
from trishula.folder.layout import BOXES, Layout

DONE_SECONDS: Final = 7 * 24 * 3600.0
"""How long settled messages stay in ``done/``, counted from the last time a copy came again."""
PARTIAL_SECONDS: Final = 3600.0
"""How long a temporary file may be under way; then whoever wrote it was killed."""


class Cleaned(NamedTuple):
    """How many files went."""

    done: int
    rejected: int
    partial: int


def clean_agent(
    layout: Layout, agent: str, done_before: float, rejected_before: float | None = None
) -> Cleaned:
    """Remove an agent's settled messages, and temporary files that a crash has left.

    Args:
        done_before: what was settled before, seconds since the epoch, goes.
        rejected_before: the same for rejected ones, which stay without it.

    Raises:
        OSError: a directory cannot be used.
    """
    done = rejected = partial = 0
    for box in BOXES:
        try:
            place = layout.box(agent, box)
        except FileNotFoundError:
            continue
        with place:
            partial += _remove(place, place.hidden(), time.time() - PARTIAL_SECONDS)
            if box == "done":
                done = _remove(place, place.names(), done_before)
            elif box == "rejected" and rejected_before is not None:
                rejected = _remove(place, place.names(), rejected_before)
    return Cleaned(done, rejected, partial)


def _remove(place: Directory, names: list[str], before: float) -> int:
    removed = 0
    for name in names:
        try:
            if place.modified(name) < before:
                place.remove(name)
                removed += 1
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            continue  # gone, or some other program's own
    return removed
