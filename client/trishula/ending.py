"""How a long-running agent is asked to end: SIGTERM, Ctrl-C, and both again for the impatient."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """That somebody asked for the end: once, and more urgently the second time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.asked = asyncio.Event()
        self.urged = asyncio.Event()

    def ask(self) -> None:
        """Ask for the end, or urge; from any thread."""
        self._loop.call_soon_threadsafe(self._note)

    def _note(self) -> None:
        (self.urged if self.asked.is_set() else self.asked).set()


async def done_or_set(future: asyncio.Future[Any], event: asyncio.Event) -> None:
    """Wait until ``future`` is done or ``event`` is set. ``future`` is not cancelled with this."""
    flag = asyncio.ensure_future(event.wait())
    either: set[asyncio.Future[Any]] = {future, flag}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        flag.cancel()


class _Listeners:
    """Who hears of the signals: a process has one handler each, and perhaps several agents."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._before: dict[signal.Signals, Any] = {}

    def add(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        if not self._before:
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)

    def remove(self, call: Callable[[], None]) -> None:
        self._calls.remove(call)
        if not self._calls:
            for number, handler in self._before.items():
                # None: it was not set from Python, and Python cannot set it again.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        for call in self._calls:
            call()


_listeners: Final = _Listeners()


@contextmanager
def on_signals(ending: Ending, listen: bool = True) -> Iterator[None]:
    """While inside, SIGTERM and SIGINT ask for ``ending`` and do nothing else.

    Only the main thread can do that; in another, or without ``listen``, nothing changes.
    """
    if not listen or threading.current_thread() is not threading.main_thread():
        yield
        return
    _listeners.add(ending.ask)
    try:
        yield
    finally:
        _listeners.remove(ending.ask)
