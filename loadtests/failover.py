"""How long an agent cannot send when its hub dies, or falls silent.

    python -m loadtests.failover [--kills N] [--freezes N]

Two hubs on one Redis with appendfsync=always, and one agent that knows both and sends one message
after another. Its hub is killed with -9, or stopped with SIGSTOP; the time runs from that moment
to the next acceptance. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer
from trishula import Agent

STEADY_S = 1.5
"""A session that has lasted so long was a good one to the SDK; a hub has told the others that it
lives by then."""


async def away_s(agent: Agent, hub: HubProcess, number: signal.Signals) -> float:
    """Send while ``hub`` is signalled; seconds until the next acceptance by another."""
    begun = time.monotonic()
    while time.monotonic() - begun < STEADY_S:
        await agent.send("dc", None)
    await hub.signal(number)
    signalled = time.monotonic()
    # What is under way is answered by the hub that dies, or by the next.
    while agent.url == hub.url or agent.url is None:
        await agent.send("dc", None)
    return time.monotonic() - signalled


async def fail_over(hubs: Sequence[HubProcess], times: int, number: signal.Signals) -> list[float]:
    """Signal the hub on which the agent is, so many times; each is well again before the next."""
    found = []
    async with Agent("sender", [hub.url for hub in hubs], failback_after=None) as agent:
        for _ in range(times):
            (hub,) = (each for each in hubs if each.url == agent.url)
            found.append(await away_s(agent, hub, number))
            if number == signal.SIGSTOP:
                await hub.signal(signal.SIGCONT)
            else:
                await hub.restart()
    return found


def show(what: str, seconds: Sequence[float]) -> None:
    """A line of figures."""
    ordered = sorted(each * 1e3 for each in seconds)
    print(
        f"{what}, {len(ordered)} times: median {statistics.median(ordered):.0f} ms, "
        f"worst {ordered[-1]:.0f} ms (load average {os.getloadavg()[0]:.1f})",
        flush=True,
    )


async def measure(kills: int, freezes: int) -> None:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder) / "redis")
        redis.start()
        try:
            shared = ("--redis", redis.url)
            async with (
                HubProcess(Path(folder) / "one", *shared, node="one") as one,
                HubProcess(Path(folder) / "two", *shared, "--role", "failover", node="two") as two,
                Agent("dc", [one.url, two.url]) as dc,
            ):
                dc.on_status(lambda message: None)
                if kills:
                    show("hub killed", await fail_over((one, two), kills, signal.SIGKILL))
                if freezes:
                    show("hub frozen", await fail_over((one, two), freezes, signal.SIGSTOP))
        finally:
            redis.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--freezes", type=int, default=10)
    args = parser.parse_args()
    uvloop.run(measure(args.kills, args.freezes))


if __name__ == "__main__":
    main()
