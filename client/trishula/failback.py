"""When an agent may go back to a hub that stands earlier in its list."""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
from collections.abc import Sequence
from random import random
from time import monotonic
from typing import Final

from trishula.probe import why_not_ready

LOOKS: Final = 3
"""Looks at a hub, at least about, before it counts as well again."""
OFTEN_SECONDS: Final = 2.0
SELDOM_SECONDS: Final = 30.0
"""Between two looks: not so often that all who wait are a load, nor so seldom that a hub which
comes and goes is taken for well."""

_log = logging.getLogger("trishula")


class Failback:
    """The hubs before the one that serves. Times are monotonic seconds.

    Args:
        agent: whose log lines these are.
        urls: of those hubs, in the list's order.
        after: seconds a hub has to be ready, at every look, before it is used again.
    """

    def __init__(
        self, agent: str, urls: Sequence[str], ssl: tls.SSLContext | None, after: float
    ) -> None:
        self._agent = agent
        self._urls = urls
        self._ssl = ssl
        self._after = after
        self._since: list[float | None] = [None] * len(urls)

    def __repr__(self) -> str:
        well = sum(since is not None for since in self._since)
        return f"<Failback {well} of {len(self._urls)} earlier hubs ready>"

    async def ready(self) -> int:
        """Wait until one of them has been ready for long enough; its place in the list."""
        every = min(max(self._after / LOOKS, OFTEN_SECONDS), SELDOM_SECONDS)
        while True:
            # The jitter also spreads out when those who wait go back.
            await asyncio.sleep(every * (0.5 + random()))
            looks = [why_not_ready(url, self._ssl) for url in self._urls]
            for index, why in enumerate(await asyncio.gather(*looks)):
                self.note(index, why, monotonic())
            found = self.first(monotonic())
            if found is not None:
                return found

    def first(self, now: float) -> int | None:
        """The first hub that has been ready for long enough."""
        for index, since in enumerate(self._since):
            if since is not None and now - since >= self._after:
                return index
        return None

    def note(self, index: int, why: str | None, now: float) -> None:
        """A look at a hub: None when it was ready, else why it was not."""
        if why is not None:
            _log.debug("%s: not back to hub %d of the list: %s", self._agent, index + 1, why)
            self._since[index] = None
        elif self._since[index] is None:
            self._since[index] = now
