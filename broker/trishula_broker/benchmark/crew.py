"""The agents of one process of a benchmark: how they come, and how they go without a trace."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import Any, Final

from trishula import Agent, State, TrishulaError
from trishula_broker.benchmark.histogram import Histogram
from trishula_broker.benchmark.talk import Member, Plan

AT_ONCE: Final = 8
"""Agents that connect at the same time. More would measure how long they wait for one another."""
LEAVE_SECONDS: Final = 5.0
"""How long an agent may take to be forgotten; the hub does it by itself a minute later."""
PREFETCH: Final = 2000
"""What a receiver may have been handed and not read: a fast one is not to wait for the hub."""


class Crew:
    """A process's agents.

    Attributes:
        connecting: how long each took to be registered.
        reconnects: how often one lost its hub since.
    """

    def __init__(self, plan: Plan, groups: list[str] | None = None) -> None:
        self.connecting = Histogram()
        self.reconnects = 0
        self._plan = plan
        self.agents = [self._agent(member, groups) for member in plan.members]

    def _agent(self, member: Member, groups: list[str] | None) -> Agent:
        plan = self._plan
        options: dict[str, Any] = {} if plan.ca_file is None else {"ca_file": plan.ca_file}
        agent = Agent(
            member.name,
            plan.urls,
            token=member.token,
            receive=member.receive,
            ephemeral=not member.lasting,
            groups=groups if member.receive else None,
            prefetch=PREFETCH,
            connect_timeout=plan.connect_s,
            **options,
        )
        before: list[State] = []

        @agent.on_state
        def changed(state: State) -> None:
            if state is State.CONNECTING and State.ACTIVE in before:
                self.reconnects += 1
            before[:] = [state]

        return agent

    async def come(self) -> list[str]:
        """Connect them all; which hubs they are on.

        Raises:
            TrishulaError: why one could not.
        """
        turns = asyncio.Semaphore(AT_ONCE)

        async def enter(agent: Agent) -> None:
            async with turns:
                begun = monotonic_ns()
                await agent.__aenter__()
                self.connecting.record((monotonic_ns() - begun) // 1000)

        entering = [asyncio.ensure_future(enter(agent)) for agent in self.agents]
        try:
            await asyncio.gather(*entering)
        finally:
            for each in entering:
                each.cancel()
            await asyncio.wait(entering)
        return sorted({str(agent.url) for agent in self.agents})

    async def go(self) -> None:
        """Have the hub forget them, and end them."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def leave(agent: Agent, member: Member) -> None:
            async with turns:
                try:
                    if not member.lasting and agent.state is State.ACTIVE:
                        async with asyncio.timeout(LEAVE_SECONDS):
                            await agent.deregister()
                except (TrishulaError, TimeoutError):
                    pass  # something is left in its mailbox, or its hub is gone
                await agent.close(0)

        await asyncio.gather(*map(leave, self.agents, self._plan.members))
