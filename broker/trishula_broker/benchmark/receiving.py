"""The receivers: each settles what comes, and counts what it has had of whom."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import Any

from trishula import Agent, Message
from trishula_broker.benchmark.crew import Crew
from trishula_broker.benchmark.histogram import Histogram
from trishula_broker.benchmark.talk import Leave, Plan, Post, Ready, Received
from trishula_broker.benchmark.tally import Tally


class Counting:
    """What all receivers have had together."""

    def __init__(self, plan: Plan, agents: list[Agent]) -> None:
        self._run = plan.run
        self._agents = agents
        self._tallies = [Tally() for _ in agents]
        self._redelivered = 0
        self._last_ns = 0
        self._latency: dict[int, Histogram] = {}

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            TrishulaError: a receiver is over; another process has its name, for one.
        """
        reading = [
            asyncio.ensure_future(self._read(agent, tally))
            for agent, tally in zip(self._agents, self._tallies, strict=True)
        ]
        try:
            await asyncio.gather(*reading)
        finally:
            for each in reading:
                each.cancel()
            await asyncio.wait(reading)

    async def _read(self, agent: Agent, tally: Tally) -> None:
        async for message in agent.messages():
            now = monotonic_ns()
            body = message.payload
            if isinstance(body, dict) and body.get("run") == self._run:
                self._note(tally, message, body, now)
                await message.done()
            # Other mail is not ours to settle: it waits for whoever the agent is next.

    def _note(self, tally: Tally, message: Message, body: dict[str, Any], now_ns: int) -> None:
        priority = message.priority
        if not tally.note(body["s"], body["n"], priority):
            return
        self._redelivered += message.attempt > 1
        self._last_ns = now_ns
        histogram = self._latency.get(priority)
        if histogram is None:
            histogram = self._latency[priority] = Histogram()
        histogram.record((now_ns - body["t"]) // 1000)

    def report(self, reconnects: int) -> Received:
        """Totals, and what was measured since the last report."""
        latency, self._latency = self._latency, {}
        return Received(
            sum(tally.received for tally in self._tallies),
            sum(tally.duplicates for tally in self._tallies),
            sum(tally.disorder for tally in self._tallies),
            self._redelivered,
            reconnects,
            self._last_ns,
            latency,
        )


async def receive(plan: Plan, post: Post) -> None:
    """The process of the receivers.

    Raises:
        TrishulaError: one of them could not come, or is over.
    """
    crew = Crew(plan, [plan.group] if plan.group else None)
    try:
        urls = await crew.come()
        counting = Counting(plan, crew.agents)
        post.say(Ready(crew.connecting, urls))
        running = asyncio.ensure_future(counting.run())
        saying = asyncio.ensure_future(post.keep_saying(lambda: counting.report(crew.reconnects)))
        hearing = asyncio.ensure_future(_hear(post))
        try:
            await asyncio.wait({running, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            saying.cancel()
            post.say(counting.report(crew.reconnects))
        finally:
            for task in (running, saying, hearing):
                task.cancel()
            await asyncio.wait({running, saying, hearing})
    finally:
        await crew.go()


async def _hear(post: Post) -> None:
    """Until the order to leave."""
    while not isinstance(await post.hear(), Leave):
        pass
