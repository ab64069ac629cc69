"""What agents that do not read cost the others: nothing but their own mail."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.integration.cli.command import Broker
from tests.support.hub_process import HubProcess
from trishula import Agent

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]

READERS = 20
WAITING = 200
"""Messages for each of them: more than a socket and the hub's buffer take."""
TEXT = "x" * 20_000
TIMES = 2.0
"""The others' p99 is at most so many times its quiet value."""
TURNS = 3


@asynccontextmanager
async def nobody_reads(hub: HubProcess, feeder: Agent, turn: int) -> AsyncIterator[None]:
    """Agents that have registered, have mail, and take nothing from their sockets."""
    async with AsyncExitStack() as stack:
        for n in range(READERS):
            socket = await stack.enter_async_context(connect(hub.url, max_queue=1, close_timeout=0))
            register = {"op": "register", "agent": f"deaf{n}", "prefetch": 10_000}
            asked = {"type": "COMMAND", "to": "hub", "id": f"r{turn}", "payload": register}
            await socket.send(json.dumps(asked))
            assert json.loads(await socket.recv())["reply_to"] == asked["id"]
        sends = (feeder.send(f"deaf{n}", TEXT) for n in range(READERS) for _ in range(WAITING))
        await asyncio.gather(*sends)
        yield


async def p99_ms(hub: HubProcess) -> float:
    """Of agents that do read, a steady load of messages among them."""
    options = ("--duration", "5s", "--rate", "500", "--connections", "5", "--json")
    done = await Broker(hub.url)("bench", *options)
    assert done.code == 0, done
    found = done.json
    assert (found["success"], found["duplicates"], found["disorder"]) == (100, 0, 0)
    return float(found["latency_ms"]["p99"])


async def test_the_others_are_as_fast_as_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet: list[float] = []
    beside: list[float] = []
    async with (
        HubProcess(tmp_path / "data") as hub,
        Agent("feeder", hub.url) as feeder,
        Agent("looker", hub.url, receive=False) as looker,
    ):
        for turn in range(TURNS):
            quiet.append(await p99_ms(hub))
            async with nobody_reads(hub, feeder, turn):
                beside.append(await p99_ms(hub))
        found = {each["id"]: each["unsettled"] for each in await looker.agents()}
    with capsys.disabled():
        print(f"\np99 {quiet} ms without {READERS} agents that do not read, {beside} ms with them")
    # All they were sent is still theirs.
    assert {found[f"deaf{n}"] for n in range(READERS)} == {TURNS * WAITING}
    assert statistics.median(beside) <= TIMES * statistics.median(quiet)
