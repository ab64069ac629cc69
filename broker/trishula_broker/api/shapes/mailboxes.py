"""Of what waits, and of what was given up."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from trishula_broker.api.shapes.base import Address, Given, Reason, Seqs, Shown
from trishula_protocol import limits
from trishula_protocol.bodies import After, Page


class PeekQuery(Given):
    """How many of the first ones to show."""

    limit: Page | None = None


class Mailbox(Shown):
    """A mailbox, looked at; nothing is delivered, read or settled."""

    count: int
    bytes: int
    oldest: int | None
    """When its oldest message was accepted."""
    by_priority: dict[str, int]
    heads: list[dict[str, Any]]


class ReceiveBody(Given):
    """What to wait for."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=20)] = 0
    """Seconds to wait for the first one."""
    lease_ms: (
        Annotated[int, msgspec.Meta(ge=limits.LEASE_MIN_MS, le=limits.LEASE_MAX_MS)] | None
    ) = None
    """What is not settled in this time comes again; 60 000 unless an earlier request said
    otherwise."""


class Received(Shown):
    """Envelopes with ``seq`` and ``attempt``; they are read, and settled by settling alone."""

    messages: list[dict[str, Any]]


class SettleBody(Given):
    """What became of mail: ``done``; ``rejected``, with ``requeue`` for now only; ``read`` renews
    the lease."""

    seqs: Seqs
    stage: Literal["done", "read", "rejected"] = "done"
    reason: Reason = ""
    requeue: bool = False


class Settled(Shown):
    """Those settled for good, and those held by another now, or never this agent's."""

    settled: list[int]
    stale: list[int]


class DeadLettersQuery(Given):
    """Whose; a page begins behind ``after``."""

    agent: Address | None = None
    after: After | None = None
    limit: Page | None = None


class DeadLetter(Shown):
    """A copy that was given up."""

    agent: str
    outcome: str
    reason: str
    attempts: int
    settled_at: int
    message: dict[str, Any]


class DeadLetters(Shown):
    """A page by seq."""

    deadletters: list[DeadLetter]
    next: int | None


class LetterNamed(Shown):
    """The dead letter that was put back, or removed."""

    agent: str
    seq: int
