"""Agents exchange messages over two hubs that share a Redis, while one thing after another fails.

Sending is paced, so that there is traffic during every failure; a failure comes when so much was
handed over, and the end when everything was. Nothing here asserts a figure: the report has them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP
from statistics import median
from typing import Any, Final, NamedTuple

import httpx

from tests.support.history import Event, Handed, MessageKey
from tests.support.hub_process import HubProcess
from tests.support.lossy_proxy import LossyProxy
from tests.support.nodes_member import Acceptance, Member
from tests.support.redis_server import RedisServer

AGENTS: Final = 20
PATIENCE_S: Final = 240.0
"""Without any progress for this long a campaign has failed. It only bounds a failure."""
LEFT_S: Final = 15.0
"""A hub that cannot reach Redis for so long has been left by whoever knows another."""
Failure = Callable[["Campaign"], Awaitable[None]]


class Outage(NamedTuple):
    """When Redis could not be reached, and by which hub: None for all."""

    begun: float
    ended: float
    url: str | None


@dataclass
class Report:
    """What a campaign was."""

    messages: int
    hand_overs: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    moved_s: list[float] = field(default_factory=list)
    """From each failure of a hub until each of its agents was registered again; where it could
    not reach Redis, until all of them were on another."""
    back_s: list[float] = field(default_factory=list)
    """From the end of each outage of Redis until a hub that had it acknowledged something."""
    outages: list[Outage] = field(default_factory=list)
    replies_lost: int = 0
    attempts_again: int = 0
    receipts: int = 0
    receipts_heard: int = 0
    """Of those, how many heard ``done``; what was said to a dead session was not heard."""
    lasted_s: float = 0.0

    def __str__(self) -> str:
        happened = ", ".join(f"{count}x {name}" for name, count in self.failures.items())
        said = [
            f"{self.messages} messages, {self.hand_overs} hand-overs in {self.lasted_s:.1f} s",
            happened or "nothing failed",
        ]
        for what, found in (("agents moved", self.moved_s), ("back", self.back_s)):
            if found:
                said.append(f"{what} after {median(found):.2f} s, {max(found):.2f} s at most")
        if self.replies_lost:
            said.append(f"{self.replies_lost} replies of Redis lost")
        said.append(f"{self.attempts_again} messages had another attempt")
        said.append(f"{self.receipts_heard} of {self.receipts} receipts heard")
        return "; ".join(said)


class Node:
    """A hub with its own way to Redis, named by its role.

    Args:
        folder: for its data and its log.
        port: of Redis.
    """

    def __init__(self, folder: Path, role: str, port: int) -> None:
        self.proxy = LossyProxy(port)
        self.hub = HubProcess(folder / role, "--role", role, node=role)

    @property
    def name(self) -> str:
        """As the others know it."""
        return self.hub.node

    async def start(self) -> None:
        """Start it; :attr:`hub` can be killed and started again."""
        await self.proxy.start()
        self.hub.options += ("--redis", f"redis://127.0.0.1:{self.proxy.port}/0")
        await self.hub.start()

    async def stop(self) -> None:
        """End it, with -9."""
        await self.hub.kill()
        await self.proxy.stop()

    async def health(self) -> Any:
        """What it says of itself."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            return (await client.get(f"{self.hub.http_url}/health")).json()

    async def duties(self) -> Any:
        """What it says of the lease on the duties."""
        return (await self.health())["namespaces"]["default"]


