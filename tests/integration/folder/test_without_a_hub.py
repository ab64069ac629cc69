"""Agents that share a folder and have no hub."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.integration.folder.rig import (
    NOBODY,
    Inbound,
    box,
    drop,
    files,
    folder_agent,
    letter,
    until,
    until_files,
)
from trishula import Agent, FolderError, Message, Refused, RemoteError, State
from trishula.folder import directory
from trishula_protocol import limits


async def test_they_send_command_answer_and_report_progress(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trishula")
    states: list[State] = []
    dc = folder_agent("dc", tmp_path, fallback_after=0.05)
    dc.on_state(states.append)
    async with dc, folder_agent("agni", tmp_path) as agni:
        assert dc.state is State.FOLDER
        assert states == [State.CONNECTING, State.FOLDER]
        assert "no hub has answered for 0.05 s (no hub could be reached" in caplog.text
        assert f"goes to the shared folder {tmp_path}" in caplog.text

        @agni.on_command
        async def work(message: Message) -> Any:
            await message.progress("half")
            if message.payload == "fail":
                raise RemoteError("broken", "on purpose")
            return {"got": message.payload}

        progress: list[Any] = []
        assert await dc.command("agni", 1, timeout=60, on_progress=progress.append) == {"got": 1}
        assert progress == ["half"]
        with pytest.raises(RemoteError, match="broken: on purpose"):
            await dc.command("agni", "fail", timeout=60)
        receipt = await dc.send("agni", "hello", receipt=True, thread="t", headers={"a": "b"})
        got = await anext(agni.messages())
        assert (got.payload, got.sender, got.thread, got.headers) == (
            "hello",
            "dc",
            "t",
            {"a": "b"},
        )
        await got.done()
        await until_files(tmp_path, "agni", "done", 3)
        assert not got.settled or got.id == receipt.id
    assert files(tmp_path, "agni", "inbox") == []
    assert files(tmp_path, "dc", "inbox") == []
    assert len(files(tmp_path, "dc", "done")) == 4


async def test_mail_waits_in_the_folder_for_who_is_away_and_comes_in_order(tmp_path: Path) -> None:
    async with folder_agent("agni", tmp_path):
        pass
    async with folder_agent("dc", tmp_path) as dc:
        for number in range(20):
            await dc.send("agni", number, id=f"m{19 - number}")
        await dc.send("agni", "urgent", priority=1)
    assert len(files(tmp_path, "agni", "inbox")) == 21
    agni = folder_agent("agni", tmp_path, concurrency=1)
    inbound = Inbound(agni)
    async with agni:
        assert await inbound.until(21) == ["urgent", *range(20)]
    assert files(tmp_path, "agni", "inbox") == []
    # What was settled is not handed out in another life, even if a copying tool brings it back.
    for name in files(tmp_path, "agni", "done"):
        (box(tmp_path, "agni", "inbox") / name).write_bytes(
            (box(tmp_path, "agni", "done") / name).read_bytes()
        )
    agni = folder_agent("agni", tmp_path)
    inbound = Inbound(agni)
    async with agni:
        drop(tmp_path, letter("dc", "agni", "new", "new"))
        assert await inbound.until(1) == ["new"]
        await until_files(tmp_path, "agni", "inbox", 0)


async def test_what_only_a_hub_can_deliver_is_kept_for_it(tmp_path: Path) -> None:
    async with folder_agent("dc", tmp_path) as dc, folder_agent("agni", tmp_path) as agni:
        for to in ("#ops", "@review", "somebody", "broadcast"):
            await dc.send(to, to)
        got = await anext(agni.messages())
        assert (got.payload, got.to) == ("broadcast", "broadcast")
        await got.done()
    assert len(files(tmp_path, "dc", "outbox")) == 4


async def test_a_message_that_fails_every_time_is_rejected_and_its_sender_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETRY_DELAYS_MS", (1,))
    monkeypatch.setattr("trishula.folder.handover.NEWS_SECONDS", 0.05)
    attempts: list[int] = []
    async with folder_agent("dc", tmp_path) as dc, folder_agent("agni", tmp_path) as agni:

        @agni.on_status
        def fail(message: Message) -> None:
            attempts.append(message.attempt)
            raise ValueError("every time")

        sent = await dc.send("agni", 1)
        name, reason = await until_files(tmp_path, "agni", "rejected", 2)
        assert reason == f"{name}.reason"
        text = (box(tmp_path, "agni", "rejected") / reason).read_text()
        assert text == "given up after 5 attempts\n"
        assert attempts == [1, 2, 3, 4, 5]
        told = await anext(dc.messages())
        assert (told.type, told.sender, told.reply_to) == ("ERROR", "hub", sent.id)
        assert told.payload["code"] == "undeliverable"
        assert told.payload["details"] == {"agents": ["agni"]}


async def test_a_rejected_command_and_a_finished_message_are_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trishula.folder.handover.NEWS_SECONDS", 0.05)
    async with folder_agent("dc", tmp_path) as dc, folder_agent("agni", tmp_path) as agni:
        receipt = await dc.send("agni", 1, receipt=True)
        await (await anext(agni.messages())).done()
        assert await receipt.reached("done", timeout=60) == "agni"
        asking = asyncio.ensure_future(dc.command("agni", 2, timeout=60))
        await (await anext(agni.messages())).reject("not mine")
        with pytest.raises(RemoteError, match="undeliverable: agni rejected the file: not mine"):
            await asking


async def test_what_expired_is_rejected(tmp_path: Path) -> None:
    async with folder_agent("agni", tmp_path) as agni:
        drop(tmp_path, letter("dc", "agni", "late", ttl=1, timestamp=1_000_000_000_000))
        drop(tmp_path, letter("dc", "agni", "good", "good", ttl=3_600_000))
        assert (await anext(agni.messages())).payload == "good"
        _, reason = await until_files(tmp_path, "agni", "rejected", 2)
        assert "expired" in (box(tmp_path, "agni", "rejected") / reason).read_text()


async def test_unstored_and_finished_ids_survive_a_crash_with_a_state_directory(
    tmp_path: Path,
) -> None:
    folder, state = tmp_path / "folder", tmp_path / "state"
    agni = folder_agent("agni", folder, state_dir=state)
    async with agni:
        path = drop(folder, letter("dc", "agni", "m1", 1))
        data = path.read_bytes()
        await (await anext(agni.messages())).done()
        await until_files(folder, "agni", "done", 1)
    for name in files(folder, "agni", "done"):
        (box(folder, "agni", "done") / name).unlink()
    path.write_bytes(data)
    async with folder_agent("agni", folder, state_dir=state) as again:
        await until_files(folder, "agni", "done", 1)
        drop(folder, letter("dc", "agni", "m2", 2))
        assert (await anext(again.messages())).payload == 2


async def test_a_full_disk_is_heard_of_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = directory.write_all
    full = True

    def write_all(fd: int, data: bytes) -> None:
        if full:
            whole(fd, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        whole(fd, data)

    async with folder_agent("dc", tmp_path) as dc, folder_agent("agni", tmp_path) as agni:
        monkeypatch.setattr(directory, "write_all", write_all)
        with pytest.raises(Refused, match="no room: No space left on device") as caught:
            await dc.send("agni", 1, id="m1")
        assert caught.value.retryable
        assert caught.value.code == "unavailable"
        with pytest.raises(Refused, match="no room"):
            await dc.send("broadcast", 1)
        assert files(tmp_path, "agni", "inbox") == files(tmp_path, "dc", "outbox") == []
        full = False
        await dc.send("agni", 2, id="m1")
        assert (await anext(agni.messages())).payload == 2


async def test_a_folder_that_vanishes_and_returns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, away = tmp_path / "folder", tmp_path / "away"
    async with folder_agent("dc", folder) as dc, folder_agent("agni", folder) as agni:
        inbound = Inbound(agni)
        await dc.send("agni", 1)
        await inbound.until(1)
        await until_files(folder, "agni", "done", 1)
        folder.rename(away)
        sending = asyncio.ensure_future(dc.send("agni", 2))
        await until(tmp_path, lambda: "cannot be written to" in caplog.text)
        assert not sending.done()
        assert not folder.exists()  # it is somebody's mount point: nothing is made there
        drop(away, letter("vayu", "agni", "meanwhile", 3))
        away.rename(folder)
        await asyncio.wait_for(sending, 20)
        assert sorted(await inbound.until(3)) == [1, 2, 3]
        # Back, but empty: another drive.
        folder.rename(away)
        folder.mkdir()
        drop(folder, letter("vayu", "agni", "other", 4))
        assert sorted(await inbound.until(4)) == [1, 2, 3, 4]


async def test_what_is_wrong_with_the_arguments_is_said(tmp_path: Path) -> None:
    for options, rule in [
        ({"folder_key": tmp_path / "key"}, "there is no shared_folder"),
        ({"shared_folder": tmp_path, "fallback_after": -1}, "fallback_after: seconds, 0 or more"),
        ({"shared_folder": tmp_path, "receive": False}, "a side session has no inbox"),
        ({"shared_folder": tmp_path, "folder_key": tmp_path / "no"}, "folder_key: .*No such file"),
    ]:
        with pytest.raises(ValueError, match=rule):
            Agent("dc", NOBODY, **options)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"shared_folder .*file"):
        async with folder_agent("dc", tmp_path / "file"):
            pass


async def test_cancelled_anywhere_it_leaves_no_task_and_no_thread(tmp_path: Path) -> None:
    async def use() -> None:
        async with folder_agent("dc", tmp_path) as dc, folder_agent("agni", tmp_path) as agni:
            await dc.send("agni", 1)
            await (await anext(agni.messages())).done()

    for turns in [*range(12), 20, 40, 80, 160]:
        task = asyncio.ensure_future(use())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for thread in threading.enumerate():
            if thread.name.startswith("trishula-folder"):
                await asyncio.to_thread(thread.join, 20)
                assert not thread.is_alive(), thread
    await use()
