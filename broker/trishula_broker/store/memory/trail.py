"""The trail of a namespace in memory, and who archives it."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from trishula_broker.store.base import Archive, ArchiveRecord, Entry, Retention, Trail
from trishula_broker.store.recorded import encode_done
from trishula_broker.store.trail import DIGESTS_KEPT, Done, merge_heads


@dataclass(slots=True, eq=False)
class SpaceTrail:
    """``last`` is the last entry there ever was; ``entries`` are those that are kept, by pos,
    each with its size."""

    last: int = 0
    entries: dict[int, tuple[Entry, int]] = field(default_factory=dict)
    archivers: dict[str, ArchiveRecord] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """The oldest entry that is kept, or the next one there will be."""
        return next(iter(self.entries), self.last + 1)

    @property
    def is_kept(self) -> bool:
        """Whether anybody archives it."""
        return any(not archiver.dropped for archiver in self.archivers.values())

    def add(self, at: int, node: str, done: list[Done]) -> None:
        """Keep what a commit did."""
        if done and self.is_kept:
            self.last += 1
            entry = Entry(self.last, at, node, tuple(done))
            self.entries[self.last] = entry, len(encode_done(done))

    def read(self, query: Trail) -> tuple[Entry, ...]:
        """The answer to ``query``."""
        found: list[Entry] = []
        left = query.limit_bytes
        for pos in range(max(query.after + 1, self.first), self.last + 1):
            entry, size = self.entries[pos]
            left -= size
            if len(found) == query.limit or (found and left < 0):
                break
            found.append(entry)
        return tuple(found)

    def hear(self, now: int, op: Archive) -> None:
        """An archiver says how far it is."""
        if op.ends:
            self.archivers.pop(op.node, None)
        else:
            known = self.archivers.get(op.node) or ArchiveRecord(op.node, 0, now, (), ())
            digests = dict(known.digests) | dict(op.digests)
            self.archivers[op.node] = ArchiveRecord(
                op.node,
                max(known.upto, min(op.upto, self.last)),
                now,
                merge_heads(known.heads, op.heads),
                tuple(sorted(digests.items())[-DIGESTS_KEPT:]),
            )
        self._remove()

    def drop_silent(self, now: int, retention: Retention) -> None:
        """Wait no longer for those that were not heard for too long."""
        large = sum(size for _, size in self.entries.values()) > retention.trail_bytes
        for node, archiver in self.archivers.items():
            silent = now - archiver.at
            if silent >= retention.archiver_ms or (large and silent >= retention.archiver_away_ms):
                self.archivers[node] = replace(archiver, dropped=True)
        self._remove()

    def _remove(self) -> None:
        """Remove what all archivers have."""
        live = [archiver.upto for archiver in self.archivers.values() if not archiver.dropped]
        for pos in range(self.first, min(live, default=self.last) + 1):
            del self.entries[pos]
