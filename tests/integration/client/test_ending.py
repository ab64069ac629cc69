"""Agents as programs of their own: SIGTERM and Ctrl-C end them cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.integration.client.scripted_hub import ScriptedHub, hub
from trishula import Agent

LONGEST_S = 60.0
ASYNC = """
import asyncio, sys
from trishula import Agent

async def main():
    agent = Agent("agni", sys.argv[1])

    @agent.on_command
    async def work(message):
        await message.progress("begun")
        await agent.command("dc", "go on?")
        return "finished"

    async with agent:
        await agent.run(seconds=float(sys.argv[2]))
    print("over")

asyncio.run(main())
"""
SYNC = """
import signal, sys, time
from trishula.sync import Agent

agent = Agent("agni", sys.argv[1])

@agent.on_command
def work(message):
    message.progress("begun")
    while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        time.sleep(0.001)  # the main thread is on its way into run()
    agent.command("dc", "go on?")
    return "finished"

with agent:
    agent.run(seconds=float(sys.argv[2]))
print("over")
"""
PROGRAMS = pytest.mark.parametrize("program", [ASYNC, SYNC], ids=["async", "sync"])
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@asynccontextmanager
async def working(
    found: ScriptedHub, program: str, seconds: float = LONGEST_S
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program, its handler at work."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, found.url, str(seconds)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await found.until(lambda: "agni" in found.sessions)
        await found.post("dc", "agni", 1, type="COMMAND", id="c1")
        await found.until(lambda: [each for each in found.seen if each.payload == "go on?"])
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(LONGEST_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def answer(found: ScriptedHub) -> None:
    question = next(each for each in found.seen if each.payload == "go on?")
    await found.post("dc", "agni", "yes", type="RESULT", reply_to=question.id)


@PROGRAMS
@SIGNALS
async def test_a_signal_lets_handlers_finish_and_ends_with_0(program: str, number: int) -> None:
    async with hub() as found, working(found, program) as process:
        process.send_signal(number)
        # Whoever has begun to end takes no new mail: this one stays with the hub.
        await found.until(lambda: found.count("HEARTBEAT") >= 1)
        await answer(found)
        assert await end(process) == (0, "over\n", "")
        results = [each for each in found.seen if each.type == "RESULT" and each.to == "dc"]
        assert [each.payload for each in results] == ["finished"]
        assert "c1" not in [each.id for each in found.mail["agni"].values()]


@PROGRAMS
async def test_handlers_that_do_not_finish_in_time_leave_their_message_to_the_next(
    program: str,
) -> None:
    async with hub() as found, working(found, program, 0.2) as process:
        process.send_signal(signal.SIGTERM)
        code, out, _ = await end(process)
        assert (code, out) == (0, "over\n")
        assert "c1" in [each.id for each in found.mail["agni"].values()]


@PROGRAMS
async def test_a_second_signal_ends_them_at_once(program: str) -> None:
    async with hub() as found, working(found, program) as process:
        process.send_signal(signal.SIGTERM)
        await found.until(lambda: found.count("HEARTBEAT") >= 1)
        process.send_signal(signal.SIGINT)
        code, out, _ = await end(process)
        assert (code, out) == (0, "over\n")
        assert "c1" in [each.id for each in found.mail["agni"].values()]


async def test_all_agents_of_a_program_end_and_the_handlers_of_before_are_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with hub() as found, Agent("dc", found.url) as dc, Agent("agni", found.url) as agni:
        running = asyncio.gather(dc.run(), agni.run())
        await dc.agents()
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert (dc.state, agni.state) == ("closed", "closed")


async def test_signals_may_be_left_to_the_application() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with hub() as found, Agent("dc", found.url) as dc:
        running = asyncio.create_task(dc.run(signals=False))
        await dc.agents()
        assert signal.getsignal(signal.SIGTERM) is before
        await dc.close()
        await running


async def test_cancelling_it_leaves_the_agent_as_it_is() -> None:
    before = signal.getsignal(signal.SIGINT)
    async with hub() as found, Agent("dc", found.url) as dc:
        running = asyncio.create_task(dc.run())
        await dc.agents()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert signal.getsignal(signal.SIGINT) is before
        assert dc.state == "active"
        await dc.send("dc", 1)
