"""Whether a hub's memory stays where it is: steady traffic for a long time.

    python -m loadtests.soak [--minutes N] [--rate N] [--redis] [--plot FILE]

A hub on SQLite (or on a Redis of its own), with its defaults and the audit; a sender and a receiver
in a process each. Messages of 200 bytes go at the rate asked for, 5 000 a second by default, and
are settled. The hub's resident memory is read every 10 s. What counts is the last two thirds: the
first are warming up, when caches fill, what is kept of settled messages reaches its bound, and the
allocator finds its size. The growth there is that of a straight line through all readings, for
single ones move by what is under way. The exit code is 1 when it grew by more than 2 MiB in 20
minutes, in proportion to the minutes measured; and by no less than 2 MiB in all, for what the
allocator does in short runs is no leak. It is 1, too, when less than 95 % of the rate was reached,
or when anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import uvloop

from loadtests.figures import Figures, processor_s, raise_descriptors, resident
from loadtests.peers.child import orders, say
from loadtests.peers.measure import Child
from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer
from trishula import Agent

EVERY_S: Final = 10.0
"""Between two readings."""
TICK_S: Final = 0.01
"""The sender sends what is due so often."""
IN_FLIGHT: Final = 20_000
"""Messages not received yet, at which the sender waits: a mailbox that fills is another test."""
SAY_S: Final = 0.2
"""How often each end says how far it is."""
WARM_UP: Final = 1 / 3
"""The share of the time that is not counted."""
MARK_MIB: Final = 2.0
MARK_MINUTES: Final = 20.0
"""It may grow by so much in so long."""
SHARE: Final = 0.95
"""Of the rate, that must be reached."""
BODY: Final = "x" * 200
PATIENCE_S: Final = 60.0


class Reading(NamedTuple):
    """What the hub was at a moment."""

    at_s: float
    mib: float
    accepted: int


async def send(url: str, rate: float, seconds: float) -> None:
    """Send at a rate; says how many were accepted, every now and then and at the end."""
    heard = await orders()
    count, accepted, received = 0, 0, 0
    moved = asyncio.Event()

    def done(sent: asyncio.Future[Any]) -> None:
        nonlocal accepted
        sent.result()
        accepted += 1
        moved.set()

    async def listen() -> None:
        nonlocal received
        while line := await heard.readline():
            received = msgspec.json.decode(line)["received"]
            moved.set()

    async with Agent("sender", url) as agent:
        say(event="ready")
        await heard.readline()
        listening = asyncio.ensure_future(listen())
        begun, told = time.monotonic(), time.monotonic()
        while (now := time.monotonic()) - begun < seconds:
            due = int((now - begun) * rate) - count
            for _ in range(min(due, IN_FLIGHT - count + received)):
                asyncio.ensure_future(agent.send("receiver", BODY)).add_done_callback(done)
                count += 1
            if now - told >= SAY_S:
                told = now
                say(event="progress", accepted=accepted)
            await asyncio.sleep(TICK_S)
        while accepted < count:
            moved.clear()
            await moved.wait()
        listening.cancel()
    say(event="sent", accepted=accepted)


async def receive(url: str) -> None:
    """Settle what comes, until so many have that it is told to wait for."""
    heard = await orders()
    received, expected = 0, -1
    complete = asyncio.Event()

    async def count(agent: Agent) -> None:
        nonlocal received
        async for message in agent.messages():
            await message.done()
            received += 1
            if received == expected:
                complete.set()

    async def tell() -> None:
        while True:
            await asyncio.sleep(SAY_S)
            say(event="progress", received=received)

    async with Agent("receiver", url, prefetch=2_000) as agent:
        counting = asyncio.ensure_future(count(agent))
        say(event="ready")
        telling = asyncio.ensure_future(tell())
        expected = msgspec.json.decode(await heard.readline())["expect"]
        if received < expected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(complete.wait(), PATIENCE_S / 2)
        for task in (counting, telling):
            task.cancel()
        await asyncio.wait([counting, telling])
    say(event="received", received=received)


@contextlib.asynccontextmanager
async def process(*options: object) -> AsyncIterator[Child]:
    """One end, in a process that ends with the context."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.soak", *map(str, options)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Child(started)
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


