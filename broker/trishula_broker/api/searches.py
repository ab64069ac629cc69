"""Searches of the archive, in processes of their own: the event loop has no time for them.

It knows no HTTP requests.
"""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from typing import Any, Final

import msgspec

from trishula_broker.api.failures import Failure
from trishula_broker.audit.seek import Found, Request
from trishula_protocol.errors import ErrorCode

AT_ONCE: Final = 2
"""Searches at a time; each takes a processor."""
WAITING: Final = 8
"""Searches that wait for one of those to end."""
SEARCH_S: Final = 20.0
"""What one has; less than a request may take."""


class Searches:
    """Runs them, a few at a time."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def run(self, request: Request) -> tuple[list[Any], Found]:
        """Records, and what is to be said of the rest.

        Raises:
            Failure: there are too many searches, it takes too long, or it failed.
        """
        if self._waiting >= WAITING:
            raise Failure(
                HTTPStatus.TOO_MANY_REQUESTS,
                ErrorCode.RATE_LIMITED,
                f"{WAITING} searches wait already; try again when they are done",
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(SEARCH_S), self._room:
                return await _search(request)
        except TimeoutError:
            raise Failure(
                HTTPStatus.GATEWAY_TIMEOUT,
                "timeout",
                "the search took too long: ask for less time, with since and until",
            ) from None
        finally:
            self._waiting -= 1


async def _search(request: Request) -> tuple[list[Any], Found]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trishula_broker.audit.seek"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said, _ = await process.communicate(msgspec.json.encode(request))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = said.splitlines()
    if process.returncode or not lines:
        raise Failure(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            ErrorCode.INTERNAL,
            "the archive cannot be read; `broker audit search` says why",
        )
    found = msgspec.json.decode(lines.pop(), type=Found)
    return [msgspec.json.decode(line) for line in lines], found
