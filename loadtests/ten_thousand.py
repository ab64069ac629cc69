"""Ten thousand agents on one hub: what each costs, how they talk, and how they come back.

    python -m loadtests.ten_thousand [--agents N] [--rate N] [--seconds N] [--heartbeat SECONDS]

A hub with its defaults on SQLite, and real agents of the SDK with their usual heartbeats (2 s) in a
few processes. All connect; then messages go between random pairs, each settled, at a steady rate,
and their latency counts from the moment at which each was due; then the hub is killed (-9) and
started again at once, the agents find back by themselves, and must be able to write to each other
as before. One table; the exit code is 1 when a mark was missed: 20 KiB of the hub's memory an
agent, all connected within 30 s, p99 under 20 ms, all back within 30 s of the kill, nothing lost.
On a machine that does other things as well the latencies are those of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import logging
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from loadtests.figures import Figures, processor_s, raise_descriptors, resident
from loadtests.peers.child import orders, say
from loadtests.peers.measure import Child
from tests.support.hub_process import HubProcess
from trishula import Agent, State
from trishula_broker.benchmark.histogram import Histogram
from trishula_protocol.limits import HEARTBEAT_SDK_MS

AT_ONCE: Final = 200
"""Agents that connect at the same time, of all processes together."""
PATIENCE_S: Final = 120.0
"""When something has not happened by then it does not."""
QUIET_S: Final = 5.0
"""From the last message sent to what must have arrived."""
TIMER_S: Final = 0.002
"""A loop's timers are this coarse; what is sent later than that was held up."""
BODY: Final = "x" * 200


def name(number: int) -> str:
    """An agent's."""
    return f"agent-{number}"


