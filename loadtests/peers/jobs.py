"""The jobs that every broker is given, and what comes of one."""

from __future__ import annotations

from typing import Final

import msgspec

BODY: Final = "x" * 200
WINDOW: Final = 512
"""Messages in flight of all senders together."""
RATE: Final = 1000
"""Messages a second where latency is measured."""
FAN_OUT: Final = 100
BACKLOG: Final = 50_000
"""Deliveries by which receivers may be behind: nobody's queue overflows, nobody's memory fills."""


class Job(msgspec.Struct, frozen=True):
    """What is measured.

    Attributes:
        kind: ``throughput``, ``latency`` or ``calls``.
        topics: each has a sender of its own.
        members: of each topic.
    """

    name: str
    kind: str
    about: str
    topics: int = 1
    members: int = 1


JOBS: Final = [
    Job("one-to-one", "throughput", "confirmed and settled, one sender to one receiver"),
    Job("ten-to-ten", "throughput", "the same, ten senders to a receiver each", topics=10),
    Job("latency", "latency", f"at {RATE} messages/s, from the planned moment"),
    Job("calls", "calls", "request and reply, one after another"),
    Job("fan-out", "throughput", f"one sender to {FAN_OUT} receivers", members=FAN_OUT),
]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one job in one round; of what does not apply, 0.

    Attributes:
        per_s: deliveries a second from the first send to the last settlement; calls a second.
        confirmed_per_s: messages a second that senders had confirmed.
        lost: deliveries that did not come.
    """

    per_s: float = 0.0
    confirmed_per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    messages: int = 0
    lost: int = 0
    duplicates: int = 0
