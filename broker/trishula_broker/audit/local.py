"""What only this node saw: connections, refusals. Kept in memory for less than a second.

They are nobody's receipt, so no commit waits for them; what a crash comes before is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from trishula_broker.audit.records import own_record
from trishula_broker.audit.writer import ChainWriter

LIMIT: Final = 100_000
"""Records held while the disk takes none; further ones are counted."""
TOGETHER: Final = 10_000
"""Records written at once."""


class Local:
    """An auditor (see :class:`trishula_broker.net.ports.Auditor`) with a buffer.

    :meth:`record` is called in the event loop, :meth:`flush` in the archive's thread.
    """

    def __init__(self, writer: ChainWriter, node: str, clock: Callable[[], int]) -> None:
        self.writer = writer
        self._node = node
        self._clock = clock
        self._waiting: list[bytes] = []
        self._lost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def record(self, namespace: str, event: str, fields: dict[str, Any]) -> None:
        """Keep what was seen; ``namespace`` is empty where none is known yet."""
        if len(self._waiting) >= LIMIT:
            self._lost += 1
            return
        self._waiting.append(own_record(event, fields, self._clock(), self._node, namespace))

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OSError: it waits on.
        """
        while self._waiting:
            some = self._waiting[:TOGETHER]
            self.writer.write(some)
            del self._waiting[: len(some)]
        if self._lost:
            lost = self._lost
            self.writer.say("lost", {"records": lost, "why": "the disk took none for too long"})
            self._lost -= lost
