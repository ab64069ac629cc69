"""The hub's own figures: one sender, one receiver, one hub on SQLite with synchronous=FULL.

    python -m loadtests.bench [--messages N] [--window N] [--rounds N] [--rate N] [--seconds N]
                              [--redis]

Three processes, as users would run them, over the public SDK. With --redis five: the sender is
on one hub and the receiver on another, and both hubs share a Redis with appendfsync=always.
*End to end* runs from the first send to the last settlement the hub has confirmed as durable.
Latency is taken from each message's planned moment when its sending came late, so that a stall
counts against every message it held up. The agents' processor time is counted once they are
connected: what starting Python takes is no message's. Medians of the rounds; nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer
from trishula import Agent

BODY = "x" * 200
TIMER_S = 0.002
"""A loop's timers are this coarse; a send that comes later than that was held up."""


Started = Callable[[str, int], Awaitable[None]]


class Setup(NamedTuple):
    """What is measured: where the two connect, and which processes work for them."""

    sender_url: str
    receiver_url: str
    pids: dict[str, int]


@asynccontextmanager
async def one_hub(folder: Path) -> AsyncIterator[Setup]:
    """Sender and receiver on one hub with a SQLite store."""
    async with HubProcess(folder / "data") as hub:
        yield Setup(hub.url, hub.url, {"hub": hub.pid})


@asynccontextmanager
async def two_hubs(folder: Path) -> AsyncIterator[Setup]:
    """Sender and receiver on a hub each, which share a Redis."""
    redis = RedisServer(folder / "redis")
    redis.start()
    try:
        async with (
            HubProcess(folder / "one", "--redis", redis.url, node="one") as one,
            HubProcess(folder / "two", "--redis", redis.url, node="two") as two,
        ):
            pids = {"sender's hub": one.pid, "receiver's hub": two.pid, "redis": redis.pid}
            yield Setup(one.url, two.url, pids)
    finally:
        redis.kill()


async def receive(url: str, count: int) -> dict[str, Any]:
    """Settle ``count`` messages; when the last was, and of their latencies in ms the median (p50)
    and p99."""
    latencies: list[float] = []
    async with Agent("receiver", [url], prefetch=2000) as agent:
        print("ready", flush=True)
        begun = time.process_time()
        async for message in agent.messages():
            latencies.append((time.time() - message.payload["t"]) * 1e3)
            await message.done()
            if len(latencies) == count:
                break
    # Leaving the context waits until the hub has confirmed every settlement.
    ended, cpu = time.time(), time.process_time() - begun
    # Not all of them: who is told has a line to read, and this may have a million.
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    return {"end": ended, "p50": p50, "p99": p99, "receiver_cpu": cpu}


async def send(url: str, count: int, window: int, rate: float) -> dict[str, Any]:
    """Send ``count`` messages with at most ``window`` unconfirmed, at ``rate`` a second."""
    async with Agent("sender", [url]) as agent:
        numbers = iter(range(count))
        begun = time.process_time()
        start = time.time()

        async def worker() -> None:
            for n in numbers:
                await agent.send("receiver", {"n": n, "t": time.time(), "body": BODY})

        async def paced(n: int, planned: float) -> None:
            now = time.time()
            since = now if now - planned < TIMER_S else planned
            await agent.send("receiver", {"n": n, "t": since, "body": BODY})

        if rate:
            # Each is begun when it is due: ten thousand tasks that wait for their moment are
            # as many objects for the collector, whose pauses would be measured.
            tasks = set()
            for n in numbers:
                planned = start + n / rate
                if (wait := planned - time.time()) > 0:
                    await asyncio.sleep(wait)
                task = asyncio.ensure_future(paced(n, planned))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks)
        else:
            await asyncio.gather(*(worker() for _ in range(window)))
        confirmed = time.time()
    return {"start": start, "confirmed": confirmed, "sender_cpu": time.process_time() - begun}


