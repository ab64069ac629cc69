"""What requests and answers of the API look like. Times are milliseconds since the Unix epoch.

Unknown fields of a request are refused: a mistyped one must not count for nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import AGENT_PATTERN
from trishula_protocol.bodies import After, MailboxName, Name, Page
from trishula_protocol.envelope import EnvelopeId, Priority, Sequence

Kind = Literal["COMMAND", "STATUS", "RESULT", "ERROR"]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.AGENT_LENGTH + 1)]
Reason = Annotated[str, msgspec.Meta(max_length=limits.REASON_LENGTH)]
Seqs = Annotated[list[Sequence], msgspec.Meta(min_length=1, max_length=limits.BATCH)]
TokenId = Annotated[str, msgspec.Meta(max_length=limits.ID_LENGTH)]


PATH: Final[dict[str, Any]] = {
    "agent": MailboxName,
    "mine": Name,
    "id": EnvelopeId,
    "seq": Sequence,
    "component": Literal["store", "redis", "audit", "disk", "websocket"],
}
"""What a path's parameters are; ``mine`` is the caller's own name."""


class Given(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what requests say."""


class Shown(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what is answered."""


# --- agents, groups, nodes ---


class AgentsQuery(Given):
    """Which agents; ``after`` is the ``next`` of the page before."""

    capability: str | None = None
    group: str | None = None
    online: bool | None = None
    after: Annotated[str, msgspec.Meta(max_length=limits.AGENT_LENGTH)] | None = None


class Paused(Shown):
    """Why an agent is handed nothing."""

    reason: str


class Agent(Shown):
    """An agent as others see it."""

    id: str
    capabilities: list[str]
    groups: list[str]
    online: bool
    status: Any
    node: str
    since: int
    """When it came online or went offline."""
    unsettled: int
    ephemeral: bool = False
    paused: Paused | None = None
    folder: bool = False
    """It has a shared folder."""


class Agents(Shown):
    """A page by name."""

    agents: list[Agent]
    next: str | None


class Group(Shown):
    """A group and who is in it."""

    name: str
    members: list[str]
    online: int


class Groups(Shown):
    """All groups, by name."""

    groups: list[Group]


class Node(Shown):
    """A hub."""

    node: str
    role: str
    address: str
    alive: bool
    leads: bool
    since: int
    beat_at: int
    agents: int
    """Online there."""


class FolderMode(Shown):
    """That agents are ordered to their shared folder: why, and since when."""

    reason: str
    since: int


class Nodes(Shown):
    """The hubs that serve this namespace; ``node`` is the one that answers."""

    nodes: list[Node]
    node: str
    folder_mode: FolderMode | None = None


class FolderModeBody(Given):
    """To the shared folder, or back; and why."""

    on: bool
    reason: Reason = ""


class FolderModeNow(Shown):
    """What is ordered, and who of those online goes by it: how many have a folder, and the names
    of those that have none; ``more`` of these are not named."""

    on: bool
    reason: str
    since: int | None
    with_folder: int
    without_folder: list[str]
    more: int


class PauseBody(Given):
    """Why."""

    reason: Reason = ""


class PausedNow(Shown):
    """Whether an agent is paused now."""

    agent: str
    paused: bool


class ForgetQuery(Given):
    """Whether what its mailbox holds goes to the dead letters."""

    discard: bool = False


class ForgottenAgent(Shown):
    """How many copies were discarded."""

    agent: str
    discarded: int


# --- messages ---


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


# --- mailboxes ---


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


# --- dead letters ---


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


# --- tokens ---


class TokensQuery(Given):
    """Whose; ``all`` shows those that have expired, too. A page begins behind the token
    ``after``."""

    agent: Name | None = None
    all: bool = False
    after: TokenId | None = None
    limit: Page = 100


class Token(Shown):
    """What a token says; the token itself is kept nowhere."""

    id: str
    agent: str
    namespace: str
    role: str
    made: int
    expires: int | None
    revoked: int | None
    state: Literal["valid", "revoked", "expired"]
    send: list[str] | None
    receive: list[str] | None
    types: list[str] | None


class Tokens(Shown):
    """A page, in the order of their making."""

    tokens: list[Token]
    next: str | None


class RevokeBody(Given):
    """One token by its id, or all that an agent was given until now."""

    token_id: TokenId | None = None
    agent: Annotated[str, msgspec.Meta(pattern=AGENT_PATTERN)] | None = None


class RevokedTokens(Shown):
    """How many sessions ended at this hub. ``listed``: the list of tokens says it too."""

    token_id: str | None
    agent: str | None
    sessions: int
    listed: bool = True


# --- the last hour ---


class Series(Shown):
    """What this hub did in the last hour, a number for every ``step_s`` seconds; the last one ends
    at ``end``. Rates are a second; latencies are of copies whose recipient was online, null where
    there were none."""

    step_s: int
    end: int
    accepted: list[float]
    delivered: list[float]
    p50_ms: list[float | None]
    p99_ms: list[float | None]


# --- health, live ---


class Health(msgspec.Struct):
    """How this hub is: ``ok``, ``degraded`` or ``draining``, why, and particulars."""

    status: str


class Component(msgspec.Struct):
    """How one part is: ``ok``, ``degraded`` or ``off``, and particulars."""

    component: str
    status: str
    why: str | None
    details: dict[str, Any]


class LiveQuery(Given):
    """What to hear of; each narrows. ``presence`` adds who comes and goes; ``most``: copies a
    second, the others are counted by ``missed``."""

    sender: Name | None = msgspec.field(default=None, name="from")
    to: Address | None = None
    type: Kind | None = None
    thread: EnvelopeId | None = None
    presence: bool = True
    most: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
