"""The demo's acts, in order."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable
from typing import Final

from tests.demo import claims
from tests.demo.cast import Cast
from tests.demo.claims import Claim, Outage
from tests.demo.screen import Screen
from tests.support.hub_process import HubProcess

BUILD, PING, PLAN, OPS, TYPO, REVIEW = "build", "ping", "plan", "ops", "typo", "review"
AWAY, CRASH, STORM = "away", "crash", "storm"
QUIET: Final = (PING, STORM)
"""Labels of messages that are too many to show."""

BUILD_STEPS: Final = 3
CRASH_STEPS: Final = 4
PINGS: Final = 200
REVIEWS: Final = 6
AWAY_PRIORITIES: Final = (4, 2, 5, 1, 3)
STORM_PART: Final = 3000
"""Messages handled before the kill, and again after it."""
PATIENCE_S: Final = 60.0
"""The longest wait for anything."""
PAUSE_S: Final = 2.0
"""Between acts, for a person to read."""

AGENTS: Final = {"dc": ("", "ops"), "agni": ("build review", "ops"), "rushabdev": ("review", "")}


class Play:
    """The acts, and what is claimed after them."""

    def __init__(self, hub: HubProcess, cast: Cast, screen: Screen) -> None:
        self._hub = hub
        self._cast = cast
        self._screen = screen
        self._outage = Outage(0.0, 0.0)

    async def perform(self) -> None:
        """All of them."""
        for act in (self.meet, self.command, self.address, self.be_away, self.crash, self.die):
            await act()
            if self._screen.terminal:
                await asyncio.sleep(PAUSE_S)
        await self.part()

    async def meet(self) -> None:
        """Three agents, each in a process of its own."""
        self._screen.title("1. Three agents and a hub, each in a process of its own")
        self._screen.note("hub", f"serves {self._hub.url}")
        async with asyncio.TaskGroup() as group:
            for name, (capabilities, groups) in AGENTS.items():
                group.create_task(self._cast.enter(name, capabilities, groups))
        await self._cast.order("dc", "agents")

    async def command(self) -> None:
        """A command with progress, and many small ones for the clock."""
        self._screen.title("2. Commands: progress while it runs, one result, or an error")
        text = "build the site"
        await self._cast.order("dc", "command", "agni", label=BUILD, text=text, count=BUILD_STEPS)
        self._screen.say(f"{PINGS} more to agni, one after another ...")
        await self._cast.order("dc", "ping", "agni", label=PING, text="echo", count=PINGS)
        trips = claims.round_trips(self._cast.events, PING)
        self._screen.say(
            f"... took {statistics.median(trips) * 1000:.1f} ms each (median), "
            "command and result both on the disk"
        )

    async def address(self) -> None:
        """Broadcast, group, capability, and nobody."""
        cast, screen = self._cast, self._screen
        screen.title("3. Addresses: everyone, a group, whoever can do it")
        await cast.order("dc", "send", "broadcast", label=PLAN, text="we ship at noon")
        await cast.order("rushabdev", "send", "#ops", label=OPS, text="disk of host 7 is full")
        await self._handled(PLAN, 2)
        await self._handled(OPS, 2)
        screen.say(f"{REVIEWS} reviews at once: each goes to one of the two who offer it")
        await cast.order("dc", "burst", "@review", label=REVIEW, text="review it", count=REVIEWS)
        await cast.order("dc", "send", "angi", label=TYPO, text="hello?")

    async def be_away(self) -> None:
        """Mail for somebody who is offline."""
        cast, screen = self._cast, self._screen
        screen.title("4. Away: mail waits, and the most urgent comes first")
        await cast.leave("rushabdev")
        text = "while you were out"
        await cast.order(
            "dc", "notes", "rushabdev", label=AWAY, text=text, priorities=AWAY_PRIORITIES
        )
        await cast.order("dc", "trace", label=f"{AWAY}-1")
        await cast.enter("rushabdev", *AGENTS["rushabdev"])
        await self._handled(AWAY, len(AWAY_PRIORITIES))

    async def crash(self) -> None:
        """An agent dies at work; what it had begun is begun again."""
        cast, screen = self._cast, self._screen
        screen.title("5. kill -9: an agent dies at work, and the work does not")
        text = "test the site"
        command = cast.begin(
            "dc", "command", "agni", label=CRASH, text=text, count=CRASH_STEPS, long=True
        )
        await self._within(cast.until(lambda: cast.count("progress", CRASH) >= 1))
        await cast.kill("agni")
        screen.note("agni", "killed with SIGKILL")
        await cast.enter("agni", *AGENTS["agni"])
        await self._within(cast.done(command))

    async def die(self) -> None:
        """The hub is killed in the middle of traffic."""
        cast, screen = self._cast, self._screen
        screen.title("6. kill -9: the hub dies in the middle of traffic")
        storms = [
            cast.begin(name, "storm", *(other for other in AGENTS if other != name), label=STORM)
            for name in AGENTS
        ]
        screen.say("everybody sends to everybody, as fast as they like")
        await self._more(STORM_PART)
        killed = time.monotonic()
        await self._hub.kill()
        screen.note("hub", "killed with SIGKILL")
        await self._hub.start()
        self._outage = Outage(killed, time.monotonic())
        screen.note("hub", "started again, same port, same data; the agents find it by themselves")
        await self._more(STORM_PART)
        for name in AGENTS:
            await cast.order(name, "calm")
        for storm in storms:
            await self._within(cast.done(storm))
        await self._handled(STORM, cast.count("sent", STORM))
        screen.say(self._tally())

    async def part(self) -> None:
        """Everybody looks into the own mailbox, and leaves."""
        for name in AGENTS:
            await self._within(self._cast.order(name, "empty"))
        for name in AGENTS:
            await self._cast.leave(name)

    # inside

    async def _handled(self, label: str, count: int) -> None:
        await self._within(self._cast.until(lambda: self._cast.count("handled", label) >= count))

    async def _more(self, count: int) -> None:
        await self._handled(STORM, self._cast.count("handled", STORM) + count)
        self._screen.say(self._tally())

    def _tally(self) -> str:
        count = self._cast.count
        return (
            f"so far: {count('sent', STORM):>6} sent, {count('accepted', STORM):>6} accepted, "
            f"{count('handled', STORM):>6} handled"
        )

    async def _within(self, waiting: Awaitable[None]) -> None:
        """Wait, but not for ever: what did not happen is for the claims to tell."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await waiting
        except TimeoutError:
            self._screen.say(f"... that did not happen within {PATIENCE_S:.0f} s")

    # afterwards

    def claims(self) -> list[Claim]:
        """What can be said of it all, true or not."""
        events = self._cast.events
        return [
            claims.commands(events, but=CRASH),
            claims.progress(events, BUILD, BUILD_STEPS),
            claims.reached(events, PLAN, "broadcast", set(AGENTS) - {"dc"}),
            claims.reached(events, OPS, "#ops", {"dc", "agni"}),
            claims.one_each(events, REVIEW, "@review", REVIEWS),
            claims.refused(events, TYPO),
            claims.waited(events, AWAY, "rushabdev"),
            claims.again(events, CRASH, "agni"),
            *claims.storm(events, STORM, self._outage),
            claims.empty(events, set(AGENTS)),
        ]

    def latencies(self) -> list[str]:
        """How long things took."""
        return claims.latencies(self._cast.events, PING, STORM, self._outage)
