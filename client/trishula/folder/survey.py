"""What lies in a shared folder, counted. It blocks."""

from __future__ import annotations

from typing import Any, NamedTuple

from trishula.folder.layout import Box, Layout
from trishula.folder.spool import REASON
from trishula_protocol.folder_file import FILE_BYTES, SUFFIX, NotWhole, parse


class Survey(NamedTuple):
    """One agent's place. ``oldest`` is when the oldest that waits was written, seconds since the
    epoch; ``partial`` are files nobody can read (yet)."""

    agent: str
    format: str
    waiting: int
    oldest: float | None
    for_a_hub: int
    done: int
    rejected: int
    partial: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


def survey(layout: Layout) -> list[Survey]:
    """All agents, by name.

    Raises:
        OSError: the folder cannot be used.
    """
    return [_survey(layout, agent) for agent in layout.agents()]


def _survey(layout: Layout, agent: str) -> Survey:
    waiting = partial = 0
    oldest: float | None = None
    try:
        with layout.box(agent, "inbox") as inbox:
            partial = len(inbox.hidden())
            for name in inbox.names():
                try:
                    if not name.endswith(SUFFIX):
                        continue
                    parse(inbox.read(name, FILE_BYTES))
                    written = inbox.modified(name)
                except (OSError, NotWhole):
                    partial += 1
                    continue
                waiting += 1
                oldest = written if oldest is None else min(oldest, written)
    except FileNotFoundError:
        pass
    rejected = [name for name in _names(layout, agent, "rejected") if not name.endswith(REASON)]
    return Survey(
        agent,
        "v1" if layout.is_version1(agent) else "v2",
        waiting,
        oldest,
        len(_names(layout, agent, "outbox")),
        len(_names(layout, agent, "done")),
        len(rejected),
        partial,
    )


def _names(layout: Layout, agent: str, box: Box) -> list[str]:
    try:
        with layout.box(agent, box) as place:
            return place.names()
    except FileNotFoundError:
        return []