async def play(
    setup: Setup, count: int, window: int, rate: float, started: Started | None = None
) -> dict[str, Any]:
    """One round with a sender and a receiver in processes of their own.

    Args:
        started: told of each when it has begun: its name and process id.
    """

    async def child(*args: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "loadtests.bench",
            *map(str, args),
            stdout=asyncio.subprocess.PIPE,
        )

    receiver = await child("--receive", setup.receiver_url, "--messages", count)
    assert await line(receiver, "the receiver") == "ready\n"
    sender = await child(
        *("--send", setup.sender_url, "--messages", count, "--window", window, "--rate", rate)
    )
    if started is not None:
        await asyncio.gather(started("sender", sender.pid), started("receiver", receiver.pid))
    sent = json.loads(await line(sender, "the sender"))
    received = json.loads(await line(receiver, "the receiver"))
    await asyncio.gather(sender.wait(), receiver.wait())
    return {**sent, **received, "count": count}


async def line(process: asyncio.subprocess.Process, whose: str) -> str:
    """The next line that a process says.

    Raises:
        RuntimeError: it ended instead, perhaps in the middle of one.
    """
    assert process.stdout is not None
    text = (await process.stdout.readline()).decode()
    if not text.endswith("\n"):
        raise RuntimeError(
            f"{whose} ended with {await process.wait()} after {len(text)} characters"
        )
    return text


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def cpu_s(pid: int | str) -> float:
    """Processor seconds that a process, or ``PID/task/ID``, has used; 0 where nobody tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sync_ms(folder: Path) -> float:
    """The median time of one fdatasync of 4 KiB here."""
    times = []
    with (folder / "sync").open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


async def bench(args: argparse.Namespace) -> None:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"fdatasync here: {sync_ms(Path(folder)):.2f} ms (median of 200)")
        async with (two_hubs if args.redis else one_hub)(Path(folder)) as setup:
            speeds = []
            for n in range(args.rounds):
                before = {who: cpu_s(pid) for who, pid in setup.pids.items()}
                figures = await play(setup, args.messages, args.window, 0)
                cpu = {
                    **{who: cpu_s(pid) - before[who] for who, pid in setup.pids.items()},
                    "sender": figures["sender_cpu"],
                    "receiver": figures["receiver_cpu"],
                }
                took = figures["end"] - figures["start"]
                confirmed = figures["confirmed"] - figures["start"]
                speeds.append(args.messages / took)
                print(
                    f"round {n + 1}: {args.messages} messages of {len(BODY)} bytes, "
                    f"{args.window} in flight: end to end {args.messages / took:8.0f} msg/s, "
                    f"confirmed {args.messages / confirmed:8.0f}/s; processor µs a message: "
                    + ", ".join(f"{who} {s / args.messages * 1e6:.1f}" for who, s in cpu.items()),
                    flush=True,
                )
            print(f"median end to end: {statistics.median(speeds):.0f} msg/s")
            halves, tails = [], []
            for n in range(args.rounds):
                figures = await play(setup, int(args.rate * args.seconds), 0, args.rate)
                halves.append(figures["p50"])
                tails.append(figures["p99"])
                print(
                    f"round {n + 1}: {args.rate:.0f} msg/s for {args.seconds:.0f} s: "
                    f"p50 {halves[-1]:.3f} ms, p99 {tails[-1]:.3f} ms",
                    flush=True,
                )
            print(
                f"median: p50 {statistics.median(halves):.3f} ms, "
                f"p99 {statistics.median(tails):.3f} ms"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument(
        "--redis", action="store_true", help="two hubs on a Redis instead of one on SQLite"
    )
    parser.add_argument("--send", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--receive", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        print(json.dumps(uvloop.run(receive(args.receive, args.messages))))
    elif args.send:
        print(json.dumps(uvloop.run(send(args.send, args.messages, args.window, args.rate))))
    else:
        uvloop.run(bench(args))


if __name__ == "__main__":
    main()
