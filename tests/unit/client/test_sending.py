"""Sending: whoever waits for room gets it, however it came about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from trishula.core import AgentCore
from trishula.errors import StateDirError
from trishula.sending import Sending
from trishula.state_dir import StateDir
from trishula_protocol.bodies import Agents, Register


def make_sending() -> Sending:
    sending = Sending(AgentCore(Register("dc"), fraction=lambda: 0.5, messages=1))
    sending.failure = None
    return sending


class FullDisk:
    """A state directory that fails once, and stores what comes later."""

    def __init__(self) -> None:
        self.failed = False

    def submit(self, statements: object, then: Callable[[], None]) -> asyncio.Future[None]:
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.failed:
            then()
            outcome.set_result(None)
        else:
            outcome.get_loop().call_soon(outcome.set_exception, StateDirError("/", "disk full"))
        self.failed = True
        return outcome


async def on_its_way(sending: Sending, id: str) -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    assert id in sending.core.outbox


async def give_up(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_message_that_could_not_be_written_down_leaves_its_place_to_the_next() -> None:
    sending = make_sending()
    sending.state = cast("StateDir", FullDisk())
    one = asyncio.create_task(sending.send("STATUS", "agni", None, "one"))
    two = asyncio.create_task(sending.send("STATUS", "agni", None, "two"))
    with pytest.raises(StateDirError):
        await one
    await on_its_way(sending, "two")
    await give_up(two)


async def test_a_question_nobody_waits_for_any_more_leaves_its_place_to_the_next() -> None:
    sending = make_sending()
    question = asyncio.create_task(sending.ask(Agents()))
    await asyncio.sleep(0)
    next_one = asyncio.create_task(sending.send("STATUS", "agni", None, "next"))
    await asyncio.sleep(0)
    await give_up(question)
    await on_its_way(sending, "next")
    await give_up(next_one)
