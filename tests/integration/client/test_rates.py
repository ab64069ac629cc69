"""An agent that sends faster than its hub takes goes on as fast as it may."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.hub_process import HubProcess
from trishula import Agent

LIMIT = {"TRISHULA_LIMITS_MESSAGES_PER_S": "500", "TRISHULA_LIMITS_MESSAGES_BURST": "100"}
MESSAGES = 400


async def test_a_limited_agent_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    async with (
        HubProcess(tmp_path / "hub", environ=LIMIT) as hub,
        Agent("agni", hub.url) as agni,
        Agent("dc", hub.url) as dc,
        asyncio.timeout(60),
    ):
        sends = [asyncio.ensure_future(dc.send("agni", n)) for n in range(MESSAGES)]
        mail = agni.messages()
        heard = []
        for _ in range(MESSAGES):
            message = await anext(mail)
            heard.append(message.payload)
            await message.done()
        await asyncio.gather(*sends)
        assert heard == list(range(MESSAGES))