class Flock:
    """The agents of one process; what they do is told on standard input."""

    def __init__(
        self, url: str, first: int, count: int, of: int, at_once: int, heartbeat: float
    ) -> None:
        self._of = of
        self._at_once = at_once
        self._agents = [
            Agent(name(n), url, connect_timeout=None, heartbeat=heartbeat)
            for n in range(first, first + count)
        ]
        self._latency = Histogram()
        self._received = 0
        self._back: list[float] = []
        self._all_back = asyncio.Event()
        self._receiving: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """All of them; says when they are there."""
        turns = asyncio.Semaphore(self._at_once)

        async def enter(agent: Agent) -> None:
            async with turns:
                await agent.__aenter__()

        await asyncio.gather(*map(enter, self._agents))
        for agent in self._agents:
            agent.on_state(self._changed)
        self._receiving = [asyncio.ensure_future(self._receive(agent)) for agent in self._agents]
        say(event="connected", at=time.monotonic())
        # Thousands of agents in one process are for good: looking at all of them again stops it
        # for most of a second, and at the younger objects for tens of milliseconds. Users have an
        # agent or some in a process; it would count as the hub's.
        gc.collect()
        gc.freeze()
        gc.disable()

    async def load(self, seconds: float, rate: float) -> None:
        """Send between random pairs; says how many were accepted."""
        start, sent = time.monotonic() + 0.1, int(seconds * rate)
        tasks: set[asyncio.Future[Any]] = set()
        for number in range(sent):
            planned = start + number / rate
            if (wait := planned - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            now = time.monotonic()
            since = now if now - planned < TIMER_S else planned
            agent = random.choice(self._agents)
            to = name(random.randrange(self._of))
            if to == agent.name:
                to = name((int(to.rpartition("-")[2]) + 1) % self._of)
            task = asyncio.ensure_future(agent.send(to, {"t": since, "body": BODY}))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        say(event="sent", sent=sent)

    def expect_back(self) -> None:
        """From now on it counts who comes back."""
        self._back.clear()
        self._all_back.clear()
        say(event="waiting")

    async def be_back(self) -> None:
        """Says when each came back, once all are."""
        await self._all_back.wait()
        say(event="back", at=self._back)

    def tell(self) -> None:
        """Says what was received since the last time."""
        say(event="received", received=self._received, latency=self._latency)
        self._received, self._latency = 0, Histogram()

    async def leave(self) -> None:
        """End it all; no farewells, for the hub goes too."""
        for task in self._receiving:
            task.cancel()
        await asyncio.gather(*self._receiving, return_exceptions=True)
        await asyncio.gather(*(agent.close(0) for agent in self._agents))

    def _changed(self, state: State) -> None:
        if state is State.ACTIVE:
            self._back.append(time.monotonic())
            if len(self._back) == len(self._agents):
                self._all_back.set()

    async def _receive(self, agent: Agent) -> None:
        async for message in agent.messages():
            self._latency.record(int((time.monotonic() - message.payload["t"]) * 1e6))
            self._received += 1
            await message.done()


async def be_flock(spec: dict[str, Any]) -> None:
    """A process of agents, until its standard input ends."""
    logging.getLogger("trishula").setLevel(logging.ERROR)  # each says that its hub is gone
    flock = Flock(**spec)
    heard = await orders()
    await flock.connect()
    while line := await heard.readline():
        told = msgspec.json.decode(line)
        match told.pop("do"):
            case "load":
                await flock.load(**told)
            case "expect":
                flock.expect_back()
            case "back":
                await flock.be_back()
            case "tell":
                flock.tell()
    await flock.leave()


@contextlib.asynccontextmanager
async def process(spec: dict[str, Any]) -> AsyncIterator[Child]:
    """A flock that ends with the context."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.ten_thousand", "--flock", msgspec.json.encode(spec)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield Child(started)
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


class Run:
    """One hub and its flocks.

    Args:
        flocks: their processes, once they were started.
    """

    def __init__(self, hub: HubProcess, flocks: Sequence[Child]) -> None:
        self._hub = hub
        self._flocks = flocks

    async def ask(self, **what: Any) -> list[dict[str, Any]]:
        """Tell all flocks, and hear what each has to say."""
        for each in self._flocks:
            each.tell(**what)
        return await self.hear()

    async def hear(self) -> list[dict[str, Any]]:
        """The next line of each."""
        return await asyncio.gather(*(each.hear(PATIENCE_S) for each in self._flocks))

    async def load(self, seconds: float, rate: float) -> tuple[int, int, Histogram]:
        """Messages sent, those received, and their latencies."""
        each = rate / len(self._flocks)
        sent = sum(told["sent"] for told in await self.ask(do="load", seconds=seconds, rate=each))
        received, latency, until = 0, Histogram(), time.monotonic() + QUIET_S
        while received < sent and time.monotonic() < until:
            for told in await self.ask(do="tell"):
                received += told["received"]
                latency.add(msgspec.convert(told["latency"], Histogram, str_keys=True))
        return sent, received, latency

    async def come_back(self) -> list[float]:
        """Kill the hub and start it; seconds from the kill after which each agent was back."""
        await self.ask(do="expect")
        killed = time.monotonic()
        await self._hub.restart()
        found = await self.ask(do="back")
        return sorted(at - killed for told in found for at in told["at"])


async def measure(options: argparse.Namespace) -> Figures:
    """All of it."""
    count, processes = options.agents, options.processes
    figures = Figures(f"{count} agents in {processes} processes, one hub on SQLite")
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = await stack.enter_async_context(HubProcess(folder / "data"))
        idle = resident(hub.pid)
        figures.add("an idle hub", idle / 1e6, "MB", 60)
        begun, used = time.monotonic(), processor_s(hub.pid)
        shares = [count * n // processes for n in range(processes + 1)]
        at_once = max(1, AT_ONCE // processes)
        flocks = [
            await stack.enter_async_context(
                process(
                    {
                        "url": hub.url,
                        "first": a,
                        "count": b - a,
                        "of": count,
                        "at_once": at_once,
                        "heartbeat": options.heartbeat,
                    }
                )
            )
            for a, b in itertools.pairwise(shares)
        ]
        run = Run(hub, flocks)
        connected = max(told["at"] for told in await run.hear())
        figures.add("all connected after", connected - begun, "s", 30)
        took = processor_s(hub.pid) - used
        figures.add("  processor time of the hub, each", took / count * 1e3, "ms")
        await asyncio.sleep(options.rest)
        figures.add("memory of the hub, each", (resident(hub.pid) - idle) / count / 1024, "KiB", 20)
        used, since = processor_s(hub.pid), time.monotonic()
        await asyncio.sleep(options.rest)
        took = (processor_s(hub.pid) - used) / max(time.monotonic() - since, 0.001)
        figures.add("processor of the hub while all are idle", took * 100, "% of a core")

        used, since = processor_s(hub.pid), time.monotonic()
        sent, received, latency = await run.load(options.seconds, options.rate)
        took = (processor_s(hub.pid) - used) / (time.monotonic() - since)
        found = [us / 1000 for us in latency.percentiles_us((0.5, 0.9, 0.99, 0.999))]
        figures.add("messages a second between random pairs", sent / options.seconds, "")
        figures.add("  processor of the hub meanwhile", took * 100, "% of a core")
        figures.add("  latency p50", found[0], "ms")
        figures.add("  latency p90", found[1], "ms")
        figures.add("  latency p99", found[2], "ms", options.p99_ms)
        figures.add("  latency p99.9", found[3], "ms")
        figures.add("  not delivered", sent - received, f"of {sent}", 0)

        back = await run.come_back()
        figures.add("back after kill -9 and start: half", back[len(back) // 2], "s")
        figures.add("  99 %", back[len(back) * 99 // 100], "s")
        figures.add("  all", back[-1], "s", 30)
        sent, received, _ = await run.load(min(2.0, options.seconds), options.rate)
        figures.add("  not delivered afterwards", sent - received, f"of {sent}", 0)
        used = resident(hub.pid)
        figures.add("  memory of the new hub, each", (used - idle) / count / 1024, "KiB", 20)
    return figures


def main() -> None:
    """Measure and print; exit code 1 when a mark was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument(
        "--heartbeat",
        type=float,
        default=HEARTBEAT_SDK_MS / 1000,
        help="seconds between an agent's heartbeats; the default is the SDK's own",
    )
    parser.add_argument("--p99-ms", type=float, default=20)
    parser.add_argument(
        "--rest", type=float, default=4, help="seconds they are left alone before it is measured"
    )
    parser.add_argument("--flock", help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_descriptors()
    if options.flock:
        uvloop.run(be_flock(msgspec.json.decode(options.flock)))
        return
    figures = uvloop.run(measure(options))
    raise SystemExit(figures.missed > 0)


if __name__ == "__main__":
    main()
