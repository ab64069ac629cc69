"""Alerts as messages, from a real hub to a real agent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.integration.folder.rig import until
from tests.support.hub_process import HubProcess
from trishula import Agent, Message

TIMEOUT_S = 60.0


async def tamper(data: Path) -> None:
    """Have an archive that does not fit its signed head any more."""
    async with HubProcess(data) as hub:
        async with Agent("ops", hub.url, groups=["watch"]), Agent("dc", hub.url) as dc:
            for n in range(3):
                await dc.send("dc", n)
        await hub.terminate()
    [path] = (data / "audit" / "trail" / "default").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))  # its end is cut off


async def first(agent: Agent) -> Message:
    async with asyncio.timeout(TIMEOUT_S):
        return await anext(agent.messages())


@pytest.mark.parametrize("to", ["ops", "#watch"])
async def test_an_alert_is_sent_once_to_whom_it_is_for(tmp_path: Path, to: str) -> None:
    await tamper(tmp_path / "data")
    environ = {"TRISHULA_ALERTS_TO": to}
    async with HubProcess(tmp_path / "data", environ=environ) as hub:
        async with Agent("ops", hub.url, groups=["watch"]) as ops:
            message = await first(ops)
            assert (message.sender, message.type, message.priority) == ("hub", "STATUS", 2)
            told = message.payload
            assert (told["alert"], told["state"], told["node"]) == (
                "TrishulaAuditAlarm",
                "firing",
                "hub",
            )
            assert told["runbook"] == "docs/operations.md#trishulaauditalarm"
            await message.done()
        await hub.terminate()
    assert json.loads((tmp_path / "data" / "alerts.json").read_text())["TrishulaAuditAlarm"]["told"]
    # Started again it is on as before, and is not told again: what it does tell comes behind it.
    async with (
        HubProcess(tmp_path / "data", environ=environ) as again,
        Agent("ops", again.url, groups=["watch"]) as ops,
    ):
        history = await ops.history()
        mail = [each["id"] for each in history["messages"] if each["from"] == "hub"]
        assert mail == [message.id]


async def test_who_is_not_known_is_told_in_the_log_and_gets_it_later(tmp_path: Path) -> None:
    await tamper(tmp_path / "data")
    async with HubProcess(tmp_path / "data", environ={"TRISHULA_ALERTS_TO": "boss"}) as hub:
        await until(tmp_path, lambda: "unknown_recipient: boss" in hub.log_path.read_text())
        async with Agent("boss", hub.url) as boss:
            assert (await first(boss)).payload["alert"] == "TrishulaAuditAlarm"
