"""What can be asked of a store: it changes nothing, and may be answered during a commit."""

from __future__ import annotations

import msgspec

from trishula_broker.store.message import Copy, Message, Settled
from trishula_broker.store.revoked import Revocations
from trishula_broker.store.trail import Archives, Trail


class AgentRecord(msgspec.Struct, frozen=True):
    """What the directory says of an agent."""

    id: str
    capabilities: tuple[str, ...]
    groups: tuple[str, ...]
    online: bool
    ephemeral: bool
    status: str | None
    """As given to :class:`Update`."""
    node: str
    since: int
    """When it came online or went offline."""
    epoch: int
    unsettled: int
    paused: str | None = None
    """The reason, as given to :class:`Pause`; None: it is not paused."""
    folder: bool = False
    """As it said when it registered last to receive."""


class Agents(msgspec.Struct, frozen=True):
    """-> ``tuple[AgentRecord, ...]`` by name. None: no filter."""

    id: str | None = None
    capability: str | None = None
    group: str | None = None
    online: bool | None = None


class Peek(msgspec.Struct, frozen=True):
    """-> :class:`Peeked`. ``agent`` may be ``@capability``."""

    agent: str
    limit: int


class Peeked(msgspec.Struct, frozen=True):
    """``by_priority`` has five counts. ``heads`` are the first unsettled copies, delayed ones
    too, by priority, then seq."""

    count: int
    size: int
    oldest: int | None
    by_priority: tuple[int, ...]
    heads: tuple[Copy, ...]


class History(msgspec.Struct, frozen=True):
    """-> ``tuple[Message, ...]`` by seq, after ``after``: of ``thread``, empty unless ``agent``
    sent or received something in it; without ``thread`` all that ``agent`` sent or received."""

    agent: str
    thread: str | None
    after: int
    limit: int


class Fate(msgspec.Struct, frozen=True):
    """What became of one copy. Times are None until they come."""

    agent: str
    """The mailbox: an agent, or ``@capability`` while it is unassigned."""
    attempts: int
    deliveries: int
    delivered_at: int | None
    read_at: int | None
    settled_at: int | None
    outcome: Settled | None
    reason: str | None
    due_at: int | None
    """When its next attempt may begin, while it waits for that."""
    lease_until: int | None


class Trace(msgspec.Struct, frozen=True):
    """-> ``tuple[Traced, ...]``: messages with this id that ``agent`` sent or has a copy of."""

    agent: str
    id: str


class Traced(msgspec.Struct, frozen=True):
    """A message and the fate of every copy, by agent."""

    message: Message
    copies: tuple[Fate, ...]


class DeadLetters(msgspec.Struct, frozen=True):
    """-> ``tuple[DeadLetter, ...]`` by seq, after ``after``. ``agent`` None: everybody's."""

    agent: str | None
    after: int
    limit: int


class DeadLetter(msgspec.Struct, frozen=True):
    """A copy that was given up or refused."""

    agent: str
    copy: Copy
    outcome: Settled
    reason: str
    settled_at: int


class Nodes(msgspec.Struct, frozen=True):
    """-> ``tuple[NodeRecord, ...]`` by name."""


class NodeRecord(msgspec.Struct, frozen=True):
    """What the store knows of a node."""

    node: str
    role: str
    address: str
    alive: bool
    since: int
    """When this life of it began, or when it was found dead."""
    beat_at: int
    agents: int
    """Online there."""
    lead: int
    """The epoch of the lease while it holds it, else 0."""


Query = Agents | Peek | History | Trace | DeadLetters | Nodes | Revocations | Trail | Archives
