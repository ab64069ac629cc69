"""What each agent sent and got."""

from __future__ import annotations

from collections import Counter
from typing import Final

from trishula_broker.report.shapes import Volume

NAMES: Final = 10_000
"""Agents that are told apart; ephemeral ones come under ever new names."""


class _Agent:
    __slots__ = ("by_type", "bytes", "disconnects", "received")

    def __init__(self) -> None:
        self.by_type: Counter[str] = Counter()
        self.received = self.bytes = self.disconnects = 0


class Volumes:
    """By agent; beyond :data:`NAMES` agents are only counted."""

    def __init__(self) -> None:
        self._agents: dict[str, _Agent] = {}
        self.not_named = 0
        """Times something was of an agent that has no place here."""

    def sent(self, agent: str, type: str, size: int) -> None:
        """A message."""
        found = self._of(agent)
        if found is not None:
            found.by_type[type] += 1
            found.bytes += size

    def received(self, agent: str) -> None:
        """A copy."""
        found = self._of(agent)
        if found is not None:
            found.received += 1

    def disconnected(self, agent: str) -> None:
        """A session ended."""
        found = self._of(agent)
        if found is not None:
            found.disconnects += 1

    def _of(self, name: str) -> _Agent | None:
        found = self._agents.get(name)
        if found is None:
            if len(self._agents) >= NAMES:
                self.not_named += 1
                return None
            found = self._agents[name] = _Agent()
        return found

    def shown(self) -> list[Volume]:
        """Who sent most first."""
        volumes = [
            Volume(
                name,
                sum(each.by_type.values()),
                each.received,
                each.bytes,
                each.disconnects,
                dict(sorted(each.by_type.items())),
            )
            for name, each in self._agents.items()
        ]
        return sorted(volumes, key=lambda each: (-each.sent, -each.received, each.agent))
