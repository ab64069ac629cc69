"""Of messages, what was said of them, and what the archive has."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from trishula_broker.api.shapes.base import Address, Given, Kind, Shown
from trishula_protocol import limits
from trishula_protocol.bodies import After, Name, Page
from trishula_protocol.envelope import EnvelopeId, Priority, Sequence


class SendBody(Given):
    """A message. Without ``id`` one is made: then a retry is another message."""

    type: Kind
    to: Address
    id: EnvelopeId | None = None
    sender: str | None = msgspec.field(default=None, name="from")
    """Only on a hub without keys; else it is the token's agent."""
    payload: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    priority: Priority = limits.PRIORITY_DEFAULT
    reply_to: EnvelopeId | None = None
    ttl: Annotated[int, msgspec.Meta(ge=1, le=limits.TTL_MAX)] | None = None
    thread: EnvelopeId | None = None
    headers: dict[str, str] | None = None
    settles: Sequence | None = None
    """RESULT or ERROR only: the seq that this answer settles, of mail that was polled."""


class Sent(Shown):
    """It is stored: it would survive a crash."""

    id: str
    sender: str = msgspec.field(name="from")


class Copy(Shown):
    """One recipient's copy and its fate."""

    agent: str
    stage: str
    waits_for: str | None
    attempts: int
    delivered_at: int | None
    read_at: int | None
    settled_at: int | None
    outcome: str | None
    reason: str | None
    expires_at: int | None


class Followed(msgspec.Struct):
    """What became of messages with an id: the envelope without its payload, and ``copies``."""

    messages: list[dict[str, Any]]


class Recalled(Shown):
    """From whom it was taken back, and who keeps it."""

    recalled: list[str]
    kept: list[dict[str, Any]]


class HistoryQuery(Given):
    """A thread, or all mail; a page begins behind ``after``."""

    agent: Name | None = None
    """Another's than the caller's: operators and observers."""
    thread: EnvelopeId | None = None
    after: After | None = None
    limit: Page | None = None


class Messages(Shown):
    """Envelopes with ``seq`` and ``accepted_at``; ``trimmed`` where the body is gone."""

    messages: list[dict[str, Any]]
    next: int | None


Time = Annotated[str, msgspec.Meta(max_length=40)]
Text = Annotated[str, msgspec.Meta(max_length=512)]


class SearchQuery(Given):
    """Which messages of the archive. Times are ISO 8601, UTC unless they say otherwise."""

    text: Text = ""
    """It must be somewhere in the message, payload included."""
    sender: Name | None = msgspec.field(default=None, name="from")
    to: Address | None = None
    thread: EnvelopeId | None = None
    type: Kind | None = None
    since: Time = ""
    until: Time = ""
    limit: Page = 100


class AuditQuery(Given):
    """Which records."""

    event: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    agent: Name | None = None
    text: Text = ""
    since: Time = ""
    until: Time = ""
    limit: Page = 100


class Records(Shown):
    """Records of the archive, the oldest first. ``next`` is the ``since`` of the following page,
    as it stands; null when there are no more. ``unread`` counts files of which something could not
    be read."""

    records: list[dict[str, Any]]
    next: str | None
    unread: int = 0
