"""What the workers of one port show one another: a page of memory they share.

A slot a worker, written by its supervisor (who, since when) and by the worker itself (how many it
serves, and that its event loop turns). It is for people who ask one worker about all of them, and
for the supervisor, when a service manager wants to know that all of them live.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any, Final

_SLOT: Final = struct.Struct("@5q")
"""The process, 0 while there is none; how often it was started; its connections, its agents, how
often it has said so."""
_COUNTS: Final = struct.Struct("@3q")
_COUNTS_AT: Final = 16


class Board:
    """Made before the workers are forked, and theirs from then on.

    Args:
        node: the name of all of them together; the workers' own are ``node-1`` and so on.
        pid: of their supervisor.
        count: how many workers.
    """

    def __init__(self, node: str, pid: int, count: int) -> None:
        self.node = node
        self.pid = pid
        self.count = count
        self._page = mmap.mmap(-1, _SLOT.size * count)

    def started(self, number: int, pid: int) -> None:
        """Worker ``number``, counted from 1, is process ``pid``."""
        starts = self._read(number)[1]
        _SLOT.pack_into(self._page, (number - 1) * _SLOT.size, pid, starts + 1, 0, 0, 0)

    def ended(self, number: int) -> None:
        """Worker ``number`` is no more."""
        starts = self._read(number)[1]
        _SLOT.pack_into(self._page, (number - 1) * _SLOT.size, 0, starts, 0, 0, 0)

    def serves(self, number: int, connections: int, agents: int) -> None:
        """What worker ``number`` has now."""
        at = (number - 1) * _SLOT.size + _COUNTS_AT
        _COUNTS.pack_into(self._page, at, connections, agents, self.beats(number) + 1)

    def beats(self, number: int) -> int:
        """How often worker ``number`` has called :meth:`serves` in its life."""
        return self._read(number)[4]

    def describe(self) -> dict[str, Any]:
        """What ``/health`` says of them; ``pid`` is the supervisor's, a worker's is 0 while it is
        not there."""
        return {"node": self.node, "pid": self.pid, "each": [self._slot(n) for n in self.numbers]}

    @property
    def numbers(self) -> range:
        """Of the workers."""
        return range(1, self.count + 1)

    def _slot(self, number: int) -> dict[str, Any]:
        pid, starts, connections, agents, _ = self._read(number)
        return {
            "node": f"{self.node}-{number}",
            "pid": pid,
            "starts": starts,
            "connections": connections,
            "agents_online": agents,
        }

    def _read(self, number: int) -> tuple[int, int, int, int, int]:
        at = (number - 1) * _SLOT.size
        found: tuple[int, int, int, int, int] = _SLOT.unpack_from(self._page, at)
        return found