class Campaign:
    """One campaign.

    Args:
        root: where Redis and the hubs keep their files.
        messages: how many all agents together send, answers not counted.
        failures: what happens, in this order.
        rate: messages a second that all agents together send at most.
        lose_every: of the answers of Redis to each hub, one in so many is lost; None: none.
        seed: which messages and which moments.
    """

    def __init__(
        self,
        root: Path,
        *,
        messages: int,
        failures: Sequence[Failure],
        rate: float,
        lose_every: int | None = None,
        seed: int = 0,
    ) -> None:
        each = messages // AGENTS
        self.rng = Random(seed)
        self.redis = RedisServer(root / "redis")
        self.nodes: list[Node] = []
        self.members: list[Member] = []
        self.report = Report(each * AGENTS)
        self.acceptances: list[Acceptance] = []
        self._root = root
        self._seed = seed
        self._each = each
        self._failures = list(failures)
        self._lose_every = lose_every
        self._pace_s = 1 / rate
        self._due = 0.0
        self._sent = 0
        self._quota = 0
        self._handed: set[tuple[MessageKey, str | None]] = set()
        self._progress = asyncio.Condition()
        self._news = False

    # --- what members say ---

    def progressed(self) -> None:
        """Something has happened."""
        if not self._news:
            self._news = True
            asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        self._news = False
        async with self._progress:
            self._progress.notify_all()

    def expect(self, count: int) -> None:
        """So many more hand-overs must come."""
        self.report.hand_overs += count

    def handed(self, key: MessageKey, by: str | None) -> None:
        """A message was handed to the agent ``by``; None: to one of those who may have it."""
        self._handed.add((key, by))
        self.progressed()

    def accepted(self, acceptance: Acceptance) -> None:
        """A message was accepted."""
        self.acceptances.append(acceptance)
        self.progressed()

    async def may_send(self) -> None:
        """Return when the next message is due."""
        self._sent += 1
        mine = self._sent
        if mine > self._quota:
            await self.until(lambda: mine <= self._quota)
        now = time.monotonic()
        self._due = max(self._due, now) + self._pace_s
        await asyncio.sleep(self._due - now)

    # --- the run ---

    async def run(self) -> list[Event]:
        """Do it all; the agents' histories."""
        begun = time.monotonic()
        await asyncio.to_thread(self.redis.start)
        try:
            await self._start()
            async with asyncio.TaskGroup() as group:
                for member in self.members:
                    group.create_task(member.send_all(self._each))
                group.create_task(self._fail_and_fail_again())
            await self.until(lambda: len(self._handed) >= self.report.hand_overs)
            await asyncio.gather(*(member.agent.close(20) for member in self.members))
        finally:
            await asyncio.gather(*(member.agent.close(0) for member in self.members))
            for node in self.nodes:
                await node.stop()
            self.redis.kill()
        await self._account()
        self.report.lasted_s = time.monotonic() - begun
        return self.history()

    def history(self) -> list[Event]:
        """What the agents have seen so far."""
        return [event for member in self.members for event in member.log.events]

    async def _start(self) -> None:
        for role in ("primary", "failover"):
            node = Node(self._root, role, self.redis.port)
            self.nodes.append(node)
            await node.start()
        first, second = (node.hub.url for node in self.nodes)
        names = tuple(f"a{number}" for number in range(AGENTS))
        for number, name in enumerate(names):
            urls = [first, second] if number % 2 == 0 else [second, first]
            if number >= AGENTS - 2:
                urls = urls[:1]  # the last two know one hub only
            self.members.append(Member(name, names, urls, self._seed, self))
        await asyncio.gather(*(member.agent.__aenter__() for member in self.members))
        for node in self.nodes:
            node.proxy.swallow = node.proxy.every = self._lose_every

    async def _fail_and_fail_again(self) -> None:
        share = self.report.messages / max(1, len(self._failures))
        for number, failure in enumerate(self._failures, 1):
            # Part of each phase's messages are still to be sent when it comes.
            before = len(self._handed)
            self._let_go(round(share * number))
            due = before + share * self.rng.uniform(0.1, 0.4)
            await self.until(lambda due=due: len(self._handed) >= due)  # type: ignore[misc]
            self.report.failures[getattr(failure, "__name__", str(failure))] += 1
            await failure(self)
        self._let_go(self.report.messages)

    def _let_go(self, quota: int) -> None:
        self._quota = quota
        self.progressed()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Return when ``reached()``; look whenever something has happened."""
        while not reached():
            try:
                async with asyncio.timeout(PATIENCE_S), self._progress:
                    await self._progress.wait_for(reached)
            except TimeoutError:
                raise AssertionError(f"nothing moves any more: {self._state()}") from None

    def there(self, node: Node) -> list[Member]:
        """Who is connected to ``node`` and knows another, too."""
        return [
            member
            for member in self.members
            if member.agent.url == node.hub.url and len(member.urls) > 1
        ]

    def busiest(self) -> Node:
        """The node with most agents, or now and then the other."""
        ordered = sorted(self.nodes, key=lambda node: len(self.there(node)))
        return ordered[self.rng.random() < 0.75]

    def other(self, node: Node) -> Node:
        """The one that is not ``node``."""
        return self.nodes[self.nodes[0] is node]

    async def moved(self, members: Sequence[Member], since: float) -> None:
        """Return when all of them have registered since then."""
        await self.until(lambda: all(member.active_at > since for member in members))
        self.report.moved_s += [member.active_at - since for member in members]

    async def acknowledging(self, since: float, url: str | None = None) -> None:
        """Return when something was accepted after ``since``, at ``url`` if it is given."""

        def found() -> float | None:
            for acceptance in reversed(self.acceptances):
                if acceptance.at <= since:
                    break
                if url is None or acceptance.url == url:
                    return acceptance.at
            return None

        await self.until(lambda: found() is not None)
        first = min(
            each.at for each in self.acceptances if each.at > since and url in (None, each.url)
        )
        self.report.back_s.append(first - since)

    def _state(self) -> str:
        return (
            f"{self.report}; handed {len(self._handed)}, sent {self._sent} of {self._quota}; "
            f"{self.members}; {[node.hub.log[-3000:] for node in self.nodes]}"
        )

    # --- what came of it ---

    async def _account(self) -> None:
        report = self.report
        hands: Counter[tuple[str, str, str]] = Counter()
        for member in self.members:
            for event in member.log.events:
                if isinstance(event, Handed):
                    hands[event.agent, event.sender, event.id] += 1
            for receipt in member.receipts:
                report.receipts += 1
                try:
                    await receipt.reached("done", timeout=0)
                except Exception:
                    continue
                report.receipts_heard += 1
        report.attempts_again = sum(times > 1 for times in hands.values())
        report.replies_lost = sum(node.proxy.lost for node in self.nodes)

    def acknowledged_in_outages(self) -> list[tuple[Outage, Acceptance]]:
        """What was sent and acknowledged while Redis could not be reached. Of what was sent before
        that, a busy machine may hear late that it was stored."""
        return [
            (outage, acceptance)
            for outage in self.report.outages
            for acceptance in self.acceptances
            if outage.begun < acceptance.sent <= acceptance.at < outage.ended
            and outage.url in (None, acceptance.url)
        ]


# --- failures -------------------------------------------------------------------------------


async def killed(campaign: Campaign) -> None:
    """A hub is killed with -9 and started again."""
    node = campaign.busiest()
    members = campaign.there(node)
    since = time.monotonic()
    await node.hub.kill()
    await node.hub.start()
    await campaign.moved(members, since)


async def drained(campaign: Campaign) -> None:
    """A hub is asked to end, as at an upgrade, and started again."""
    node = campaign.busiest()
    members = campaign.there(node)
    since = time.monotonic()
    code = await node.hub.terminate()
    assert code == 0, node.hub.log
    await node.hub.start()
    await campaign.moved(members, since)


async def frozen(campaign: Campaign) -> None:
    """A hub, the one that leads or the busiest, stands still until the other leads alone."""
    node = campaign.busiest()
    before = (await node.duties())["lead"]
    if not before and (campaign.report.failures["frozen"] == 1 or campaign.rng.random() < 0.5):
        node = campaign.other(node)
        before = (await node.duties())["lead"]
    other = campaign.other(node)
    members = campaign.there(node)
    since = time.monotonic()
    await node.hub.signal(SIGSTOP)
    try:
        await campaign.moved(members, since)
        while not (found := await other.duties())["alone"] or found["lead"] <= before:
            pass
        led = found["lead"]
    finally:
        await node.hub.signal(SIGCONT)
    # What it believed when it was stopped must not be what it says now.
    found = await node.duties()
    assert found["lead"] == 0 or found["lead"] > led, (before, led, found)


def redis_killed(seconds: float) -> Failure:
    """Redis is killed with -9, and started again after so long."""

    async def redis_killed(campaign: Campaign) -> None:
        campaign.redis.kill()
        begun = time.monotonic()
        await asyncio.sleep(seconds)
        campaign.report.outages.append(Outage(begun, time.monotonic(), None))
        await asyncio.to_thread(campaign.redis.start)
        await campaign.acknowledging(time.monotonic())

    return redis_killed


def cut_off(seconds: float) -> Failure:
    """A hub's way to Redis is cut for so long: silently, or with resets."""

    async def cut_off(campaign: Campaign) -> None:
        node = campaign.busiest()
        members = campaign.there(node)
        (node.proxy.hold if campaign.rng.random() < 0.5 else node.proxy.cut)()
        begun = time.monotonic()
        if seconds >= LEFT_S:
            there = campaign.other(node).hub.url
            await campaign.until(lambda: all(member.agent.url == there for member in members))
            campaign.report.moved_s.append(time.monotonic() - begun)
        await asyncio.sleep(begun + seconds - time.monotonic())
        ended = time.monotonic()
        campaign.report.outages.append(Outage(begun, ended, node.hub.url))
        node.proxy.restore()
        await campaign.acknowledging(ended, node.hub.url)

    return cut_off
