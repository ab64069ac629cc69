"""Whether what is done over HTTP slows WebSocket: sends by plain HTTP, and open consoles.

    python -m loadtests.beside [--seconds N] [--rate N] [--consoles N] [--sends N] [--json]

A hub on SQLite with its defaults, and `broker bench` with a steady 5 000 messages a second among
ten agents all the time; its latency counts from the moment at which each message was due. In turns
the hub is quiet otherwise; takes 1 000 messages a minute by `POST /api/v1/messages`, each over a
connection of its own as curl does; is quiet again; has 50 consoles open, each with its live stream
and what the page asks every five seconds (console/static/live.js); and is quiet again. The clients
of both run in a process of low priority, for in life they are elsewhere. One table; the exit code
is 1 when the p99 of WebSocket was twice its quiet value or more (the median of the quiet turns), or
when anything was refused or lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop

from loadtests.figures import processor_s
from tests.support.hub_process import HubProcess
from trishula import Agent

ASK_S: Final = 5.0
"""What no event tells is asked so often by a console: ASK_MS in console/static/live.js."""
ASKED: Final = ("/health", "/series", "/nodes", "/agents")
STREAMS_OF_ONE: Final = 10
"""Consoles of one operator."""
TIMES: Final = 2.0
"""The p99 must stay below so many times its quiet value."""
NICE: Final = 10
WARM_UP_S: Final = 3.0


class Turn(NamedTuple):
    """One turn's figures: milliseconds, and the share of a processor that the hub took."""

    what: str
    p50: float
    p99: float
    p999: float
    msg_s: float
    hub_share: float
    ok: bool
    beside: dict[str, Any]


# --- what is beside: a process of its own ---


