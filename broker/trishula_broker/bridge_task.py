"""The bridge that runs inside a hub, which goes on without it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class BridgeTask:
    """It, if there is one.

    Args:
        task: what it does; None: nothing is bridged.
    """

    def __init__(self, task: asyncio.Task[None] | None, log: FilteringBoundLogger) -> None:
        self._task = task
        self._log = log
        if task is not None:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            why = str(task.exception() or "no agent is left to bridge")
            self._log.error("bridge_ended", why=why)

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
