"""A node as the store in memory knows it, and the lease on the duties."""

from __future__ import annotations

from dataclasses import dataclass

from trishula_broker.store import base


@dataclass(slots=True, eq=False)
class Node:
    """What is known of a node. ``since``: when this life began, or when it was found dead."""

    name: str
    life: str
    role: str
    address: str
    lease_ms: int
    beat_at: int
    since: int
    alive: bool = True

    @property
    def lapses_at(self) -> int:
        """When its beats count as stopped unless there is another."""
        return self.beat_at + self.lease_ms

    def beats(self, now: int) -> bool:
        """Whether it lives as far as can be known."""
        return self.alive and now < self.lapses_at


@dataclass(slots=True, eq=False)
class Lead:
    """Who holds the lease on the duties, and the last epoch it was given with."""

    holder: str = ""
    epoch: int = 0

    def of(self, node: str) -> int:
        """The lease's epoch when ``node`` holds it, else 0."""
        return self.epoch if node == self.holder else 0

    def fence(self, epoch: int) -> base.Fenced | None:
        """What an operation of a leader comes back as when ``epoch`` is not current."""
        current = self.epoch if self.holder else 0
        return None if epoch == current else base.Fenced(current)
