"""One timer for all the connections that must do something soon.

Only connections in a handshake or on their way out have a deadline, so an idle one costs
nothing here.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

STEP_S: Final = 0.1
"""How late a deadline may be noticed; they are seconds long."""


class Mortal(Protocol):
    """Something with a deadline."""

    def expired(self) -> None:
        """The deadline has passed."""
        ...


class Deadlines:
    """Deadlines by object, looked at every :data:`STEP_S` while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[Mortal, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def set(self, mortal: Mortal, seconds: float) -> None:
        """Call ``mortal.expired()`` in ``seconds``, instead of when it was to be called."""
        self._due[mortal] = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_later(min(STEP_S, seconds), self._look)

    def clear(self, mortal: Mortal) -> None:
        """Forget about ``mortal``."""
        self._due.pop(mortal, None)

    def close(self) -> None:
        """Forget everything."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        late = [mortal for mortal, due in self._due.items() if due <= now]
        for mortal in late:
            self._due.pop(mortal, None)
            mortal.expired()
        self._timer = self._loop.call_later(STEP_S, self._look) if self._due else None