@contextlib.asynccontextmanager
async def running(folder: Path, redis: bool) -> AsyncIterator[HubProcess]:
    """A hub."""
    server = RedisServer(folder / "redis") if redis else None
    options: list[str] = []
    if server is not None:
        server.start()
        options = ["--redis", server.url]
    try:
        async with HubProcess(folder / "data", *options) as hub:
            yield hub
    finally:
        if server is not None:
            server.kill()


async def watch(hub: HubProcess, sender: Child, seconds: float) -> tuple[list[Reading], int]:
    """Read until all was sent; how many were accepted."""
    readings: list[Reading] = []
    begun, due, accepted = time.monotonic(), 0.0, 0
    while (said := await sender.hear(PATIENCE_S))["event"] == "progress":
        accepted = said["accepted"]
        now = time.monotonic() - begun
        if now >= due:
            due += min(EVERY_S, seconds / 30)
            readings.append(Reading(now, resident(hub.pid) / (1 << 20), accepted))
    return readings, said["accepted"]


async def relay(receiver: Child, sender: Child) -> int:
    """Have the sender know how far the receiver is; how many that had at the end."""
    while (said := await receiver.hear(PATIENCE_S))["event"] == "progress":
        sender.tell(received=said["received"])
    found: int = said["received"]
    return found


def slope(readings: list[Reading]) -> float:
    """MiB a second, of the straight line that fits best."""
    if len(readings) < 2:
        return 0.0
    return statistics.linear_regression(
        [each.at_s for each in readings], [each.mib for each in readings]
    ).slope


def plot(readings: list[Reading], file: Path) -> None:
    """Memory over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4))
    axes.plot([each.at_s / 60 for each in readings], [each.mib for each in readings])
    axes.axvline(readings[-1].at_s * WARM_UP / 60, color="grey", linestyle=":")
    axes.set(xlabel="minutes", ylabel="resident memory of the hub, MiB", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(file)


async def measure(options: argparse.Namespace) -> Figures:
    """All of it."""
    seconds, rate = options.minutes * 60, options.rate
    kept = "Redis" if options.redis else "SQLite"
    figures = Figures(f"{rate:g} messages/s for {options.minutes:g} minutes, one hub on {kept}")
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = await stack.enter_async_context(running(folder, options.redis))
        figures.add("an idle hub", resident(hub.pid) / (1 << 20), "MiB")
        receiver = await stack.enter_async_context(process("--receive", hub.url))
        await receiver.hear(PATIENCE_S)
        told = ("--send", hub.url, "--rate", rate, "--minutes", options.minutes)
        sender = await stack.enter_async_context(process(*told))
        await sender.hear(PATIENCE_S)
        used = processor_s(hub.pid)
        sender.tell(go=True)
        relaying = asyncio.ensure_future(relay(receiver, sender))
        readings, accepted = await watch(hub, sender, seconds)
        used = processor_s(hub.pid) - used
        receiver.tell(expect=accepted)
        received = await relaying
    late = [each for each in readings if each.at_s >= seconds * WARM_UP]
    for share in (0.0, 0.1, 1 / 3, 2 / 3, 1.0):
        reading = readings[round(share * (len(readings) - 1))]
        figures.add(f"memory after {reading.at_s / 60:.1f} min", reading.mib, "MiB")
    minutes = seconds / 60 * (1 - WARM_UP)
    figures.add(
        f"growth in the last {minutes:.3g} min",
        max(0.0, slope(late) * minutes * 60),
        "MiB",
        MARK_MIB * max(1.0, minutes / MARK_MINUTES),
    )
    figures.add("processor of the hub", used / max(accepted, 1) * 1e6, "us/message")
    figures.add("messages accepted", accepted, "")
    figures.add("  fewer than asked for", max(0.0, 1 - accepted / (rate * seconds)), "", 1 - SHARE)
    figures.add("  not delivered, or delivered twice", abs(accepted - received), "", 0)
    if options.plot:
        plot(readings, options.plot)
    return figures


def main() -> None:
    """Measure and print; exit code 1 when a mark was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=5_000)
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--send", help=argparse.SUPPRESS)
    parser.add_argument("--receive", help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_descriptors()
    if options.send:
        uvloop.run(send(options.send, options.rate, options.minutes * 60))
    elif options.receive:
        uvloop.run(receive(options.receive))
    else:
        raise SystemExit(uvloop.run(measure(options)).missed > 0)


if __name__ == "__main__":
    main()
