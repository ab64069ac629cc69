"""What the log says of hubs that are away: at once, then once a minute, and that it is over."""

from __future__ import annotations

import logging
from typing import Final

from trishula.websocket import ConnectFailed

REMIND_SECONDS: Final = 60.0
"""Between two warnings about one outage: somebody who looks sees it, and no log fills up."""

_log = logging.getLogger("trishula")


class Outage:
    """One agent's log of its connection. Times are monotonic seconds.

    Args:
        agent: whose log lines these are.
    """

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._told = True
        """Of what came before, so that the next connection is worth a line; the first one is."""
        self._warned_at: float | None = None

    def failed(self, url: str, error: ConnectFailed, now: float) -> None:
        """An attempt to connect failed: a warning, unless there was one in the last minute."""
        warn = self._warned_at is None or now - self._warned_at >= REMIND_SECONDS
        if warn:
            self._told = True
            self._warned_at = now
        what, hint = f"no hub at {url}", error.hint
        if error.refused:
            what = f"{url} refuses the token"
            hint = f"`broker token create {self._agent}` makes a new one"
        _log.log(
            logging.WARNING if warn else logging.DEBUG,
            "%s: %s: %s%s; trying again",
            self._agent,
            what,
            error.reason,
            f" ({hint})" if hint else "",
        )

    def lost(self, url: str, why: str) -> None:
        """The connection is over, and not for good."""
        self._told = True
        _log.info("%s: lost %s: %s; connecting again", self._agent, url, why)

    def over(self, url: str) -> None:
        """Registered, for the first time or again; whoever heard of an outage hears that it is
        over."""
        self._warned_at = None
        level = logging.INFO if self._told else logging.DEBUG
        self._told = False
        _log.log(level, "%s: connected to %s", self._agent, url)
