"""To the folder when the last hub ends, back when one answers, and nothing twice on the way."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.client.scripted_hub import ScriptedHub, Session
from tests.integration.client.scripted_hub import hub as scripted_hub
from tests.integration.folder.rig import (
    Inbound,
    box,
    drop,
    files,
    folder_agent,
    letter,
    until,
    until_files,
    until_state,
)
from tests.support.hub_process import HubProcess
from trishula import Agent, Message, RemoteError, State
from trishula_protocol.envelope import Envelope


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


async def test_there_and_back(
    hub: HubProcess, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dc = folder_agent("dc", folder, hub.url, fallback_after=2.0)
    agni = folder_agent("agni", folder, hub.url, fallback_after=2.0)
    inbound = Inbound(agni)
    async with dc, agni:
        assert dc.state is State.ACTIVE
        await dc.send("agni", "by hub")
        await inbound.until(1)
        switched = asyncio.ensure_future(until_state(dc, State.FOLDER))
        begun = time.monotonic()
        await hub.kill()
        await dc.send("agni", "by file")
        there = await switched - begun
        await inbound.until(2)
        back = asyncio.ensure_future(until_state(dc, State.ACTIVE))
        await hub.start()
        begun = time.monotonic()
        returned = await back - begun
        await dc.send("agni", "by hub again")
        assert await inbound.until(3) == ["by hub", "by file", "by hub again"]
    with capsys.disabled():
        print(f"\nfolder after {there:.2f} s, hub after {returned:.2f} s ", end="")


async def test_a_hub_that_is_frozen_is_left_for_the_folder(
    hub: HubProcess, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dc = folder_agent("dc", folder, hub.url, fallback_after=2.0)
    agni = folder_agent("agni", folder, hub.url, fallback_after=2.0)
    inbound = Inbound(agni)
    async with dc, agni:
        switched = asyncio.ensure_future(until_state(dc, State.FOLDER))
        begun = time.monotonic()
        await hub.signal(signal.SIGSTOP)
        await dc.send("agni", "by file")
        there = await switched - begun
        await inbound.until(1)
        await hub.signal(signal.SIGCONT)
        await until_state(dc, State.ACTIVE)
        await dc.send("agni", "by hub")
        # The thawed hub may have taken the first one as well: it is not handed out again.
        assert await inbound.until(2) == ["by file", "by hub"]
    with capsys.disabled():
        print(f"\na frozen hub is left after {there:.2f} s ", end="")


async def test_latency_on_one_host(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with folder_agent("dc", folder) as dc, folder_agent("agni", folder) as agni:
        times: list[float] = []
        for number in range(30):
            begun = time.monotonic()
            await dc.send("agni", number)
            message = await anext(agni.messages())
            times.append(time.monotonic() - begun)
            await message.done()
    median = sorted(times)[len(times) // 2] * 1000
    with capsys.disabled():
        print(f"\nby file: {median:.1f} ms at the median, {max(times) * 1000:.1f} at most ", end="")


async def test_what_still_lies_in_the_folder_is_handed_over_once(
    hub: HubProcess, folder: Path
) -> None:
    async with folder_agent("agni", folder, hub.url):
        pass
    await hub.kill()
    async with folder_agent("dc", folder, hub.url) as dc:
        await dc.send("agni", "letter", id="m1")
        copy = [path.read_bytes() for path in box(folder, "agni", "inbox").iterdir()]
        assert len(copy) == 1
        await hub.start()
        (name,) = files(folder, "agni", "inbox")
        await until_files(folder, "agni", "inbox", 0)
        # A copying tool brings it back: it goes again, and nothing is sent twice.
        (box(folder, "agni", "inbox") / name).write_bytes(copy[0])
        agni = folder_agent("agni", folder, hub.url)
        inbound = Inbound(agni)
        async with agni:
            await inbound.until(1)
            await until_files(folder, "agni", "inbox", 0)
            await dc.send("agni", "last")
            assert await inbound.until(2) == ["letter", "last"]


async def test_a_message_that_goes_both_ways_arrives_once_and_is_settled_both_ways(
    hub: HubProcess, folder: Path
) -> None:
    agni = folder_agent("agni", folder, hub.url)
    inbound = Inbound(agni)
    async with agni, Agent("dc", hub.url) as dc:
        drop(folder, letter("dc", "agni", "m1", "file first"))
        await inbound.until(1)
        await dc.send("agni", "file first", id="m1")
        await dc.send("agni", "hub first", id="m2")
        await inbound.until(2)
        drop(folder, letter("dc", "agni", "m2", "hub first"))
        await until_files(folder, "agni", "done", 2)
        assert inbound.payloads == ["file first", "hub first"]
        async with asyncio.timeout(60):
            while (await agni.peek())["count"]:
                await dc.send("agni", "tick")


async def test_an_agent_on_a_hub_and_one_that_no_hub_reaches_talk_by_file(
    hub: HubProcess, folder: Path, tmp_path: Path
) -> None:
    agni = folder_agent("agni", folder, hub.url, state_dir=tmp_path / "state")
    async with agni, folder_agent("vayu", folder, hub.url) as vayu:
        for other in (agni, vayu):
            assert other.state is State.ACTIVE

            @other.on_command
            async def work(message: Message) -> str:
                await message.progress("half")
                return "and good day"

        async with folder_agent("dc", folder) as dc:
            assert dc.state is State.FOLDER
            for name in ("agni", "vayu"):
                heard: list[object] = []
                answer = await dc.command(name, "hello", timeout=60, on_progress=heard.append)
                assert answer == "and good day"
                assert heard == ["half"]
        await until_files(folder, "agni", "done", 1)


async def test_mail_for_groups_and_capabilities_and_strangers_meets_the_hub(
    hub: HubProcess, folder: Path
) -> None:
    async with Agent("vayu", hub.url, groups=["ops"], capabilities=["review"]) as vayu:
        inbound = Inbound(vayu)
        await hub.kill()
        dc = folder_agent("dc", folder, hub.url)
        async with dc:
            for to in ("#ops", "@review", "broadcast", "vayu"):
                await dc.send(to, to)
            stranger = await dc.send("vayo", "typo")
            asking = asyncio.ensure_future(dc.command("vajra", 1, timeout=60))
            await until_files(folder, "dc", "outbox", 6)
            await hub.start()
            assert sorted(await inbound.until(4)) == ["#ops", "@review", "broadcast", "vayu"]
            told = await anext(dc.messages())
            assert (told.type, told.reply_to) == ("ERROR", stranger.id)
            assert told.payload["code"] == "unknown_recipient"
            with pytest.raises(RemoteError, match="unknown_recipient"):
                await asking
            await until_files(folder, "dc", "outbox", 0)
            _, reason, _, _ = await until_files(folder, "dc", "rejected", 4)
            text = (box(folder, "dc", "rejected") / reason).read_text()
            assert text.startswith("unknown_recipient: ")


async def test_a_question_from_the_hub_is_answered_by_file_and_settled_when_it_returns(
    hub: HubProcess, folder: Path
) -> None:
    async with (
        folder_agent("dc", folder, hub.url) as dc,
        folder_agent("agni", folder, hub.url) as agni,
    ):
        asking = asyncio.ensure_future(dc.command("agni", 1, timeout=60))
        message = await anext(agni.messages())
        assert message.seq is not None
        await hub.kill()
        await message.reply("by file")
        assert await asking == "by file"
        await hub.start()
        await until_state(agni, State.ACTIVE)
        async with asyncio.timeout(60):
            while (await agni.peek())["count"]:
                await agni.agents()
        assert not agni._engine.core.inbox.unconfirmed


async def test_files_older_than_the_dedup_window_are_delivered_unless_the_log_knows_them(
    hub: HubProcess, folder: Path
) -> None:
    """A laptop slept for a week; part of its mail has gone by the hub meanwhile."""
    week_ago = time.time_ns() // 1_000_000 - 7 * 24 * 3600 * 1000
    async with Agent("agni", hub.url) as agni, Agent("dc", hub.url) as dc:
        await dc.send("agni", "known", id="known")
        await (await anext(agni.messages())).done()
    for id in ("known", "unknown"):
        drop(folder, letter("dc", "agni", id, id, timestamp=week_ago))
    awake = folder_agent("agni", folder, hub.url)
    inbound = Inbound(awake)
    async with awake:
        assert await inbound.until(1) == ["unknown"]
        await until_files(folder, "agni", "inbox", 0)
        drop(folder, letter("dc", "agni", "unknown", "unknown", timestamp=week_ago - 1))
        drop(folder, letter("dc", "agni", "new", "new"))
        assert await inbound.until(2) == ["unknown", "new"]
    # Of the sender's side: the hub's dedup may have forgotten what its log knows.
    for id in ("known", "never"):
        drop(folder, letter("dc", "agni", id, id, timestamp=week_ago + 5))
    (box(folder, "dc", "outbox")).mkdir(parents=True)
    async with folder_agent("dc", folder, hub.url):
        await until_files(folder, "agni", "inbox", 0)
    async with Agent("agni", hub.url) as agni:
        assert (await agni.peek())["count"] == 1
        assert (await anext(agni.messages())).payload == "never"


async def test_an_agent_that_is_taken_over_leaves_the_folder_alone(
    hub: HubProcess, folder: Path
) -> None:
    first = folder_agent("agni", folder, hub.url)
    old = Inbound(first)
    async with first:
        second = folder_agent("agni", folder, hub.url)
        new = Inbound(second)
        async with second:
            await until_state(first, State.TAKEN_OVER)
            drop(folder, letter("dc", "agni", "m1", 1))
            assert await new.until(1) == [1]
            await until(folder, lambda: files(folder, "agni", "inbox") == [])
        await hub.kill()
        assert old.payloads == []
        assert first.state is State.TAKEN_OVER


async def test_what_a_hub_was_being_handed_stays_a_file_when_it_is_lost(
    folder: Path,
) -> None:
    async with hub_that_accepts_nothing() as scripted:
        async with folder_agent("agni", folder):
            pass
        async with folder_agent("dc", folder) as dc:
            await dc.send("agni", "letter", ttl=3600)
        before = files(folder, "agni", "inbox")
        dc = folder_agent("dc", folder, scripted.url)
        async with dc:
            await scripted.until(lambda: scripted.count("STATUS") == 1)
            assert scripted.server is not None
            scripted.server.close()
            await until_state(dc, State.FOLDER)
            await dc.send("agni", "next")
            assert dc._engine.core.idle
        assert len(before) == 1
        assert len(files(folder, "agni", "inbox")) == 2
        assert before[0] in files(folder, "agni", "inbox")


@asynccontextmanager
async def hub_that_accepts_nothing() -> AsyncIterator[ScriptedHub]:
    async def swallow(session: Session, envelope: Envelope) -> bool:
        return True

    async with scripted_hub() as found:
        found.on_message = swallow
        yield found
