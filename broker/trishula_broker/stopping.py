"""The signals that a hub's process is asked by: to end, to end at once, to read files again."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from trishula_broker.net.tls import Tls
from trishula_broker.notify import ServiceManager

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class Stopping:
    """Counts the signals that ask the process to end."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._second = asyncio.Event()

    def signal(self) -> None:
        """One more."""
        (self._second if self._first.is_set() else self._first).set()

    async def wait(self) -> None:
        """Until the first."""
        await self._first.wait()

    async def wait_again(self) -> None:
        """Until the second."""
        await self._second.wait()


def signals(tls: Tls | None, manager: ServiceManager, log: FilteringBoundLogger) -> Stopping:
    stopping = Stopping()
    loop = asyncio.get_running_loop()
    if tls is not None:
        loop.add_signal_handler(signal.SIGHUP, tls.reload)
    elif manager.on:  # without one it is a terminal that has gone, and ends the hub as any program
        loop.add_signal_handler(signal.SIGHUP, log.info, "nothing_to_reload")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.signal)
    return stopping
