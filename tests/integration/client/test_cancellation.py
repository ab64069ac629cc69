"""Cancelling any await of the SDK loses nothing, sticks nothing, leaks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.client.scripted_hub import ScriptedHub, Session, hub
from trishula import Agent
from trishula_protocol.envelope import Envelope


@asynccontextmanager
async def no_leaks() -> AsyncIterator[None]:
    """No task is left that was not there before."""
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not left, left


async def cancel_after(turns: int, work: Awaitable[Any]) -> Any:
    """Run ``work`` for so many turns of the loop, cancel it; its result if it was faster."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


def held_back(found: ScriptedHub) -> Callable[[], None]:
    """Messages wait for the returned function before they are accepted."""
    gate = asyncio.Event()

    async def wait(session: Session, item: Envelope) -> bool:
        await gate.wait()
        return False

    found.on_message = wait
    return gate.set


async def swallow(session: Session, item: Envelope) -> bool:
    return True


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
@pytest.mark.parametrize("kept", [False, True])
async def test_a_cancelled_send_is_either_not_begun_or_goes_on(
    turns: int, kept: bool, tmp_path: Path
) -> None:
    async with no_leaks(), hub() as found:
        state_dir = tmp_path if kept else None
        async with Agent("dc", found.url, state_dir=state_dir) as dc:
            await cancel_after(turns, dc.send("agni", "cancelled", id="x"))
            await dc.send("agni", "next")
        sent = [e.payload for e in found.log.values()]
        assert sent == (["next"] if turns == 0 else ["cancelled", "next"])


async def test_a_send_cancelled_while_it_waits_for_room_leaves_its_place() -> None:
    async with no_leaks(), hub() as found, Agent("dc", found.url) as dc:
        release = held_back(found)
        dc._engine.core.outbox._max_messages = 2
        sending = [asyncio.create_task(dc.send("agni", n)) for n in range(6)]
        await found.until(lambda: found.count("STATUS") >= 1)
        sending[2].cancel()
        sending[3].cancel()
        release()
        done = await asyncio.gather(*sending, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in done] == [
            False,
            False,
            True,
            True,
            False,
            False,
        ]
        assert [e.payload for e in found.log.values()] == [0, 1, 4, 5]


@pytest.mark.parametrize("turns", [0, 1, 3, 10])
async def test_a_cancelled_command_drops_its_answer(turns: int) -> None:
    async with no_leaks(), hub() as found, Agent("dc", found.url) as dc:
        async with Agent("agni", found.url) as agni:
            agni.on_command(lambda message: "answer")
            await cancel_after(turns, dc.command("agni", "x"))
            assert await dc.command("agni", "y", timeout=60) == "answer"
            await found.until(lambda: not found.mail.get("dc"))
        assert not dc._engine.core.commands.expected


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_read_takes_no_message_with_it(turns: int) -> None:
    async with no_leaks(), hub() as found, Agent("dc", found.url) as dc:
        mailbox = dc.messages()
        reading = asyncio.ensure_future(cancel_after(turns, mailbox.__anext__()))
        await found.post("agni", "dc", 1)
        got = await reading
        if got is None:
            got = await anext(mailbox)
        assert got.payload == 1


async def test_a_reader_woken_and_cancelled_at_once_passes_the_message_on() -> None:
    async with no_leaks(), hub() as found, Agent("dc", found.url) as dc:
        one = asyncio.ensure_future(anext(dc.messages()))
        two = asyncio.ensure_future(anext(dc.messages()))
        deliver = dc._engine._on_mail

        def deliver_and_cancel(deliveries: Any) -> None:
            deliver(deliveries)
            one.cancel()

        dc._engine._on_mail = deliver_and_cancel
        await found.post("agni", "dc", 1)
        assert (await two).payload == 1
        assert one.cancelled()


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("how", ["done", "reply", "reject"])
async def test_settling_goes_on_when_it_is_cancelled(
    turns: int, kept: bool, how: str, tmp_path: Path
) -> None:
    async with no_leaks(), hub() as found:
        async with Agent("dc", found.url, state_dir=tmp_path if kept else None) as dc:
            await found.post("agni", "dc", 1, type="COMMAND")
            message = await anext(dc.messages())
            await cancel_after(turns, getattr(message, how)())
            if turns == 0:
                await getattr(message, how)()
            await found.until(lambda: found.settled == [message.seq])
        assert not found.mail["dc"]


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_a_cancelled_question_is_not_asked_again(turns: int) -> None:
    async with no_leaks(), hub() as found, Agent("dc", found.url) as dc:
        found.silent = True
        await cancel_after(turns, dc.agents())
        found.silent = False
        assert len(dc._engine.core.outbox) == 0
        assert await dc.agents() == [{"id": "dc"}]


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 30])
@pytest.mark.parametrize("kept", [False, True])
async def test_entering_can_be_cancelled(turns: int, kept: bool, tmp_path: Path) -> None:
    async with no_leaks(), hub() as found:
        agent = Agent("dc", found.url, state_dir=tmp_path if kept else None)
        entered = await cancel_after(turns, agent.__aenter__())
        if entered is not None:
            await agent.close()
        # The directory is free again.
        async with Agent("dc", found.url, state_dir=tmp_path if kept else None) as next_one:
            await next_one.send("agni", 1)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
async def test_closing_can_be_cancelled_and_closes_all_the_same(turns: int) -> None:
    async with no_leaks(), hub() as found:
        async with Agent("dc", found.url) as dc:
            found.on_message = swallow
            sending = asyncio.create_task(dc.send("agni", 1))
            await found.until(lambda: found.count("STATUS") == 1)
            await cancel_after(turns, dc.close(seconds=0.01))
            await dc.close(seconds=0.01)
            with pytest.raises(Exception, match="is closed"):
                await sending
        assert dc.state == "closed"


async def test_a_handler_that_is_cancelled_by_closing_leaves_its_message() -> None:
    async with no_leaks(), hub() as found:
        async with Agent("dc", found.url) as dc:
            begun = asyncio.Event()

            @dc.on_status
            async def work(message: Any) -> None:
                begun.set()
                await asyncio.Event().wait()

            await found.post("agni", "dc", 1)
            await begun.wait()
            await dc.close(seconds=0.01)
        assert len(found.mail["dc"]) == 1
        assert found.settled == []


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_watching_can_be_cancelled(turns: int) -> None:
    async with no_leaks(), hub() as found, Agent("dc", found.url) as dc:
        changes = dc.watch()
        await cancel_after(turns, changes.__anext__())
        reading = asyncio.ensure_future(anext(changes))
        await found.until(lambda: any(e.payload == {"op": "watch"} for e in found.seen))
        news = Envelope("STATUS", id="p", sender="hub", to="dc", payload=1)
        await found.sessions["dc"].say(news)
        assert await reading == 1
