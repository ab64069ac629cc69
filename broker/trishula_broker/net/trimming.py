"""Retention: now and then the node that leads has the store remove what may go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from trishula_broker.hub.now import Now
from trishula_broker.net.ports import Core, Log
from trishula_broker.store.base import Retention, Store, StoreUnavailable


async def keep_trimming(
    store: Store,
    cores: Mapping[str, Core],
    clock: Callable[[], Now],
    log: Log,
    retention: Retention,
    every_s: float,
) -> None:
    """Trim every ``every_s`` seconds while one of ``cores`` leads, until cancelled.

    What goes wrong is logged, and tried again the next time.
    """
    while True:
        await asyncio.sleep(every_s)
        if not any(core.leads for core in cores.values()):
            continue  # another node's duty
        removed = 0
        try:
            while piece := await store.trim(clock().wall, retention):
                removed += piece
        except StoreUnavailable as error:
            log.warning("trim_failed", why=str(error))
        except Exception as error:
            log.error("bug", during="trim", exc_info=error)
        if removed:
            log.info("trimmed", messages=removed)
