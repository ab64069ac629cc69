"""The newest entries of a trail as they were made, for an archiver that keeps up with it.

Entries are added in the order of their positions, there may be gaps of what others made.
"""

from __future__ import annotations

from typing import Final

from trishula_broker.store.trail import Entry

RECENT_BYTES: Final = 8 << 20
"""Of entries of a namespace at hand, as they are stored: half a second at full speed."""


class Recent:
    """Some of the entries of a namespace."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[Entry, int]] = {}
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Recent {len(self._entries)} entries, {self._bytes} bytes>"

    def add(self, entry: Entry, size: int) -> None:
        """Keep ``entry``, which takes ``size`` bytes where it is stored; the oldest may go."""
        self._entries[entry.pos] = entry, size
        self._bytes += size
        while self._bytes > RECENT_BYTES:
            self._remove(next(iter(self._entries)))

    def remove_upto(self, pos: int) -> None:
        """Those up to there are not needed any more."""
        for known in list(self._entries):
            if known > pos:
                break
            self._remove(known)

    def clear(self) -> None:
        """None is at hand."""
        self._entries.clear()
        self._bytes = 0

    def read(self, after: int, limit: int) -> list[tuple[Entry, int]]:
        """Those behind ``after``, each with its size, as long as there is no gap."""
        found: list[tuple[Entry, int]] = []
        while len(found) < limit and (kept := self._entries.get(after + 1)) is not None:
            found.append(kept)
            after += 1
        return found

    def next_after(self, pos: int) -> int | None:
        """The first that is at hand behind ``pos``."""
        return next((known for known in self._entries if known > pos), None)

    def _remove(self, pos: int) -> None:
        self._bytes -= self._entries.pop(pos)[1]
