"""Whether a mailbox of a million waiting messages costs more a message than one of a thousand.

    python -m loadtests.deep_mailbox [--depth N] [--redis]

A hub on SQLite, or on a Redis of its own with ``appendfsync always``, with the audit, and with the
limit of a mailbox raised. An agent sends to others that are not there, in blocks of 1 000; then
they come and take it all. First 20 mailboxes are filled with 1 000 each and drained; then one is
filled to the depth asked for, and drained. What counts is the processor
time a message of the hub (and of Redis), which other programs on the machine change little: of
sending the last 20 000 to the deep mailbox, of draining the first 20 000 of it, and of draining
the rest. The exit code is 1 when one of these is more than 1.5 times what it is at 1 000, or when
anything was lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from loadtests.figures import Figures, processor_s, resident
from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer
from trishula import Agent

SHALLOW: Final = 1_000
"""Messages of the mailbox that is compared with; and of a block."""
SAMPLE: Final = 20_000
"""Messages that a figure is of, at either depth."""
PREFETCH: Final = 2_000
WORSE: Final = 1.5
"""The most that a message may cost, as a multiple."""
BODY: Final = "x" * 200
QUIET_S: Final = 0.3
"""A hub that uses no more than a tick of the processor for so long has nothing left to do."""
QUIET_USED_S: Final = 0.015
CONFIG: Final = """[limits]
mailbox_messages = 100000000
mailbox_bytes = 1000000000000
[redis]
timeout_s = 10.0
"""


class Cost(NamedTuple):
    """Of a message: microseconds of the processor, and on the clock."""

    processor_us: float
    clock_us: float


class Bench:
    """A hub that runs, and what is done with its mailboxes.

    Args:
        pids: of the processes whose time counts.
    """

    def __init__(self, url: str, pids: tuple[int, ...]) -> None:
        self._url = url
        self._pids = pids
        self.doubled = 0
        """Messages that were handed out again."""

    async def settled(self) -> None:
        """Wait until nothing is left to do: the archive is behind what was accepted."""
        while True:
            used = self._used()
            await asyncio.sleep(QUIET_S)
            if self._used() - used <= QUIET_USED_S * len(self._pids):
                return

    def _used(self) -> float:
        return sum(map(processor_s, self._pids))

    @contextlib.asynccontextmanager
    async def _measured(self, count: int, found: list[Cost]) -> AsyncIterator[None]:
        await self.settled()
        used, since = self._used(), time.monotonic()
        yield
        took = time.monotonic() - since
        await self.settled()  # what is archived later belongs to it
        found.append(Cost((self._used() - used) / count * 1e6, took / count * 1e6))

    async def know(self, *names: str) -> None:
        """Have the hub know them."""
        for name in names:
            async with Agent(name, self._url):
                pass

    async def send(self, each: int, *names: str) -> Cost:
        """Send so many to each of some agents that are not there."""
        found: list[Cost] = []
        async with (
            Agent("sender", self._url) as agent,
            self._measured(each * len(names), found),
        ):
            for name in names:
                for _ in range(each // SHALLOW):
                    await asyncio.gather(*(agent.send(name, BODY) for _ in range(SHALLOW)))
        return found[0]

    async def drain(self, each: int, *names: str) -> Cost:
        """Have each of some agents take so many."""
        found: list[Cost] = []
        async with self._measured(each * len(names), found):
            for name in names:
                await self._drain(each, name)
        return found[0]

    async def _drain(self, count: int, name: str) -> None:
        seen: set[int] = set()
        async with Agent(name, self._url, prefetch=PREFETCH) as agent:
            async for message in agent.messages():
                assert message.seq is not None
                self.doubled += message.seq in seen
                seen.add(message.seq)
                await message.done()
                if len(seen) == count:
                    break

    async def waiting(self, name: str) -> int:
        """How many are in a mailbox."""
        async with Agent("looker", self._url, receive=False) as agent:
            return sum(each["unsettled"] for each in await agent.agents() if each["id"] == name)


@contextlib.asynccontextmanager
async def running(folder: Path, redis: bool) -> AsyncIterator[tuple[HubProcess, tuple[int, ...]]]:
    """A hub, and the processes whose time counts."""
    config = folder / "broker.toml"
    config.write_text(CONFIG)
    options = ["--config", str(config)]
    server = RedisServer(folder / "redis") if redis else None
    if server is not None:
        server.start()
        options += ["--redis", server.url]
    try:
        async with HubProcess(folder / "data", *options) as hub:
            yield hub, (hub.pid,) if server is None else (hub.pid, server.pid)
    finally:
        if server is not None:
            server.kill()


async def measure(depth: int, redis: bool) -> Figures:
    """All of it."""
    figures = Figures(f"a mailbox of {depth:,} on {'Redis' if redis else 'SQLite'}")
    sample = min(SAMPLE, depth)
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder), redis) as (hub, pids):
            bench = Bench(hub.url, pids)
            shallow = [f"shallow-{n}" for n in range(sample // SHALLOW)]
            await bench.know("deep", *shallow)
            sent = await bench.send(SHALLOW, *shallow)
            _tell(figures, f"sending to {SHALLOW:,}", sent)
            drained = await bench.drain(SHALLOW, *shallow)
            _tell(figures, f"draining {SHALLOW:,}", drained)
            before = resident(hub.pid)
            if depth > sample:
                _tell(figures, "filling it", await bench.send(depth - sample, "deep"))
            _tell(figures, f"sending the last of {depth:,}", await bench.send(sample, "deep"), sent)
            lost = depth - await bench.waiting("deep")
            figures.add("memory of the hub since", (resident(hub.pid) - before) / 1e6, "MB")
            cost = await bench.drain(sample, "deep")
            _tell(figures, f"draining the first of {depth:,}", cost, drained)
            if depth > sample:
                cost = await bench.drain(depth - sample, "deep")
                _tell(figures, "draining the rest", cost, drained)
            lost += await bench.waiting("deep")
            figures.add("lost, left over or doubled", abs(lost) + bench.doubled, "", 0)
    return figures


def _tell(figures: Figures, what: str, cost: Cost, than: Cost | None = None) -> None:
    figures.add(f"{what}: processor", cost.processor_us, "us/message")
    figures.add("  on the clock", cost.clock_us, "us/message")
    if than is not None:
        worse = cost.processor_us / than.processor_us
        figures.add(f"  processor, of that at {SHALLOW:,}", worse, "times", WORSE)


def main() -> None:
    """Measure and print; exit code 1 when a mark was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=1_000_000, help="in thousands")
    parser.add_argument("--redis", action="store_true")
    options = parser.parse_args()
    if options.depth < SHALLOW or options.depth % SHALLOW:
        parser.error(f"--depth: a multiple of {SHALLOW}")
    raise SystemExit(uvloop.run(measure(options.depth, options.redis)).missed > 0)


if __name__ == "__main__":
    main()
