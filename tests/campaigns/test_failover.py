"""How long an agent is without a hub when its own is killed, frozen or drained."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from pathlib import Path

import pytest

from tests.support.hub_process import HubProcess
from tests.support.two_hubs import two_hubs
from trishula import Agent

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]


async def away(agent: Agent, here: HubProcess, there: HubProcess, number: int) -> float:
    """Seconds from a signal to the hub until another one has accepted a message."""
    assert agent.url == here.url
    begun = time.monotonic()
    await here.signal(number)
    async with asyncio.timeout(60):
        while True:
            await agent.send("dc", None)
            if agent.url == there.url:
                return time.monotonic() - begun


@pytest.mark.parametrize(
    ("number", "times", "median", "worst"),
    [
        (signal.SIGKILL, 50, 0.2, 1.0),
        (signal.SIGTERM, 20, 0.2, 1.0),
        (signal.SIGSTOP, 10, 5.0, 5.0),
    ],
    ids=["killed", "drained", "frozen"],
)
async def test_an_agent_is_soon_on_the_next_hub(
    number: int,
    times: int,
    median: float,
    worst: float,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures: list[float] = []
    async with two_hubs(tmp_path) as hubs:
        urls = [hub.url for hub in hubs]
        async with Agent("dc", urls, failback_after=None) as dc:
            dc.on_status(lambda message: None)
            for turn in range(times):
                here, there = hubs[turn % 2], hubs[(turn + 1) % 2]
                figures.append(await away(dc, here, there, number))
                if number == signal.SIGSTOP:
                    await here.signal(signal.SIGCONT)
                else:
                    await here.wait()
                    await here.start()
    with capsys.disabled():
        print(
            f"\n{times} times: median {statistics.median(figures) * 1000:.0f} ms, "
            f"worst {max(figures) * 1000:.0f} ms"
        )
    assert statistics.median(figures) < median
    assert max(figures) < worst
