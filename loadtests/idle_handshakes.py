"""Whether honest agents notice a crowd of connections that never finish their handshake.

Thousands of TCP connections that send nothing, or half a request's head, come from several
loopback addresses and come back as often as the hub cuts them off, while agents that are registered
send at a steady rate, and new ones come and go.

python -m loadtests.idle_handshakes --idle 10000 --rate 1000
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from tests.support.hub_process import HubProcess
from trishula import Agent

SOURCES: Final = 8
"""Loopback addresses that the crowd comes from: none of them has more than some 28 000 ports."""
ATTEMPTS_A_SECOND: Final = 2_000
"""Connections that the crowd opens a second, new ones and those that were cut off."""
HALF: Final = b"GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\n"
PAIRS: Final = 10
"""Honest senders, each with a receiver of its own."""
COMER_EVERY_S: Final = 0.5
"""How often a new honest agent comes, registers and goes."""


class Crowd:
    """Keeps ``count`` idle connections, as far as the hub lets it."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._open: set[asyncio.BaseTransport] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._full = asyncio.Event()
        self.attempts = 0
        self.most = 0

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(self._press(n)) for n in range(SOURCES)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in list(self._open):
            if isinstance(transport, asyncio.Transport):
                transport.abort()

    async def settled(self, seconds: float) -> None:
        """Wait until it is as large as it gets: all there, or no more for a while."""
        try:
            await asyncio.wait_for(self._full.wait(), seconds)
        except TimeoutError:
            pass

    async def _press(self, source: int) -> None:
        loop = asyncio.get_running_loop()
        pause = SOURCES / ATTEMPTS_A_SECOND
        while True:
            if len(self._open) < self._count:
                self.attempts += 1
                connection = socket.socket()
                connection.setblocking(False)
                connection.bind((f"127.0.0.{10 + source}", 0))
                try:
                    await loop.sock_connect(connection, ("127.0.0.1", self._port))
                    await loop.create_connection(lambda: _Idle(self), sock=connection)
                except OSError:
                    connection.close()
            await asyncio.sleep(pause)

    def came(self, transport: asyncio.BaseTransport) -> None:
        self._open.add(transport)
        self.most = max(self.most, len(self._open))
        if self.most >= self._count:
            self._full.set()
        if self.attempts % 2:
            transport.write(HALF)  # type: ignore[attr-defined]

    def went(self, transport: asyncio.BaseTransport) -> None:
        self._open.discard(transport)


