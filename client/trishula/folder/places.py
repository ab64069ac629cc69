"""Who has a place in the shared folder, as known at any moment without asking the disk."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from trishula.folder.layout import Layout

LOOK_SECONDS: Final = 1.0
"""Between two looks. Who is not known yet is written to by hub, which is never wrong."""

_log = logging.getLogger("trishula")


class Places:
    """Followed from :meth:`start` to :meth:`stop`; before and after nobody has one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, agent: str) -> bool:
        return agent in self._known

    def __repr__(self) -> str:
        return f"<Places {len(self._known)} in {self._layout.root}>"

    def start(self) -> None:
        """Look from now on."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="trishula-folder-places"
            )

    def stop(self) -> None:
        """Look no more; nobody has a place."""
        task, self._task = self._task, None
        self._known = frozenset()
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                agents = await asyncio.to_thread(self._layout.agents)
            except OSError as error:
                _log.debug("%s: cannot be read: %s", self._layout.root, error)
                agents = []
            self._known = frozenset(agents)
            await asyncio.sleep(LOOK_SECONDS)
