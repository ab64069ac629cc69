"""Agents on two real hubs that share a Redis: hubs come and go, messages do not care."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.two_hubs import two_hubs
from trishula import Agent, Message, State, failback
from trishula_protocol.bodies import Pause, Resume


class Traffic:
    """One agent sends numbers to another as fast as they are accepted, from start to end."""

    def __init__(self, sender: Agent, recipient: Agent) -> None:
        self.sender = sender
        self.got: list[int] = []
        self.sent = 0
        self._stopping = False
        self._news = asyncio.Event()
        recipient.on_status(self._take)
        self._task = asyncio.create_task(self._send())

    async def _take(self, message: Message) -> None:
        self.got.append(message.payload)
        self._news.set()

    async def _send(self) -> None:
        while not self._stopping:
            await asyncio.gather(*[self.sender.send("agni", self.sent + n) for n in range(20)])
            self.sent += 20

    async def more(self, messages: int = 100) -> None:
        """Return when so many more have arrived."""
        await self._until(len(self.got) + messages)

    async def on(self, url: str, *agents: Agent) -> None:
        """Go on until these agents are connected there, and then some."""
        while any(agent.url != url for agent in agents):
            await self.more(1)
        await self.more()

    async def end(self) -> None:
        """Send no more, and wait until all has arrived."""
        self._stopping = True
        await self._task
        await self._until(self.sent)

    async def _until(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.got) < count:
                if self._task.done():
                    self._task.result()
                self._news.clear()
                await self._news.wait()


async def test_kill_failback_and_drain_lose_nothing_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failback, "OFTEN_SECONDS", 0.1)
    async with two_hubs(tmp_path) as (one, two):
        urls = [one.url, two.url]
        async with (
            Agent("dc", urls, failback_after=0.2) as dc,
            Agent("agni", urls, failback_after=0.2, concurrency=1) as agni,
        ):
            states: list[State] = []
            traffic = Traffic(dc, agni)
            await traffic.more()
            await one.kill()
            await traffic.on(two.url, dc, agni)
            for agent in (dc, agni):
                agent.on_state(states.append)
            await one.start()
            await traffic.on(one.url, dc, agni)
            assert states == []
            assert await one.terminate() == 0
            await traffic.on(two.url, dc, agni)
            await traffic.end()
        assert traffic.got == list(range(traffic.sent))


async def test_a_primary_that_froze_is_left_and_returned_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failback, "OFTEN_SECONDS", 0.1)
    async with two_hubs(tmp_path) as (one, two):
        urls = [one.url, two.url]
        async with (
            Agent("dc", urls, failback_after=0.2) as dc,
            Agent("agni", urls, failback_after=0.2, concurrency=1) as agni,
        ):
            traffic = Traffic(dc, agni)
            await traffic.more()
            await one.signal(signal.SIGSTOP)
            await traffic.on(two.url, dc, agni)
            await one.signal(signal.SIGCONT)
            await traffic.on(one.url, dc, agni)
            await traffic.end()
        assert traffic.got == list(range(traffic.sent))


async def test_operators_reach_agents_and_hear_mail_on_the_other_hub(tmp_path: Path) -> None:
    async with (
        two_hubs(tmp_path) as (one, two),
        Agent("op", one.url, receive=False, ephemeral=True) as operator,
        Agent("dc", two.url) as dc,
        Agent("agni", two.url) as agni,
    ):
        copies = operator.tap(to="agni")
        heard = asyncio.ensure_future(anext(copies))
        sent = 0
        async with asyncio.timeout(60):
            while not heard.done():  # until the other hub has heard that somebody listens
                await dc.send("agni", "first")
                sent += 1
                await asyncio.wait({heard}, timeout=0.05)
        first = await heard
        assert (first["tap"], first["node"]) == ("accepted", "two")
        assert first["envelope"]["payload"] == "first"

        await operator.ask(Pause("agni", "audit"))
        [record] = [each for each in await dc.agents() if each["id"] == "agni"]
        assert record["paused"] == {"reason": "audit"}
        await dc.send("agni", "later")
        mail = agni.messages()
        for _ in range(sent):  # what it was handed before it may finish
            await (await anext(mail)).done()
        trace = await dc.trace((await dc.send("agni", "last")).id)
        assert trace["messages"][0]["copies"][0]["waits_for"] == "agni to be resumed: it is paused"
        await operator.ask(Resume("agni"))
        got = [(await anext(mail)).payload for _ in range(2)]
        assert got == ["later", "last"]