class Browser:
    """Requests to one hub, and what came of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.counts: Counter[str] = Counter()
        self.worst_ms = 0.0

    async def ask(self, head: str, body: bytes = b"") -> None:
        """One request over a connection of its own."""
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(
                f"{head} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            answer = await reader.read()
        finally:
            writer.close()
        self.counts[head.split("?")[0] + " " + answer[9:12].decode()] += 1
        self.worst_ms = max(self.worst_ms, (time.monotonic() - begun) * 1e3)

    async def stream(self, name: str) -> None:
        """A live stream, read for as long as it lasts."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            path = f"/api/v1/live?presence=true&as={name}"
            host = f"Host: 127.0.0.1:{self._port}"
            writer.write(f"GET {path} HTTP/1.1\r\n{host}\r\n\r\n".encode())
            status = await reader.readline()
            self.counts[f"GET /live {status[9:12].decode()}"] += 1
            while block := await reader.read(1 << 18):
                self.counts["stream bytes"] += len(block)
                self.counts["stream events"] += block.count(b"event: ")
        finally:
            writer.close()

    async def console(self, name: str) -> None:
        """A page that is open."""

        async def asking() -> None:
            await self.ask(f"GET /api/v1/deadletters?as={name}")
            await asyncio.sleep(random.random() * ASK_S)
            while True:
                async with asyncio.TaskGroup() as asked:
                    for path in ASKED:
                        asked.create_task(self.ask(f"GET /api/v1{path}?as={name}"))
                await asyncio.sleep(ASK_S)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.stream(name))
            tasks.create_task(asking())

    async def sends(self, per_minute: float) -> None:
        """Messages by HTTP, when they are due."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for n in itertools.count():
                due = start + n * 60 / per_minute
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                body = json.dumps(
                    {"type": "STATUS", "to": "by-http", "payload": {"n": n, "text": "x" * 200}}
                ).encode()
                tasks.create_task(self.ask("POST /api/v1/messages?as=plain", body))


async def browse(port: int, consoles: int, per_minute: float) -> None:
    """What is beside, until standard input ends; then its figures."""
    os.nice(NICE)
    browser = Browser(port)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    names = [f"console-{n // STREAMS_OF_ONE}" for n in range(consoles)]
    tasks = [asyncio.create_task(browser.console(name)) for name in names]
    if per_minute:
        tasks.append(asyncio.create_task(browser.sends(per_minute)))
    ended = asyncio.create_task(reader.read())
    await asyncio.wait({ended, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()  # or why it could not go on
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({**browser.counts, "slowest request, ms": round(browser.worst_ms, 1)}))


Beside = Callable[[HubProcess], contextlib.AbstractAsyncContextManager[dict[str, Any]]]


@contextlib.asynccontextmanager
async def _nothing(hub: HubProcess) -> AsyncIterator[dict[str, Any]]:
    yield {}


def _browsing(consoles: int, per_minute: float) -> Beside:
    @contextlib.asynccontextmanager
    async def browsing(hub: HubProcess) -> AsyncIterator[dict[str, Any]]:
        found: dict[str, Any] = {}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtests.beside", "--browse", str(hub.port)),
            *("--consoles", str(consoles), "--sends", str(per_minute)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield found
        finally:
            said, _ = await process.communicate(b"")
            found |= json.loads(said) if said else {"ended": process.returncode}

    return browsing


# --- the turns ---


async def _bench(hub: HubProcess, seconds: float, rate: float) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trishula_broker", "bench", "--url", hub.url, "--json"),
        *("--duration", f"{seconds:g}s", "--connections", "5", "--rate", f"{rate:g}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate()
    found: dict[str, Any] = json.loads(said)
    return found


async def _turn(
    hub: HubProcess, what: str, beside: Beside, bench: Callable[[], Awaitable[dict[str, Any]]]
) -> Turn:
    async with beside(hub) as found:
        before, begun = processor_s(hub.pid), time.monotonic()
        report = await bench()
        share = (processor_s(hub.pid) - before) / (time.monotonic() - begun)
    latency = report["latency_ms"]
    refused = [name for name in found if name[-3:].isdigit() and name[-3] != "2"]
    ok = report["success"] == 100.0 and not refused and "ended" not in found
    p50, p99, p999 = latency["p50"], latency["p99"], latency["p999"]
    return Turn(what, p50, p99, p999, report["messages_per_s"], share, ok, found)


async def run(seconds: float, rate: float, consoles: int, per_minute: float) -> list[Turn]:
    """All turns, one after the other."""
    http, pages = f"{per_minute:g} HTTP sends a minute", f"{consoles} consoles"
    turns: list[tuple[str, Beside]] = [
        ("quiet", _nothing),
        (http, _browsing(0, per_minute)),
        ("quiet", _nothing),
        (pages, _browsing(consoles, 0)),
        ("quiet", _nothing),
    ]
    done: list[Turn] = []
    with tempfile.TemporaryDirectory() as folder:
        async with (
            HubProcess(Path(folder, "data")) as hub,
            Agent("by-http", hub.url) as receiver,
        ):

            @receiver.on_status
            async def settled(message: object) -> None:
                """Settled by returning."""

            await _bench(hub, WARM_UP_S, rate)
            for what, beside in turns:
                done.append(await _turn(hub, what, beside, lambda: _bench(hub, seconds, rate)))
                print(_line(done[-1], None), file=sys.stderr, flush=True)
    return done


def _line(turn: Turn, quiet: float | None) -> str:
    times = "" if quiet is None else f" {turn.p99 / quiet:5.2f} |"
    return (
        f"| {turn.what:<26} | {turn.msg_s:6.0f} | {turn.p50:7.2f} | {turn.p99:7.2f} | "
        f"{turn.p999:7.2f} | {turn.hub_share:5.0%} |{times}"
    )


def judged(turns: list[Turn]) -> tuple[float, bool]:
    """The quiet p99, and whether all marks were reached."""
    quiet = statistics.median([turn.p99 for turn in turns if turn.what == "quiet"])
    reached = all(turn.ok for turn in turns) and all(
        turn.p99 < TIMES * quiet for turn in turns if turn.what != "quiet"
    )
    return quiet, reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each turn")
    parser.add_argument("--rate", type=float, default=5_000, help="messages a second")
    parser.add_argument("--consoles", type=int, default=50)
    parser.add_argument("--sends", type=float, default=1_000, help="HTTP sends a minute")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--browse", type=int, metavar="PORT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.browse:
        uvloop.run(browse(given.browse, given.consoles, given.sends))
        return 0
    turns = uvloop.run(run(given.seconds, given.rate, given.consoles, given.sends))
    quiet, reached = judged(turns)
    if given.json:
        body = {"turns": [turn._asdict() for turn in turns], "quiet_p99_ms": quiet, "ok": reached}
        print(json.dumps(body, indent=2))
        return 0 if reached else 1
    print("| beside | msg/s | p50 ms | p99 ms | p99.9 ms | hub | times quiet p99 |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for turn in turns:
        print(_line(turn, quiet))
    for turn in turns:
        if turn.beside:
            shown = ", ".join(f"{count} × {name}" for name, count in sorted(turn.beside.items()))
            print(f"{turn.what}: {shown}")
    print(f"{'reached' if reached else 'MISSED'}: p99 below {TIMES:g} times its quiet value")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
