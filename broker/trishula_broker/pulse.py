"""What a hub says of itself to its archive once a minute: that it was well, and how quick.

The archive has what happened, and nothing tells from it that nothing could. A *pulse* is a record
of the chain ``local``; the report and the roll-back triggers are made of these, and the numbers of
Prometheus need not have been collected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from trishula_broker.audit.events import PULSE
from trishula_broker.hub.counts import Buckets, delivered_of
from trishula_broker.net.driver import Driver

EVERY_S: Final = 60
"""Between two pulses; what a hub that is killed did since its last is not told."""
LOOK_S: Final = 1.0
"""Between two looks whether it is well."""


class Pulse:
    """Looks, and tells.

    Args:
        driver: who serves, and has counted.
        problem: why the archive cannot be written; None when it can.
        record: takes the pulse, as of ``Auditor``.
    """

    def __init__(
        self,
        driver: Driver,
        problem: Callable[[], str | None],
        record: Callable[[str, str, dict[str, Any]], None],
    ) -> None:
        self._driver = driver
        self._problem = problem
        self._record = record
        self._since = self._looked = driver.clock().mono
        self._well_ms = 0
        self._why: str | None = None
        self._before = self._counted()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Pulse well for {self._well_ms} ms since {self._since}>"

    def start(self) -> None:
        """Say that the hub serves, and how it is from now on."""
        self._since = self._looked = self._driver.clock().mono
        self._record("", PULSE, {"ms": 0, "well_ms": 0, "began": True})
        self._again()

    def _again(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self.look()
        if self._looked - self._since >= EVERY_S * 1000:
            self.tell()
        self._again()

    def look(self) -> None:
        """See whether it is well, since the last look."""
        now = self._driver.clock().mono
        why = self._driver.trouble or self._problem()
        if why is None:
            # A process that stood still was not well meanwhile.
            self._well_ms += min(now - self._looked, round(2 * LOOK_S * 1000))
        else:
            self._why = why
        self._looked = now

    def tell(self, **more: Any) -> None:
        """What was since the last pulse."""
        now = self._counted()
        before, self._before = self._before, now
        pulse: dict[str, Any] = {"ms": self._looked - self._since, "well_ms": self._well_ms, **more}
        if self._why is not None:
            pulse["why"] = self._why
        clock = self._driver.clock()
        pulse["online"] = sum(
            core.describe(clock)["agents_online"] for core in self._driver.cores.values()
        )
        for name, earlier, later in zip(("accept_s", "delivery_s"), before, now, strict=True):
            told = _difference(earlier, later)
            if told:
                pulse[name] = told
        self._record("", PULSE, pulse)
        self._since, self._well_ms, self._why = self._looked, 0, None

    def close(self) -> None:
        """Say the last: the hub takes nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.look()
            self.tell(ended=True)

    def _counted(self) -> tuple[Buckets, Buckets]:
        """Latencies of accepting and of delivering until now, in seconds."""
        accept = self._driver.meter.accept.divided(1)  # one of its own: that one goes on counting
        counts = (core.counts for core in self._driver.cores.values())
        return accept, delivered_of(counts).divided(1000)


def _difference(before: Buckets, now: Buckets) -> dict[str, int]:
    """How many more are in each bucket, by its bound in seconds; empty ones are left out."""
    names = (*(f"{bound:g}" for bound in now.bounds), "inf")
    return {
        name: b - a for name, a, b in zip(names, before.counts, now.counts, strict=True) if b > a
    }
