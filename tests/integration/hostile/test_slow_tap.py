"""An operator that taps and does not read: others go on, and it is told how much it missed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.hostile.test_hostile_clients import GENEROUS_S, client
from tests.support.hub_process import HubProcess
from trishula import Agent

COUNT = 3_000
SIZE = 10_000


async def test_a_tap_that_is_not_read_slows_nobody_and_every_copy_is_told_or_counted(
    tmp_path: Path,
) -> None:
    async with HubProcess(tmp_path / "data") as hub:
        async with Agent("agni", hub.url):
            pass  # known from here on; its mailbox fills
        async with client(hub, "op") as operator, Agent("dc", hub.url) as dc:
            payload = {"op": "tap", "from": "dc"}
            await operator.say({"type": "COMMAND", "to": "hub", "id": "t", "payload": payload})
            assert (await operator.hear())["payload"] == {"on": True}
            async with asyncio.timeout(GENEROUS_S):
                await asyncio.gather(*(dc.send("agni", "x" * SIZE) for _ in range(COUNT)))
            told = missed = 0
            while told + missed < COUNT:
                heard = await operator.hear()
                if heard["payload"]["tap"] == "missed":
                    missed += heard["payload"]["missed"]
                else:
                    assert len(heard["payload"]["envelope"]["payload"]) == SIZE
                    told += 1
            assert told + missed == COUNT
            assert missed > COUNT // 3
            assert told > 0
