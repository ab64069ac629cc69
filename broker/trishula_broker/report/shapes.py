"""What a report says, as it stands in its JSON. Times are as records have them, in UTC; spans are
seconds, latencies milliseconds. What is not known is null."""

from __future__ import annotations

import msgspec


class Down(msgspec.Struct):
    """A stretch in which no hub was well; ``why`` as the hub said, empty where none could say."""

    since: str
    until: str
    seconds: float
    why: str


class Uptime(msgspec.Struct):
    """How long a hub was well, of the time that the archive tells of.

    ``share`` is of ``known_seconds``, and null when that is 0; ``known_since`` is when those begin.
    """

    share: float | None
    well_seconds: float
    known_seconds: float
    known_since: str | None
    longest_down: list[Down]


class Latency(msgspec.Struct):
    """From histograms: ``count`` values; the quantiles are null when there are none."""

    count: int
    p50_ms: float | None
    p99_ms: float | None


class Latencies(msgspec.Struct):
    """``accept``: from a frame's arrival until what was in it is stored. ``delivery``: from there
    to a recipient that was connected."""

    accept: Latency
    delivery: Latency


class Volume(msgspec.Struct):
    """Of one agent; ``bytes`` are those it sent."""

    agent: str
    sent: int
    received: int
    bytes: int
    disconnects: int
    by_type: dict[str, int]
    """Of what it sent."""


class Messages(msgspec.Struct):
    """``copies`` is what recipients got, ``bytes`` what senders sent, ``done`` the copies that were
    settled."""

    accepted: int
    copies: int
    bytes: int
    done: int
    by_type: dict[str, int]
    by_agent: list[Volume]
    agents_not_named: int
    """Agents beyond those that are kept apart; all else counts them."""


class Undelivered(msgspec.Struct):
    """Copies that ended otherwise. ``loss`` is (expired + given up) / copies, null without any."""

    expired: int
    given_up: int
    rejected: int
    recalled: int
    loss: float | None
    reasons: dict[str, int]


class Disconnects(msgspec.Struct):
    """Sessions that ended, by what for: ``by the agent``, ``connection lost``, a close code."""

    total: int
    by_kind: dict[str, int]


class Errors(msgspec.Struct):
    """``told``: ERRORs by code. ``turned_away``: connections and requests, by what and reason."""

    told: dict[str, int]
    turned_away: dict[str, int]


class Away(msgspec.Struct):
    """Somebody who could not connect: an agent that was cut off, or an address that was turned
    away again and again. ``back``: it got in afterwards."""

    who: str
    since: str
    until: str
    seconds: float
    why: str
    back: bool


class Steps(msgspec.Struct):
    """The period in pieces, for plots: a value for each piece that begins at ``at``."""

    seconds: int
    at: list[str]
    accepted: list[int]
    done: list[int]
    errors: list[int]
    undelivered: list[int]
    disconnects: list[int]
    uptime: list[float | None]
    delivery_p50_ms: list[float | None]
    delivery_p99_ms: list[float | None]
    accept_p99_ms: list[float | None]


class Report(msgspec.Struct):
    """All of it. ``unread`` counts files of which something could not be read."""

    since: str
    until: str
    namespace: str | None
    nodes: list[str]
    uptime: Uptime
    latency: Latencies
    messages: Messages
    undelivered: Undelivered
    disconnects: Disconnects
    errors: Errors
    away: list[Away]
    steps: Steps
    unread: int
