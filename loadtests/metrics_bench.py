"""What counting and tracing cost: ``python -m loadtests.metrics_bench [--rounds N] [--batch N]``.

First two hubs side by side, each on SQLite with a sender and a receiver, in turns: one counts
nothing and traces nothing; the other counts, is scraped every five seconds, and follows as many
messages as it ever does (``tracing.ratio`` 1, ``tracing.per_s`` as it comes) to a collector beside.
Throughput end to end and the hub's processor time a message; it ends with 1 when the second has
less than 95 % of the first's throughput, at the median of the rounds.

Then processor time a message of all that is counted for it, as a hub does it: a frame of messages
and one of settlements arrive, their commit is over, the batch goes out. Nothing else runs, so it is
the least that it costs; beside it is what one scrape takes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import uvloop

from loadtests.bench import Setup, cpu_s, play
from tests.support.hub_process import HubProcess
from tests.support.otlp_receiver import OtlpReceiver
from trishula_broker.api.metrics import Metrics, Source
from trishula_broker.hub.counts import Counts
from trishula_broker.hub.hub import Hub
from trishula_broker.hub.now import Now
from trishula_broker.net.depths import Depths
from trishula_broker.net.driver import Driver
from trishula_broker.net.meter import Meter
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_protocol.address import parse_address

ROUNDS = 7
MESSAGES = 100_000
MARK: Final = 0.95
"""The share of the throughput that must be left."""
SCRAPE_S: Final = 5.0
"""Between two scrapes; Prometheus' own default is 60."""


class Round(NamedTuple):
    """One hub's figures: messages a second, and its processor time a message in µs."""

    speed: float
    cost: float


async def _played(hub: HubProcess, messages: int, window: int) -> Round:
    before = cpu_s(hub.pid)
    figures = await play(Setup(hub.url, hub.url, {}), messages, window, 0)
    took = figures["end"] - figures["start"]
    return Round(messages / took, (cpu_s(hub.pid) - before) / messages * 1e6)


async def _scrape(hub: HubProcess) -> None:
    def scraped() -> None:
        with urllib.request.urlopen(f"{hub.http_url}/metrics", timeout=10) as answer:
            assert b"trishula_messages_total" in answer.read()

    while True:
        await asyncio.to_thread(scraped)
        await asyncio.sleep(SCRAPE_S)


@asynccontextmanager
async def _scraped(hub: HubProcess) -> AsyncIterator[None]:
    task = asyncio.create_task(_scrape(hub))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def side_by_side(rounds: int, messages: int, window: int) -> dict[str, Any]:
    """Both hubs in turns; medians, and what is left of the throughput."""
    off: list[Round] = []
    on: list[Round] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        receiver = stack.enter_context(OtlpReceiver())
        config = folder / "broker.toml"
        config.write_text(f'[tracing]\notlp = "{receiver.url}"\nratio = 1.0\n')
        uncounted = (sys.executable, "-m", "loadtests.uncounted")
        without = await stack.enter_async_context(HubProcess(folder / "off", under=uncounted))
        counted = await stack.enter_async_context(
            HubProcess(folder / "on", "--config", str(config))
        )
        for hub in (without, counted):  # the first messages of a hub are no measure
            await _played(hub, messages // 10, window)
        for n in range(rounds):
            for both in [(off, without), (on, counted)][:: 1 if n % 2 else -1]:
                found, hub = both
                async with AsyncExitStack() as beside:
                    if hub is counted:
                        await beside.enter_async_context(_scraped(hub))
                    found.append(await _played(hub, messages, window))
            print(
                f"round {n + 1}: off {off[-1].speed:8.0f} msg/s {off[-1].cost:6.1f} µs, "
                f"on {on[-1].speed:8.0f} msg/s {on[-1].cost:6.1f} µs",
                file=sys.stderr,
                flush=True,
            )
        spans = len(receiver.seen)
    left = statistics.median([b.speed / a.speed for a, b in zip(off, on, strict=True)])
    return {
        "messages": messages,
        "rounds": rounds,
        "off_msg_s": statistics.median([each.speed for each in off]),
        "on_msg_s": statistics.median([each.speed for each in on]),
        "off_us": statistics.median([each.cost for each in off]),
        "on_us": statistics.median([each.cost for each in on]),
        "left": left,
        "spans": spans,
        "mark": MARK,
        "ok": left >= MARK,
    }


def _shown(found: dict[str, Any]) -> str:
    return (
        f"| metrics and traces | throughput, msg/s | hub's processor time, µs a message |\n"
        f"|---|---:|---:|\n"
        f"| off | {found['off_msg_s']:.0f} | {found['off_us']:.1f} |\n"
        f"| on | {found['on_msg_s']:.0f} | {found['on_us']:.1f} |\n"
        f"left: {found['left']:.1%} (mark: {MARK:.0%}); {found['spans']} spans were sent"
    )


def counted(batch: int) -> float:
    """Seconds of processor time a message."""
    meter, counts = Meter(), Counts()
    to = parse_address("agni")
    ops: list[base.Operation] = [
        base.Accept("dc", 1, to, str(n), "COMMAND", 3, None, None, False, None, b"{}")
        for n in range(batch)
    ]
    ops.append(base.Settle("agni", 1, tuple(range(batch)), (None,) * batch))
    outcomes: list[base.Outcome] = [base.Accepted(n, 0, ("agni",)) for n in range(batch)]
    outcomes.append(base.Marked(tuple(range(batch)), ()))
    work = [base.Batch("default", ops)]
    rounds = MESSAGES // batch
    gc.collect()
    began = time.process_time()
    for _ in range(rounds):
        meter.arrived(batch)
        meter.arrived(1)
        meter.collected(True)
        meter.committed(work, [outcomes])
        counts.out(batch, 1, 10_000)
    return (time.process_time() - began) / (rounds * batch)


class _Archive:
    mismatches = 0

    def describe(self) -> dict[str, Any]:
        return {"enabled": False}


async def scraped() -> float:
    """Seconds of processor time a scrape."""
    store = MemoryStore()
    driver = Driver(
        store,
        lambda namespace: Hub(namespace=namespace, node="hub", role="primary"),
        lambda: Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000),
        cast(Any, None),
    )
    depths = Depths(store, time.monotonic)
    source = Source(
        driver, store, depths, _Archive(), "hub", "primary", "0", Path("/"), lambda: None
    )
    metrics = Metrics(source, time.monotonic)
    await metrics.text("")
    began = time.process_time()
    for _ in range(100):
        await metrics.text("")
    took = (time.process_time() - began) / 100
    await driver.close()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=0, help="messages a commit, of the counting")
    parser.add_argument("--rounds", type=int, default=5, help="0 leaves the hubs out")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of each round")
    parser.add_argument("--window", type=int, default=512, help="messages in flight")
    parser.add_argument("--json", action="store_true", help="the hubs' figures as JSON")
    arguments = parser.parse_args()
    ok = True
    if arguments.rounds:
        found = uvloop.run(side_by_side(arguments.rounds, arguments.messages, arguments.window))
        print(json.dumps(found) if arguments.json else _shown(found), flush=True)
        ok = found["ok"]
    if not arguments.json:
        for batch in [arguments.batch] if arguments.batch else [1, 10, 100]:
            each = [counted(batch) for _ in range(ROUNDS)]
            nanoseconds = statistics.median(each) * 1e9
            print(f"counting, {batch:4} messages a commit: {nanoseconds:6.0f} ns a message")
        print(f"a scrape: {asyncio.run(scraped()) * 1e3:.2f} ms")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
