"""Log lines about what may happen often: the first of a kind at once, then one a second.

A flood of something costs the log a line a second and kind, which says how many there were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from typing import Any, Final, NamedTuple

from trishula_broker.net.ports import Log

EVERY_S: Final = 1.0
"""Between two lines about the same."""
KINDS: Final = 1_024
"""Kinds told apart at a time; what comes beyond is told as one of its event, without fields."""


class _Line(NamedTuple):
    event: str
    fields: dict[str, Any]
    times: int


class Often:
    """Counts, and tells.

    Args:
        log: where the lines go.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._untold: dict[tuple[str, Hashable], _Line | None] = {}
        """Kinds that were told of within the last second; what has come since then of each."""
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Often {len(self._untold)} kinds>"

    def info(self, event: str, kind: Hashable, **fields: Any) -> None:
        """``event`` happened; ``fields`` are those of the last one of its ``kind``."""
        key = event, kind
        if key not in self._untold and len(self._untold) >= KINDS:
            key, fields = (event, None), {}
        before = self._untold.get(key)
        if key in self._untold:
            self._untold[key] = _Line(event, fields, 1 if before is None else before.times + 1)
        else:
            self._untold[key] = None
            self._log.info(event, **fields)
        if self._timer is None:
            self._timer = self._loop.call_later(EVERY_S, self._again)

    def _again(self) -> None:
        """Tell of what came since; forget kinds of which nothing did."""
        untold = {key: line for key, line in self._untold.items() if line is not None}
        self._untold = dict.fromkeys(untold)
        self._tell(untold.values())
        self._timer = self._loop.call_later(EVERY_S, self._again) if untold else None

    def _tell(self, lines: Iterable[_Line]) -> None:
        for line in lines:
            more = {"count": line.times} if line.times > 1 else {}
            self._log.info(line.event, **line.fields, **more)

    def close(self) -> None:
        """Tell what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell([line for line in self._untold.values() if line is not None])
        self._untold.clear()
