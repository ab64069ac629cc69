"""The senders: each its part of the schedule, whatever becomes of what was sent before."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any, Final

from trishula import Agent, Message, Refused, TrishulaError
from trishula_broker.benchmark.crew import Crew
from trishula_broker.benchmark.histogram import Histogram
from trishula_broker.benchmark.schedule import PriorityMix, Schedule
from trishula_broker.benchmark.talk import Delivered, Go, Leave, Plan, Post, Ready, Sent, Stop

TIMER_NS: Final = 2_000_000
"""An event loop's timers are this coarse. A message sent later than that was held up, and its
latency counts from its planned moment; any other one's from when it was sent."""
UNDERWAY: Final = 20_000
"""Messages of one sender that may be unanswered in an open loop. What is planned beyond that
waits in the schedule, and its latency counts from there."""
BACKLOG: Final = 20_000
"""At full speed, messages that receivers may be behind: a mailbox holds 100 000."""
BURST: Final = 64
"""Messages begun without letting the event loop look at its sockets."""
GRACE_SECONDS: Final = 10.0
"""How long the hub has for the last acceptances."""


class Sender:
    """One agent and its part of the schedule."""

    def __init__(self, load: Load, number: int, agent: Agent) -> None:
        self._load = load
        self._number = number
        self._agent = agent
        plan = load.plan
        self._to = f"#{plan.group}" if plan.group else plan.to[number % len(plan.to)]
        self._mix = PriorityMix(plan.mix)
        self._begun = 0
        self._sent = 0
        self._underway: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        agent.on_message(self._mail)

    def _mail(self, message: Message) -> None:
        """The hub's word on something it had accepted: a copy for a full mailbox, for one."""
        payload = message.payload
        code = payload.get("code") if isinstance(payload, dict) else None
        self._load.mailed[str(code or message.type)] += 1

    async def keep_time(self, start_ns: int) -> None:
        """Send what the schedule says until it ends or the load is stopped."""
        load, plan = self._load, self._load.plan
        schedule = iter(Schedule(plan.rate, len(plan.members), self._number, plan.seconds))
        due: int | None = None
        try:
            burst = 0
            for offset in schedule:
                due = offset
                while (wait := start_ns + offset - monotonic_ns()) > 0:
                    burst = 0
                    if await load.stopped_within(wait / 1e9):
                        break
                if load.stopping.is_set():
                    break
                burst += 1
                if burst % BURST == 0:
                    await asyncio.sleep(0)
                while len(self._underway) >= UNDERWAY:
                    self._room.clear()
                    await self._room.wait()
                load.planned += 1
                self._begun += 1
                due = None
                task = asyncio.ensure_future(self._one(start_ns + offset))
                self._underway.add(task)
                task.add_done_callback(self._done)
            while self._underway:
                await asyncio.wait(self._underway)
        except asyncio.CancelledError:
            load.give_up(_due(due, schedule, min(monotonic_ns(), load.end_ns) - start_ns))
            raise
        finally:
            if self._underway:
                for task in self._underway:
                    task.cancel()
                await asyncio.wait(self._underway)
            # A task that was cancelled before its first step counted nothing itself.
            if self._begun > self._sent:
                load.failed["unsent"] += self._begun - self._sent

    def _done(self, task: asyncio.Task[None]) -> None:
        self._underway.discard(task)
        self._room.set()

    async def at_full_speed(self) -> None:
        """One of ``window`` that each send one message after another."""
        load = self._load
        while not load.stopping.is_set():
            if load.ahead:
                await load.progress.wait()
                continue
            load.planned += 1
            await self._one(monotonic_ns())

    async def _one(self, planned_ns: int) -> None:
        load = self._load
        now = monotonic_ns()
        since = now
        if now - planned_ns > TIMER_NS:
            load.late += 1
            since = planned_ns
        number, self._sent = self._sent, self._sent + 1
        body = {"run": load.plan.run, "s": self._number, "n": number, "t": since, "x": load.text}
        try:
            await self._agent.send(self._to, body, priority=self._mix.next())
        except asyncio.CancelledError:
            load.failed["unanswered"] += 1
            raise
        except Refused as error:
            load.failed[error.code] += 1
        except TrishulaError as error:
            load.failed[type(error).__name__] += 1
            # It is over for good: nobody is helped by how fast further ones fail.
            await load.stopped_within(1.0)
        else:
            load.accepted += 1
            load.accepting.record((monotonic_ns() - since) // 1000)


class Load:
    """What all senders do together."""

    def __init__(self, plan: Plan, agents: list[Agent]) -> None:
        self.plan = plan
        self.text = "x" * plan.size
        self.planned = 0
        self.accepted = 0
        self.late = 0
        self.failed: Counter[str] = Counter()
        self.mailed: Counter[str] = Counter()
        self.accepting = Histogram()
        self.stopping = asyncio.Event()
        self.progress = asyncio.Event()
        self._delivered = 0
        self.end_ns = 0
        self._senders = [Sender(self, n, agent) for n, agent in enumerate(agents)]

    def stop(self) -> None:
        """Send nothing more."""
        self.stopping.set()
        self.progress.set()
        self.end_ns = min(self.end_ns, monotonic_ns())

    def delivered(self, count: int) -> None:
        """Receivers have had so many."""
        self._delivered = count
        self.progress.set()

    @property
    def ahead(self) -> bool:
        """Whether receivers are too far behind; then the next :attr:`progress` is to be awaited."""
        behind = self.accepted * self.plan.fan_out - self._delivered
        if behind < BACKLOG * self.plan.fan_out or self.stopping.is_set():
            return False
        self.progress.clear()
        return True

    def give_up(self, count: int) -> None:
        """So many whose moment had come were never sent."""
        if count:
            self.planned += count
            self.failed["unsent"] += count

    async def stopped_within(self, seconds: float) -> bool:
        """Wait; whether the load was stopped meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return False
        return True

    async def run(self, start_ns: int) -> None:
        """All of it, from ``start_ns`` on."""
        seconds = self.plan.seconds
        self.end_ns = start_ns + int(seconds * 1e9)
        wait = (start_ns - monotonic_ns()) / 1e9
        if self.plan.rate:
            work: list[Any] = [sender.keep_time(start_ns) for sender in self._senders]
            limit = wait + seconds + GRACE_SECONDS
        else:
            await asyncio.sleep(wait)
            asyncio.get_running_loop().call_later(seconds, self.stop)
            work = [
                sender.at_full_speed() for _ in range(self.plan.window) for sender in self._senders
            ]
            limit = seconds + GRACE_SECONDS
        tasks = [asyncio.ensure_future(each) for each in work]
        over = asyncio.get_running_loop().call_later(limit, _cancel, tasks)
        stopping = asyncio.ensure_future(self._cut_short(tasks))
        try:
            await asyncio.wait(tasks)
        finally:
            over.cancel()
            stopping.cancel()
            _cancel(tasks)
            await asyncio.wait([stopping, *tasks])
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _cut_short(self, tasks: list[asyncio.Future[Any]]) -> None:
        await self.stopping.wait()
        await asyncio.sleep(GRACE_SECONDS)
        _cancel(tasks)

    def report(self, reconnects: int, over: bool) -> Sent:
        """Totals, and what was measured since the last report."""
        accepting, self.accepting = self.accepting, Histogram()
        return Sent(
            self.planned,
            self.accepted,
            dict(self.failed),
            self.late,
            reconnects,
            dict(self.mailed),
            accepting,
            over,
        )


def _cancel(tasks: list[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()


def _due(first: int | None, schedule: Iterator[int], elapsed_ns: int) -> int:
    """How many of the rest of a schedule should have been sent by now."""
    count = int(first is not None and first < elapsed_ns)
    for offset in schedule:
        if offset >= elapsed_ns:
            break
        count += 1
    return count


async def send(plan: Plan, post: Post) -> None:
    """The process of the senders.

    Raises:
        TrishulaError: one of them could not come.
    """
    crew = Crew(plan)
    try:
        urls = await crew.come()
        load = Load(plan, crew.agents)
        post.say(Ready(crew.connecting, urls))
        order = await post.hear()
        if not isinstance(order, Go):
            return
        running = asyncio.ensure_future(load.run(order.at_ns))
        saying = asyncio.ensure_future(
            post.keep_saying(lambda: load.report(crew.reconnects, over=False))
        )
        hearing = asyncio.ensure_future(_hear(load, post))
        try:
            await asyncio.wait({running, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                saying.cancel()
                post.say(load.report(crew.reconnects, over=True))
                await hearing
        finally:
            for task in (running, saying, hearing):
                task.cancel()
            await asyncio.wait({running, saying, hearing})
    finally:
        await crew.go()


async def _hear(load: Load, post: Post) -> None:
    """Follow orders until the one to leave."""
    while True:
        match await post.hear():
            case Delivered(count):
                load.delivered(count)
            case Stop():
                load.stop()
            case Leave():
                load.stop()
                return
            case _:
                pass
