"""A state directory: what survives the agent's own crash."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest

from tests.integration.client.scripted_hub import Session, hub
from trishula import Agent, StateDirError, StateDirHeld
from trishula_protocol.envelope import Envelope


async def _hold(session: Session, item: Envelope) -> bool:
    return True


def _crash_after_sending(url: str, path: Path) -> None:
    """Send two messages, finish one, and die without a word."""

    async def main() -> None:
        agent = Agent("dc", url, state_dir=path)
        await agent.__aenter__()
        message = await anext(agent.messages())
        sends = [asyncio.ensure_future(agent.send("agni", n, id=f"crash{n}")) for n in range(2)]
        await asyncio.sleep(0)  # they are on their way to the directory before what follows
        await message.done()
        assert not any(send.done() for send in sends)
        os._exit(9)

    asyncio.run(main())


async def test_unaccepted_messages_and_finished_ids_survive_a_crash(tmp_path: Path) -> None:
    async with hub() as found:
        found.on_message = _hold
        await found.post("agni", "dc", "work")
        mail = dict(found.mail["dc"])
        process = multiprocessing.get_context("spawn").Process(
            target=_crash_after_sending, args=(found.url, tmp_path)
        )
        process.start()
        await asyncio.to_thread(process.join)
        assert process.exitcode == 9
        await found.until(lambda: "dc" not in found.sessions)
        found.seen.clear()
        found.settled.clear()
        found.on_message = None
        found.mail["dc"] = mail
        async with Agent("dc", found.url, state_dir=tmp_path) as again:
            await again.send("agni", 2)
            assert [e.payload for e in found.seen if e.type == "STATUS"] == [0, 1, 2]
            await found.until(lambda: found.settled == [1])
        async with Agent("dc", found.url, state_dir=tmp_path):
            pass
        assert found.count("STATUS") == 3


async def test_an_answer_and_what_it_settles_survive_together(tmp_path: Path) -> None:
    async with hub() as found:
        found.on_message = _hold
        async with Agent("dc", found.url, state_dir=tmp_path) as dc:
            await found.post("agni", "dc", "work", type="COMMAND")
            message = await anext(dc.messages())
            answering = asyncio.create_task(message.reply("answer"))
            await found.until(lambda: found.count("RESULT") == 1)
            await dc.close(seconds=0.0)
            with pytest.raises(Exception, match="is closed"):
                await answering
        found.on_message = None
        async with Agent("dc", found.url, state_dir=tmp_path):
            await found.until(lambda: found.settled == [1, 1])
        assert [e.payload for e in found.log.values()] == ["work", "answer"]


async def test_one_process_a_directory(tmp_path: Path) -> None:
    async with hub() as found, Agent("dc", found.url, state_dir=tmp_path) as first:
        with pytest.raises(StateDirHeld, match=f"held by process {os.getpid()} on ") as caught:
            await Agent("dc", found.url, state_dir=tmp_path).__aenter__()
        assert str(os.getpid()) in caught.value.holder
        await first.close()
        async with Agent("dc", found.url, state_dir=tmp_path):
            pass


async def test_one_agent_a_directory(tmp_path: Path) -> None:
    async with hub() as found:
        async with Agent("dc", found.url, state_dir=tmp_path):
            pass
        with pytest.raises(StateDirError, match="belongs to agent 'dc', not 'agni'"):
            await Agent("agni", found.url, state_dir=tmp_path).__aenter__()


async def test_a_directory_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "agent.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StateDirError, match="file is not a database"):
        await Agent("dc", "ws://127.0.0.1:1/ws", state_dir=tmp_path).__aenter__()
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirError):
        await Agent("dc", "ws://127.0.0.1:1/ws", state_dir=tmp_path / "file").__aenter__()


async def test_what_cannot_be_written_down_is_not_sent(tmp_path: Path) -> None:
    async with hub() as found, Agent("dc", found.url, state_dir=tmp_path) as dc:
        await dc.send("agni", 0)
        await found.post("agni", "dc", "work", type="COMMAND")
        message = await anext(dc.messages())
        with sqlite3.connect(tmp_path / "agent.sqlite") as other:
            other.execute("ALTER TABLE outbox RENAME TO gone")
            other.execute("ALTER TABLE finished RENAME TO gone_too")
        other.close()
        with pytest.raises(StateDirError, match="no such table"):
            await dc.send("agni", 1)
        with pytest.raises(StateDirError, match="no such table"):
            await message.done()
        with pytest.raises(StateDirError, match="no such table"):
            await message.reply()
        assert not message.settled
        assert len(found.log) == 2
        assert len(dc._engine.core.outbox) == 0


async def test_many_messages_share_their_commits(tmp_path: Path) -> None:
    async with hub() as found, Agent("dc", found.url, state_dir=tmp_path) as dc:
        await asyncio.gather(*[dc.send("agni", n) for n in range(2_000)])
        assert [e.payload for e in found.log.values()] == list(range(2_000))
    with sqlite3.connect(tmp_path / "agent.sqlite") as db:
        assert db.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    db.close()
