"""What the command and its two processes say to one another: a JSON line each, over pipes.

A process is given its :class:`Plan` as the first line of its standard input: tokens are in it, and
command lines are seen by everybody on the host. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from trishula_broker.benchmark.histogram import Histogram

SAY_SECONDS: Final = 0.1
"""Between two reports."""
LINE_BYTES: Final = 1 << 26
"""Of the longest line: a histogram has some ten thousand buckets, a plan some thousand members."""


class Member(msgspec.Struct, frozen=True):
    """An agent of the benchmark's.

    Attributes:
        receive: False for a side session, which asks and sends only.
        lasting: it was there before the run and is not forgotten after it.
    """

    name: str
    token: str | None = None
    receive: bool = True
    lasting: bool = False

    def __repr__(self) -> str:
        return f"<Member {self.name}>"


class Plan(msgspec.Struct, frozen=True):
    """What one of the two processes is to do.

    Attributes:
        run: marks this run's messages.
        urls: the hubs, in the order in which to try them.
        connect_s: how long each agent tries to reach one.
        members: the agents of this process.
        group: what receivers join, and senders address; empty: each sender has its receiver.
        to: the receivers' names, for senders without a group.
        seconds: how long senders send.
        rate: messages a second of all senders together; 0: as fast as they are accepted.
        size: characters of each message's text.
        mix: weights by priority.
        window: unaccepted messages a sender may have when ``rate`` is 0.
        fan_out: receivers of each message.
    """

    run: str
    urls: list[str]
    connect_s: float
    members: list[Member]
    group: str
    to: list[str]
    seconds: float
    rate: float
    size: int
    mix: dict[int, int]
    window: int
    fan_out: int
    ca_file: str | None = None


# --- to a process ---


class Go(msgspec.Struct, frozen=True, tag=True):
    """Begin at this moment of ``time.monotonic_ns()``, which all processes of a host share."""

    at_ns: int


class Delivered(msgspec.Struct, frozen=True, tag=True):
    """Receivers have had so many so far: what senders at full speed go by."""

    count: int


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Send nothing more, and finish."""


class Leave(msgspec.Struct, frozen=True, tag=True):
    """Be forgotten by the hub, and end."""


Order: TypeAlias = Go | Delivered | Stop | Leave


# --- from a process ---


class Ready(msgspec.Struct, frozen=True, tag=True):
    """All its agents are registered; how long each took, and which hubs they are on."""

    connecting: Histogram
    urls: list[str]


class Sent(msgspec.Struct, frozen=True, tag=True):
    """What senders did: totals, and the latencies since the last time this was said.

    Attributes:
        planned: messages whose moment has come.
        accepted: messages the hub has stored.
        failed: by code or exception, messages it has not.
        late: messages sent more than :data:`~trishula_broker.benchmark.sending.TIMER_NS` after
            their moment, because this process or the hub was behind.
        reconnects: how often an agent lost its hub.
        mailed: by code, what the hub wrote to senders of messages it had accepted.
        accepting: from the planned moment to the acceptance.
        over: nothing more will come of it.
    """

    planned: int = 0
    accepted: int = 0
    failed: dict[str, int] = {}
    late: int = 0
    reconnects: int = 0
    mailed: dict[str, int] = {}
    accepting: Histogram = msgspec.field(default_factory=Histogram)
    over: bool = False


class Received(msgspec.Struct, frozen=True, tag=True):
    """What receivers had: totals, and the latencies since the last time this was said.

    Attributes:
        received: messages, each counted once for each receiver.
        redelivered: of those, messages that were not at their first attempt.
        last_ns: when the last came.
        latency: by priority, from the planned moment to the application.
    """

    received: int = 0
    duplicates: int = 0
    disorder: int = 0
    redelivered: int = 0
    reconnects: int = 0
    last_ns: int = 0
    latency: dict[int, Histogram] = {}


class Note(msgspec.Struct, frozen=True, tag=True):
    """Something for people."""

    text: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot go on; the exit code and the line that the command ends with."""

    code: int
    text: str


Event: TypeAlias = Ready | Sent | Received | Note | Failed

encode = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode
_decode_order = msgspec.json.Decoder(Order).decode
_decode_plan = msgspec.json.Decoder(Plan).decode


class Post:
    """A process's end of the pipes."""

    def __init__(self, orders: asyncio.StreamReader) -> None:
        self._orders = orders
        self._fd = sys.stdout.fileno()

    @classmethod
    async def open(cls) -> Post:
        """On standard input and output."""
        loop = asyncio.get_running_loop()
        orders = asyncio.StreamReader(limit=LINE_BYTES)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        return cls(orders)

    async def plan(self) -> Plan:
        """The first line."""
        return _decode_plan(await self._orders.readline())

    async def hear(self) -> Order:
        """The next order; :class:`Leave` when the command is gone."""
        line = await self._orders.readline()
        return _decode_order(line) if line else Leave()

    async def keep_saying(self, event: Callable[[], Event]) -> None:
        """Tell the command every now and then, until cancelled."""
        while True:
            await asyncio.sleep(SAY_SECONDS)
            self.say(event())

    def say(self, event: Event) -> None:
        """Tell the command. It reads at once, so this does not wait."""
        rest = memoryview(encode(event) + b"\n")
        while rest:
            rest = rest[os.write(self._fd, rest) :]
