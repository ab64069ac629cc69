"""One process of a job: its senders, its receivers, or one end of request and reply.

What it is to do is its argument, as JSON; what it hears and says are lines of JSON.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import itertools
import os
import platform
import sys
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Final

import msgspec

from loadtests.peers.jobs import BACKLOG, BODY
from loadtests.peers.peer import Client, Value
from loadtests.peers.registry import PEERS
from trishula_broker.benchmark.histogram import Histogram
from trishula_broker.benchmark.schedule import Schedule
from trishula_broker.benchmark.tally import Tally

TIMER_NS: Final = 2_000_000
"""A loop's timers are this coarse; what is sent later than that was held up, and counts from its
planned moment."""
SAY_SECONDS: Final = 0.05
WARM_UP: Final = 0.1
"""The share of the calls that is not counted."""


class Spec(msgspec.Struct, frozen=True):
    """What this process does.

    Attributes:
        role: ``send``, ``receive``, ``serve``, ``call`` or ``versions``.
        members: for receivers: topic and member of each.
        fan_out: members of each topic.
        rate: messages a second; 0 is as fast as possible.
    """

    peer: str
    role: str
    address: str = ""
    topics: list[str] = []
    members: list[tuple[str, str]] = []
    fan_out: int = 1
    seconds: float = 1.0
    window: int = 1
    rate: float = 0.0


def say(**what: Any) -> None:
    """A line to whoever started this: all of it, also where a pipe takes only a part at once."""
    rest = memoryview(msgspec.json.encode(what) + b"\n")
    while rest:
        rest = rest[os.write(1, rest) :]


async def orders() -> asyncio.StreamReader:
    """What is heard."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def send(spec: Spec, make: Callable[[], Client]) -> None:
    """The senders: a client a topic."""
    heard = await orders()
    clients = [make() for _ in spec.topics]
    for client, topic in zip(clients, spec.topics, strict=True):
        await client.open(topic, spec.fan_out > 1)
    say(event="ready")
    await heard.readline()
    sent, received, progress = 0, 0, asyncio.Event()

    async def follow() -> None:
        nonlocal received
        while line := await heard.readline():
            received = msgspec.json.decode(line)["received"]
            progress.set()

    following = asyncio.ensure_future(follow())
    start = monotonic_ns()
    end = start + int(spec.seconds * 1e9)

    async def full_speed(client: Client, sender: int, numbers: itertools.count[int]) -> None:
        nonlocal sent
        turns = 0
        while monotonic_ns() < end:
            if sent * spec.fan_out - received >= BACKLOG:
                progress.clear()
                await progress.wait()
                continue
            sent += 1
            value = {"s": sender, "n": next(numbers), "t": monotonic_ns(), "body": BODY}
            await client.publish(value)
            turns += 1
            if not client.CONFIRMS and turns % 64 == 0:
                await asyncio.sleep(0)  # it never waited

    async def paced(client: Client, number: int, planned: int) -> None:
        now = monotonic_ns()
        since = now if now - planned < TIMER_NS else planned
        await client.publish({"s": 0, "n": number, "t": since, "body": BODY})

    if spec.rate:
        tasks = set()
        for number, offset in enumerate(Schedule(spec.rate, 1, 0, spec.seconds)):
            if (wait := start + offset - monotonic_ns()) > 0:
                await asyncio.sleep(wait / 1e9)
            sent += 1
            task = asyncio.ensure_future(paced(clients[0], number, start + offset))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    else:
        workers = []
        for sender, client in enumerate(clients):
            numbers = itertools.count()
            count = max(1, spec.window // len(clients)) if client.CONFIRMS else 1
            workers += [full_speed(client, sender, numbers) for _ in range(count)]
        await asyncio.gather(*workers)
    for client in clients:
        await client.flush()
    say(event="sent", start_ns=start, confirmed_ns=monotonic_ns(), sent=sent)
    following.cancel()


class Receivers:
    """All members of this process."""

    def __init__(self, count: int) -> None:
        self.tallies = [Tally() for _ in range(count)]
        self.latency = Histogram()
        self.complete = asyncio.Event()
        self.last_ns = monotonic_ns()
        self._left: int | None = None

    @property
    def received(self) -> int:
        """Deliveries, each counted once."""
        return sum(tally.received for tally in self.tallies)

    def expect(self, count: int) -> None:
        """There will be so many in all."""
        self._left = count - self.received
        if self._left <= 0:
            self.complete.set()

    def take(self, number: int, value: Value) -> None:
        """One has come for a member."""
        if not self.tallies[number].note(value["s"], value["n"], 0):
            return
        self.last_ns = monotonic_ns()
        self.latency.record((self.last_ns - value["t"]) // 1000)
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.complete.set()


async def receive(spec: Spec, make: Callable[[], Client]) -> None:
    """The receivers: a client a member."""
    heard = await orders()
    clients = [make() for _ in spec.members]
    for client, (topic, member) in zip(clients, spec.members, strict=True):
        await client.join(topic, member)
    all_of_us = Receivers(len(clients))
    consuming = [
        asyncio.ensure_future(client.consume(functools.partial(all_of_us.take, number)))
        for number, client in enumerate(clients)
    ]
    say(event="ready")

    async def report() -> None:
        while True:
            await asyncio.sleep(SAY_SECONDS)
            say(event="progress", received=all_of_us.received)
            for each in consuming:
                if each.done():
                    each.result()

    async def listen() -> None:
        """Told how many there are; or, when they do not come, that it is over."""
        while line := await heard.readline():
            told = msgspec.json.decode(line)
            if "expect" not in told:
                return
            all_of_us.expect(told["expect"])

    reporting, listening = asyncio.ensure_future(report()), asyncio.ensure_future(listen())
    completing = asyncio.ensure_future(all_of_us.complete.wait())
    await asyncio.wait({reporting, listening, completing}, return_when=asyncio.FIRST_COMPLETED)
    if reporting.done():
        reporting.result()
    reporting.cancel()
    # The last one may have come before we heard that it was the last: what settling it takes
    # counts from there.
    begun = monotonic_ns()
    for client in clients:
        await client.finish()
    found = all_of_us.latency.summary()
    say(
        event="received",
        end_ns=all_of_us.last_ns + monotonic_ns() - begun,
        received=all_of_us.received,
        duplicates=sum(tally.duplicates for tally in all_of_us.tallies),
        p50_ms=found.p50,
        p99_ms=found.p99,
        max_ms=found.max,
    )


async def serve(spec: Spec, make: Callable[[], Client]) -> None:
    """Whoever answers; until its standard input ends."""
    heard = await orders()
    serving = asyncio.ensure_future(await make().serve(spec.topics[0], spec.topics[1]))
    say(event="ready")
    waiting = asyncio.ensure_future(heard.readline())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()


async def call(spec: Spec, make: Callable[[], Client]) -> None:
    """Whoever asks."""
    client = make()
    await client.begin_calling(spec.topics[0], spec.topics[1])
    times: list[int] = []
    start = monotonic_ns()
    end = start + int(spec.seconds * 1e9)
    for number in itertools.count():
        begun = monotonic_ns()
        if begun >= end:
            break
        await client.call({"n": number, "body": BODY})
        times.append((monotonic_ns() - begun) // 1000)
    took = (monotonic_ns() - start) / 1e9
    latency = Histogram()
    for us in times[int(len(times) * WARM_UP) :]:
        latency.record(us)
    found = latency.summary()
    say(
        event="called",
        per_s=len(times) / took,
        messages=len(times),
        p50_ms=found.p50,
        p99_ms=found.p99,
        max_ms=found.max,
    )


async def versions(spec: Spec, make: Callable[[], Client]) -> None:
    """What the clients are."""
    wanted = [*PEERS[spec.peer].client.DISTRIBUTIONS, "uvloop", "msgspec"]
    found = {"python": platform.python_version()}
    for name in wanted:
        found[name] = importlib.metadata.version(name)
    say(event="versions", versions=found)


async def main(spec: Spec) -> None:
    """Do it, and end at once: clients' own farewells are nobody's business here."""
    parts = {"send": send, "receive": receive, "serve": serve, "call": call, "versions": versions}

    def make() -> Client:
        return PEERS[spec.peer].client(spec.address)

    await parts[spec.role](spec, make)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Spec)))
