"""Where an agent may go from a hub that lives and cannot reach its store."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Sequence
from random import random

from trishula import failback
from trishula.probe import why_not_ready


async def refuge(
    urls: Sequence[str], present: int, ssl: tls.SSLContext | None, unready: asyncio.Event
) -> int:
    """Wait until another hub of ``urls`` is ready while the present one is not; its place.

    When the store itself is away no hub is ready, and everybody stays where they are.

    Args:
        present: the place of the hub that serves.
        unready: set while that one says that it cannot promise anything.
    """
    others = [index for index in range(len(urls)) if index != present]
    while True:
        await unready.wait()
        # The jitter spreads out a crowd; what was a hiccup is over by then.
        await asyncio.sleep(failback.OFTEN_SECONDS * (0.5 + random()))
        if not unready.is_set():
            continue
        looks = await asyncio.gather(*(why_not_ready(urls[index], ssl) for index in others))
        for index, why in zip(others, looks, strict=True):
            if why is None and unready.is_set():
                return index
