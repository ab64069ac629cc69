"""What counting costs: ``python -m loadtests.metrics_bench [--batch N]``.

Processor time a message, of all that is counted for it, as a hub does it: a frame of messages and
one of settlements arrive, their commit is over, the batch goes out. Nothing else runs, so it is the
least that it costs; beside it is what one scrape takes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from pathlib import Path
from typing import Any, cast

from trishula_broker.api.metrics import Metrics, Source
from trishula_broker.hub.counts import Counts
from trishula_broker.hub.hub import Hub
from trishula_broker.hub.now import Now
from trishula_broker.net.driver import Driver
from trishula_broker.net.meter import Meter
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_protocol.address import parse_address

ROUNDS = 7
MESSAGES = 100_000


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
    source = Source(driver, store, _Archive(), "hub", "primary", "0", Path("/"), lambda: None)
    metrics = Metrics(source, time.monotonic)
    await metrics.text("")
    began = time.process_time()
    for _ in range(100):
        await metrics.text("")
    took = (time.process_time() - began) / 100
    await driver.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=0, help="messages a commit")
    arguments = parser.parse_args()
    for batch in [arguments.batch] if arguments.batch else [1, 10, 100]:
        each = [counted(batch) for _ in range(ROUNDS)]
        nanoseconds = statistics.median(each) * 1e9
        print(f"counting, {batch:4} messages a commit: {nanoseconds:6.0f} ns a message")
    print(f"a scrape: {asyncio.run(scraped()) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