class _Idle(asyncio.Protocol):
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._crowd.came(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._crowd.went(self._transport)


async def press(port: int, count: int) -> None:
    """Be the crowd, in a process of its own, until standard input ends: one line when it is as
    large as it gets, one at the end with the most there were and the attempts."""
    async with Crowd(port, count) as crowd:
        await crowd.settled(count / ATTEMPTS_A_SECOND * 2)
        print("there", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(crowd.most, crowd.attempts, flush=True)


class Phase(NamedTuple):
    """What honest agents saw."""

    messages: int
    p50_ms: float
    p99_ms: float
    comers: int
    comer_p99_ms: float
    late: int
    """Messages that had not arrived at the end."""


class Result(NamedTuple):
    quiet: Phase
    crowded: Phase
    idle: int
    attempts: int
    peak_mib: float

    @property
    def ratio(self) -> float:
        """How much slower the 99th percentile was in the crowd."""
        return self.crowded.p99_ms / self.quiet.p99_ms


class Honest:
    """Agents that go on sending at ``rate`` a second in all; a message's delay counts from when it
    was due, so that a hub that stalls cannot hide it."""

    def __init__(self, url: str, rate: float) -> None:
        self._url = url
        self._every = PAIRS / rate
        self._pairs = [
            (Agent(f"from{n}", url), Agent(f"to{n}", url, prefetch=10_000)) for n in range(PAIRS)
        ]

    async def __aenter__(self) -> Honest:
        for pair in self._pairs:
            for agent in pair:
                await agent.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for pair in self._pairs:
            for agent in pair:
                await agent.__aexit__(None, None, None)

    async def send(self, seconds: float) -> Phase:
        """Send for so long."""
        count = int(seconds / self._every)
        delays: list[float] = []
        comers: list[float] = []
        coming = asyncio.create_task(self._come_and_go(comers))
        receiving = [
            asyncio.create_task(self._receive(there, count, delays)) for _, there in self._pairs
        ]
        begun = time.monotonic()
        await asyncio.gather(
            *(self._send(here, there.name, begun, count) for here, there in self._pairs)
        )
        await asyncio.wait(receiving, timeout=30)
        coming.cancel()
        for task in receiving:
            task.cancel()
        await asyncio.gather(coming, *receiving, return_exceptions=True)
        return Phase(
            len(delays),
            _percentile(delays, 0.5),
            _percentile(delays, 0.99),
            len(comers),
            _percentile(comers, 0.99),
            count * PAIRS - len(delays),
        )

    async def _send(self, agent: Agent, to: str, begun: float, count: int) -> None:
        accepted: list[asyncio.Task[object]] = []
        for n in range(count):
            due = begun + n * self._every
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            accepted.append(asyncio.create_task(agent.send(to, due)))
        await asyncio.gather(*accepted)

    async def _receive(self, agent: Agent, count: int, delays: list[float]) -> None:
        async for message in agent.messages():
            delays.append((time.monotonic() - message.payload) * 1000)
            await message.done()
            count -= 1
            if not count:
                return

    async def _come_and_go(self, comers: list[float]) -> None:
        for n in range(1_000_000):
            begun = time.monotonic()
            async with Agent(f"comer{n % 50}", self._url, ephemeral=True):
                comers.append((time.monotonic() - begun) * 1000)
            await asyncio.sleep(COMER_EVERY_S)


def _percentile(values: list[float], part: float) -> float:
    ordered = sorted(values) or [float("nan")]
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def peak(pid: int) -> float:
    """The most memory a process has held, MiB; where that is not told, what it holds now."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) / 1024


async def measure(idle: int, rate: float, seconds: float, room: int) -> Result:
    """A quiet phase, then one in a crowd, at a hub that has ``room`` for strangers."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "broker.toml"
        config.write_text(f"[websocket]\nunregistered = {room}\n")
        options = ("--config", str(config))
        async with (
            HubProcess(Path(folder) / "data", *options) as hub,
            Honest(hub.url, rate) as honest,
        ):
            await honest.send(min(2.0, seconds))  # what is made once is made now
            quiet = await honest.send(seconds)
            crowd = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "loadtests.idle_handshakes"),
                *("--idle", str(idle), "--crowd-of", str(hub.port)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                assert crowd.stdout is not None
                await crowd.stdout.readline()
                crowded = await honest.send(seconds)
                out, _ = await crowd.communicate(b"")
            finally:
                if crowd.returncode is None:
                    crowd.kill()
                    await crowd.communicate()
            most, attempts = map(int, out.split())
            return Result(quiet, crowded, most, attempts, peak(hub.pid))


def show(result: Result) -> str:
    """For people."""
    lines = [f"{result.idle} idle connections at most, {result.attempts} attempts"]
    for name, phase in (("quiet", result.quiet), ("crowded", result.crowded)):
        lines.append(
            f"{name}: {phase.messages} messages, p50 {phase.p50_ms:.1f} ms, "
            f"p99 {phase.p99_ms:.1f} ms, late {phase.late}; "
            f"{phase.comers} newcomers, p99 {phase.comer_p99_ms:.0f} ms"
        )
    lines.append(f"p99 ratio {result.ratio:.2f}; the hub's peak {result.peak_mib:.0f} MiB")
    return "\n".join(lines)


def main() -> None:
    """Measure and print; exit code 1 over the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000, help="connections that say nothing")
    parser.add_argument("--rate", type=float, default=1_000.0, help="honest messages a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each phase")
    parser.add_argument(
        "--room",
        type=int,
        default=12_000,
        help="websocket.unregistered: addresses get eight ninths of it together, so that by "
        "default all of the crowd are held; the hub's own default, 4096, turns most away",
    )
    parser.add_argument("--limit", type=float, default=2.0, help="of the p99, crowded to quiet")
    parser.add_argument("--crowd-of", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.crowd_of is not None:
        uvloop.run(press(args.crowd_of, args.idle))
        return
    result = uvloop.run(measure(args.idle, args.rate, args.seconds, args.room))
    print(show(result))
    raise SystemExit(not (result.ratio <= args.limit and result.crowded.late == 0))


if __name__ == "__main__":
    main()
