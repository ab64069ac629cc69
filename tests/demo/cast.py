"""The processes on stage: starts the agents, gives them orders, collects what they log."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.demo.events import Do, Event, Kind, Order

ROOT: Final = Path(__file__).parents[2]
LEAVE_S: Final = 60.0
"""An agent that has not left by then is ended."""


class ActorLost(Exception):
    """An agent's process ended on its own; the text is the end of its log."""


class Cast:
    """The agents' processes, and everything they logged.

    Args:
        folder: for their logs.
        url: the hub.
        on_event: hears of every event as it comes.
    """

    def __init__(self, folder: Path, url: str, on_event: Callable[[Event], None]) -> None:
        self.events: list[Event] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._folder = folder
        self._url = url
        self._on_event = on_event
        self._processes: dict[str, Process] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[Callable[[], bool], asyncio.Future[None]] = {}
        self._obeyed: set[int] = set()

    async def enter(self, name: str, capabilities: str = "", groups: str = "") -> None:
        """Start an agent and wait until it has registered."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("TRISHULA_")}
        joined = self.count("joined", name) + 1
        with (self._folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.demo.agent"),
                *(name, capabilities, groups),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                cwd=ROOT,
                env=environ | {"TRISHULA_URL": self._url},
            )
        self._processes[name] = process
        self._readers[name] = asyncio.create_task(self._read(name, process))
        await self.until(lambda: self.count("joined", name) == joined)

    async def leave(self, name: str) -> None:
        """Have an agent say goodbye and wait until its process has ended."""
        process, reader = self._processes.pop(name), self._readers.pop(name)
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(LEAVE_S):
                await reader
        finally:
            await self._end(process, reader)

    async def order(self, name: str, do: Do, *to: str, **fields: Any) -> None:
        """Have an agent do something, and wait until it is done."""
        await self.done(self.begin(name, do, *to, **fields))

    async def kill(self, name: str) -> None:
        """End an agent's process with SIGKILL."""
        await self._end(self._processes.pop(name), self._readers.pop(name))

    def begin(self, name: str, do: Do, *to: str, **fields: Any) -> int:
        """Have an agent do something; the order's number, for :meth:`done`."""
        order = Order(next(self._numbers), do, to, **fields)
        stdin = self._processes[name].stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode(order) + b"\n")
        return order.number

    async def done(self, number: int) -> None:
        """Wait until an order is carried out."""
        await self.until(lambda: number in self._obeyed)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that an event makes true.

        Raises:
            ActorLost: an agent ended meanwhile.
        """
        if not condition():
            self._waiting[condition] = asyncio.get_running_loop().create_future()
            try:
                await self._waiting[condition]
            finally:
                del self._waiting[condition]

    def count(self, kind: Kind, of: str) -> int:
        """How many events there are of a kind, by the first part of the label, or else agent."""
        return self._counts[kind, of]

    async def end(self) -> None:
        """End every process that is left, however that goes."""
        for name in list(self._processes):
            await self._end(self._processes.pop(name), self._readers.pop(name))

    # inside

    async def _read(self, name: str, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            event = msgspec.json.decode(line, type=Event)
            self.events.append(event)
            self._counts[event.kind, event.label.partition("-")[0] or event.agent] += 1
            if event.kind == "obeyed":
                self._obeyed.add(event.number)
            self._on_event(event)
            for condition, waiter in self._waiting.items():
                if not waiter.done() and condition():
                    waiter.set_result(None)
        if name in self._processes:
            log = (self._folder / f"{name}.log").read_text()[-2000:]
            for waiter in self._waiting.values():
                if not waiter.done():
                    waiter.set_exception(ActorLost(f"{name} ended unexpectedly: {log}"))

    async def _end(self, process: Process, reader: asyncio.Task[None]) -> None:
        if process.returncode is None and not reader.done():
            process.kill()
        await process.wait()
        await asyncio.wait([reader])
