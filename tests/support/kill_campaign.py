"""Agents exchange messages while their hub, or they themselves, are killed again and again.

Nothing here waits for time to pass: a kill comes when so much was done since the last one, and
the end when every message was handed over.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from tests.support.history import Event, Handed, Lost, check, read_logs
from tests.support.hub_process import HubProcess
from tests.support.kill_agent import Progress, Settings, hand_overs

NAMES: Final = ("agni", "dc", "vayu")
PATIENCE_S: Final = 240.0
"""Without any progress for this long a campaign has failed. It only bounds a failure."""


class AgentProcess:
    """One of the agents, over all its lives."""

    def __init__(self, settings: Settings, changed: asyncio.Condition) -> None:
        self.settings = settings
        self.accepted = 0
        self.handed = 0
        self.again = 0
        """Repetitions its SDK dropped, of lives that are over too."""
        self.registered_at = 0.0
        self.lives = 0
        self._before = 0
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._errors = Path(settings.log + ".err")

    async def start(self) -> None:
        """Start it and wait until it is connected."""
        self.lives += 1
        self._before = self.again
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.kill_agent"),
                msgspec.json.encode(self.settings).decode(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self._process.stdout.readline()
        if line != b"ready\n":
            raise AssertionError(f"{self.settings.name} did not start: {self.errors}")
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    def say(self, word: str) -> None:
        """``go`` or ``stop``."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self.ended()

    async def ended(self) -> int:
        """Its exit code, once all it has said was read."""
        assert self._process is not None
        assert self._process.stdin is not None
        code = await self._process.wait()
        if self._reading is not None:
            await self._reading
            self._reading = None
        self._process.stdin.close()
        return code

    async def close(self) -> None:
        """Kill it if it runs."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def errors(self) -> str:
        """What it wrote to its standard error."""
        return self._errors.read_text()

    async def _read(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            said = msgspec.json.decode(line, type=Progress)
            self.registered_at = said.registered_at
            self.accepted, self.handed = said.accepted, said.handed
            self.again = self._before + said.again
            async with self._changed:
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()


@dataclass
class Report:
    """What a campaign was."""

    messages: int
    hand_overs: int
    hub_kills: int = 0
    agent_kills: int = 0
    attempts_again: int = 0
    """Messages handed over more than once, because an attempt had ended."""
    dropped: int = 0
    """Repetitions that SDKs dropped."""
    recoveries_ms: list[float] = field(default_factory=list)
    """From the moment the hub served again until each agent was registered."""
    outages_ms: list[float] = field(default_factory=list)
    """From the kill until all agents were."""
    lasted_s: float = 0.0

    def __str__(self) -> str:
        slowest = max(self.recoveries_ms, default=0.0)
        outage = max(self.outages_ms, default=0.0)
        return (
            f"{self.messages} messages, {self.hand_overs} hand-overs in {self.lasted_s:.1f} s; "
            f"kills: {self.hub_kills} of the hub, {self.agent_kills} of agents; "
            f"{self.attempts_again} messages had another attempt, "
            f"{self.dropped} repetitions dropped by the SDK; "
            f"slowest recovery {slowest:.0f} ms after the hub was up, {outage:.0f} ms after a kill"
        )


class Campaign:
    """One campaign.

    Args:
        folder: where hub, agents and logs keep their files.
        messages: how many all agents together send, answers not counted.
        hub_kills: how often the hub is killed.
        agent_kills: how often an agent is; they have state directories then.
        seed: which messages and which moments.
    """

    def __init__(
        self, folder: Path, *, messages: int, hub_kills: int, agent_kills: int = 0, seed: int = 0
    ) -> None:
        self._folder = folder
        self._seed = seed
        self._rng = Random(seed)
        self._each = messages // len(NAMES)
        self._hub = HubProcess(folder / "hub")
        self._changed = asyncio.Condition()
        self._with_state = agent_kills > 0
        self._agents: dict[str, AgentProcess] = {}
        self._kills: list[str] = ["hub"] * hub_kills + ["agent"] * agent_kills
        self._rng.shuffle(self._kills)
        self.report = Report(self._each * len(NAMES), 0)

    @property
    def data(self) -> Path:
        """The hub's data directory."""
        return self._hub.data

    async def run(self) -> list[Event]:
        """Do it all; the agents' histories."""
        begun = time.monotonic()
        try:
            await self._hub.start()
            for name in NAMES:
                self._agents[name] = AgentProcess(self._settings(name), self._changed)
            await asyncio.gather(*(agent.start() for agent in self._agents.values()))
            agents = self._agents.values()
            self.report.hand_overs = sum(hand_overs(agent.settings) for agent in agents)
            for agent in agents:
                agent.say("go")
            await self._kill_and_kill_again()
            await self._until(lambda: self._handed >= self.report.hand_overs)
            await self._rest_is_handed()
            for agent in agents:
                agent.say("stop")
            codes = await asyncio.gather(*(agent.ended() for agent in agents))
            assert not any(codes), [agent.errors for agent in agents]
            await self._hub.terminate()  # so that its archive has the last of it
        finally:
            for agent in self._agents.values():
                await agent.close()
            await self._hub.kill()
        history = self._history()
        self._account(history)
        self.report.lasted_s = time.monotonic() - begun
        return history

    def _settings(self, name: str) -> Settings:
        state = str(self._folder / f"{name}.state") if self._with_state else None
        log = str(self._folder / f"{name}.jsonl")
        return Settings(name, NAMES, self._hub.url, log, self._each, self._seed, state)

    # --- kills ---

    async def _kill_and_kill_again(self) -> None:
        total = len(self._kills)
        for number, victim in enumerate(self._kills, 1):
            # Spread over the whole run, each at a random moment of its share.
            share = self.report.hand_overs / (total + 1)
            goal = (number - 1 + self._rng.random()) * share
            # Now and then at once: while the last one is still being recovered from.
            if self._rng.random() > 0.15:
                await self._until(lambda goal=goal: self._handed >= goal)  # type: ignore[misc]
            if victim == "hub":
                await self._kill_hub()
            else:
                await self._kill_agent(self._agents[self._rng.choice(NAMES)])

    async def _kill_hub(self) -> None:
        await self._hub.kill()
        killed = time.monotonic()
        self.report.hub_kills += 1
        begun = time.monotonic()  # an agent may be back before we hear that the hub serves
        await self._hub.start()
        up = time.monotonic()
        if self._rng.random() < 0.8:
            agents = self._agents.values()
            await self._until(lambda: all(agent.registered_at > begun for agent in agents))
            self.report.recoveries_ms += [(agent.registered_at - up) * 1000 for agent in agents]
            last = max(agent.registered_at for agent in agents)
            self.report.outages_ms.append((last - killed) * 1000)

    async def _kill_agent(self, agent: AgentProcess) -> None:
        await agent.kill()
        self.report.agent_kills += 1
        await agent.start()
        agent.say("go")

    # --- progress ---

    @property
    def _handed(self) -> int:
        return sum(agent.handed for agent in self._agents.values())

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            dead = [agent for agent in self._agents.values() if not agent.running]
            assert not dead, [agent.errors for agent in dead]
            before = self._marks
            try:
                async with asyncio.timeout(PATIENCE_S), self._changed:
                    await self._changed.wait_for(lambda: reached() or self._marks != before)  # noqa: B023
            except TimeoutError:
                raise AssertionError(f"nothing moves any more: {self._state()}") from None

    async def _rest_is_handed(self) -> None:
        """Wait for what is still on its way: mail for a capability that moved to another agent was
        handed to two and counted twice. When nothing moves any more the checker tells what is
        lost."""
        while any(isinstance(each, Lost) for each in check(self._history())):
            before = self._marks
            try:
                async with asyncio.timeout(PATIENCE_S), self._changed:
                    await self._changed.wait_for(lambda: self._marks != before)  # noqa: B023
            except TimeoutError:
                return

    def _history(self) -> list[Event]:
        return list(read_logs(Path(agent.settings.log) for agent in self._agents.values()))

    @property
    def _marks(self) -> tuple[Any, ...]:
        agents = self._agents.values()
        return tuple(
            (agent.registered_at, agent.accepted, agent.handed, agent.running) for agent in agents
        )

    def _state(self) -> str:
        agents = {n: (a.accepted, a.handed, a.errors[-500:]) for n, a in self._agents.items()}
        return json.dumps({"goal": self.report.hand_overs, "agents": agents, "hub": self._hub.log})

    def _account(self, history: list[Event]) -> None:
        hands: dict[tuple[str, str, str], int] = {}
        for event in history:
            if isinstance(event, Handed):
                key = (event.agent, event.sender, event.id)
                hands[key] = hands.get(key, 0) + 1
        self.report.attempts_again = sum(times > 1 for times in hands.values())
        self.report.dropped = sum(agent.again for agent in self._agents.values())
