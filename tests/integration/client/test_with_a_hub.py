"""The SDK against a real hub in a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_process import HubProcess
from trishula import Agent, Message, Refused, RemoteError, TakenOver


async def test_send_command_and_questions(tmp_path: Path) -> None:
    async with (
        HubProcess(tmp_path / "data") as hub,
        Agent("dc", hub.url, groups=["ops"]) as dc,
        Agent("agni", hub.url, capabilities=["python"]) as agni,
    ):
        progress: list[Any] = []

        @agni.on_command
        async def work(message: Message) -> Any:
            await message.progress("half")
            if message.payload == "fail":
                raise ValueError("no such thing")
            return {"got": message.payload}

        changes = dc.watch()
        heard = asyncio.ensure_future(anext(changes))
        assert await dc.command("@python", 1, timeout=60, on_progress=progress.append) == {"got": 1}
        assert progress == ["half"]
        with pytest.raises(RemoteError, match="handler_failed: ValueError: no such thing"):
            await dc.command("agni", "fail", timeout=60)
        with pytest.raises(Refused, match="unknown_recipient") as caught:
            await dc.send("agnl", 1)
        assert not caught.value.retryable

        receipt = await dc.send("agni", "hello", receipt=True, ttl=60)
        got = await anext(agni.messages())
        assert got.payload == "hello"
        assert await receipt.reached("read", timeout=60) == "agni"
        await got.done()
        assert await receipt.reached("done", timeout=60) == "agni"
        assert await dc.trace(receipt.id)
        assert {a["id"] for a in await dc.agents(capability="python")} == {"agni"}
        await agni.join("ops")
        assert {a["id"] for a in await dc.agents(group="ops")} == {"dc", "agni"}
        await agni.status("busy", {"n": 1})
        assert await heard
        assert (await dc.peek())["count"] == 0
        await dc.send("agni", "later")
        waiting = await dc.send("agni", "never")
        assert (await anext(agni.messages())).payload == "later"
        assert await dc.recall(waiting.id)
        await dc.send("agni", "more")
        assert (await anext(agni.messages())).payload == "more"
        assert await dc.history()


async def test_a_tap_hears_what_passes_also_after_a_lost_connection(tmp_path: Path) -> None:
    async with (
        HubProcess(tmp_path / "data") as hub,
        Agent("op", hub.url, receive=False, ephemeral=True) as operator,
        Agent("dc", hub.url) as dc,
    ):
        copies = operator.tap(sender="dc")
        heard = asyncio.ensure_future(anext(copies))
        async with asyncio.timeout(60):
            while not heard.done():
                await dc.send("dc", {"n": 1})
                await asyncio.wait({heard}, timeout=0.05)
            first = await heard
            assert (first["tap"], first["envelope"]["payload"]) == ("accepted", {"n": 1})
            assert first["agents"] == ["dc"]
            await hub.restart()
            again = asyncio.ensure_future(_first(copies, {"n": 2}))
            while not again.done():
                await dc.send("dc", {"n": 2})
                await asyncio.wait({again}, timeout=0.05)
            assert (await again)["envelope"]["from"] == "dc"


async def _first(copies: AsyncIterator[Any], payload: Any) -> Any:
    async for copy in copies:
        if copy["envelope"].get("payload") == payload:
            return copy
    raise AssertionError("the tap ended")


async def test_a_newer_agent_takes_over_and_gets_what_was_not_settled(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "data") as hub, Agent("dc", hub.url) as dc:
        async with Agent("agni", hub.url) as old:
            await dc.send("agni", 1)
            await dc.send("agni", 2)
            mailbox = old.messages()
            await (await anext(mailbox)).done()
            async with Agent("agni", hub.url) as new:
                with pytest.raises(TakenOver):
                    await old.run()
                got = await anext(new.messages())
                assert got.payload == 2
                await got.done()
        assert old.state == "taken_over"


async def test_rejected_mail_is_told_to_its_sender(tmp_path: Path) -> None:
    async with (
        HubProcess(tmp_path / "data") as hub,
        Agent("dc", hub.url) as dc,
        Agent("agni", hub.url) as agni,
    ):
        asking = asyncio.ensure_future(dc.command("agni", 1, timeout=60))
        await (await anext(agni.messages())).reject("not mine")
        with pytest.raises(RemoteError, match="undeliverable") as caught:
            await asking
        assert caught.value.sender == "hub"
        asking = asyncio.ensure_future(dc.command("agni", 2, timeout=60))
        again = await anext(agni.messages())
        await again.reject("busy", requeue=True)
        second = await anext(agni.messages())
        assert second.attempt == 2
        await second.reply("ok")
        assert await asking == "ok"


@pytest.mark.parametrize("kept", [False, True])
async def test_a_hub_killed_again_and_again_loses_and_doubles_nothing(
    tmp_path: Path, kept: bool
) -> None:
    total = 3_000
    async with HubProcess(tmp_path / "data") as hub:
        state_dir = tmp_path / "dc" if kept else None
        async with (
            Agent("dc", hub.url, state_dir=state_dir) as dc,
            Agent("agni", hub.url, concurrency=1) as agni,
        ):
            got: list[int] = []
            enough = asyncio.Event()

            @agni.on_status
            async def take(message: Message) -> None:
                got.append(message.payload)
                if len(got) >= total:
                    enough.set()

            sending = asyncio.gather(*[dc.send("agni", n) for n in range(total)])
            for mark in (200, 900):
                while len(got) < mark:
                    await dc.agents()
                await hub.restart()
            await sending
            await enough.wait()
            assert Counter(got) == Counter(range(total))
            assert got == sorted(got)


async def test_no_send_fails_while_a_hub_drains(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "data") as hub, Agent("dc", hub.url) as dc:
        sends = [asyncio.ensure_future(dc.send("dc", n)) for n in range(500)]
        await sends[0]
        await hub.terminate()
        await hub.start()
        await asyncio.gather(*sends)
        mailbox = dc.messages()
        got = []
        for _ in range(500):
            message = await anext(mailbox)
            await message.done()
            got.append(message.payload)
        assert got == list(range(500))


async def test_a_frozen_hub_is_left(tmp_path: Path) -> None:
    async with (
        HubProcess(tmp_path / "data") as one,
        HubProcess(tmp_path / "other") as two,
        Agent("dc", [one.url, two.url]) as dc,
    ):
        await one.signal(signal.SIGSTOP)
        async with asyncio.timeout(60):
            await dc.send("dc", 1)
        assert dc.url == two.url
        await one.signal(signal.SIGCONT)
