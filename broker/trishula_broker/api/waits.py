"""Who waits for an answer of the hub's: a request may have ended before it comes."""

from __future__ import annotations

import asyncio
from typing import Any


def let_go(waits: asyncio.Future[Any]) -> None:
    """Nobody waits any more; what it failed with is no news."""
    if not waits.cancel() and not waits.cancelled():
        waits.exception()


def resolve(waits: asyncio.Future[Any] | None, result: Any) -> None:
    """It has come; nothing where nobody waits for it."""
    if waits is not None and not waits.done():
        waits.set_result(result)
