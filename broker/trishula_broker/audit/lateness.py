"""Whether an archive is behind what happens, said in the log once it has been for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trishula_broker.net.ports import Log

LATE_MS: Final = 10_000
"""The log hears of an archive that has been further behind than this, for as long."""


class Lateness:
    """Of the archive of one namespace.

    Args:
        clock: the time as entries have it, in milliseconds.
        seconds: a clock that never jumps.
    """

    def __init__(
        self, namespace: str, clock: Callable[[], int], seconds: Callable[[], float], log: Log
    ) -> None:
        self._namespace = namespace
        self._clock = clock
        self._seconds = seconds
        self._log = log
        self._since: float | None = None
        self._said = False

    def archived(self, at: int) -> None:
        """Of what happened at ``at``. Say it when the archive has been behind for a while, and when
        it is not any more."""
        lag_ms = self._clock() - at
        if lag_ms < LATE_MS:
            self._since = None
            if self._said:
                self._said = False
                self._log.info("audit_caught_up", namespace=self._namespace)
            return
        if self._since is None:
            self._since = self._seconds()
        elif not self._said and self._seconds() - self._since >= LATE_MS / 1000:
            self._said = True
            self._log.warning("audit_lags", namespace=self._namespace, seconds=lag_ms // 1000)
