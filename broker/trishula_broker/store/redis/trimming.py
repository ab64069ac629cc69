"""Retention: a bounded piece of each namespace's log a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trishula_broker.store.base import Retention
from trishula_broker.store.redis.space import Space

TRIM_AT_ONCE: Final = 5_000
"""Messages that one call of ``trim`` removes at most, but that a run goes as a whole."""
PIECE: Final = 200
"""Messages that one script removes at most, likewise: others wait that long."""
LOOKS: Final = 40
"""Scripts of one call at most that look at a namespace in which much must stay."""


async def trim(
    spaces: Sequence[Space], now: int, retention: Retention, places: dict[str, int]
) -> int:
    """Remove what retention allows; how many messages were removed or shortened.

    ``places`` has where each namespace was left last time. The bytes are shared among the
    namespaces by what they hold.
    """
    sizes = [await space.log_bytes() for space in spaces]
    total = sum(sizes)
    removed = 0
    for space, size in zip(spaces, sizes, strict=True):
        share = retention.max_bytes * size // total if total else retention.max_bytes
        for _ in range(LOOKS):
            if removed >= TRIM_AT_ONCE:
                return removed
            most = min(PIECE, TRIM_AT_ONCE - removed)
            after = places.get(space.key, 0)
            gone, places[space.key], more = await space.trim(now, after, share, most, retention)
            removed += gone
            if not places[space.key] and not more:
                break
    return removed
