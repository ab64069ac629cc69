"""Where an agent is in its life, and who is told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum

_log = logging.getLogger("trishula")


class State(StrEnum):
    """Where an agent is in its life."""

    NEW = "new"
    CONNECTING = "connecting"
    ACTIVE = "active"
    FOLDER = "folder"
    CLOSING = "closing"
    CLOSED = "closed"
    TAKEN_OVER = "taken_over"
    REFUSED = "refused"


class Life:
    """One agent's state, and the callbacks that hear of each new one.

    Args:
        agent: whose log lines these are.
    """

    def __init__(self, agent: str) -> None:
        self.state = State.NEW
        self._agent = agent
        self._callbacks: list[Callable[[State], object]] = []

    def tell(self, callback: Callable[[State], object]) -> None:
        """Call ``callback`` with every new state; what it raises is logged."""
        self._callbacks.append(callback)

    def enter(self, state: State) -> None:
        """From here on it is ``state``."""
        if state is self.state:
            return
        self.state = state
        for callback in self._callbacks:
            try:
                callback(state)
            except Exception:
                _log.exception("%s: on_state", self._agent)
