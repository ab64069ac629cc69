"""What a store is: the few methods of :class:`Store`, and the operations of one commit.

A store keeps, for each namespace, **one append-only log, and mailboxes that point into it**.
A *copy* is one recipient's pointer to a logged message, with its fate: waiting, read, settled.
The hub's core makes :class:`Op` objects and is handed one outcome for each; a store decides
nothing but what it alone can know at the moment of the commit: who exists, who is full, what
was there before. All times are wall-clock milliseconds of the store's clock.

Rules every implementation keeps (tests/contract holds them to it):

- ``commit`` applies its operations in order, each wholly or not at all, and returns when they
  would survive a crash. When it raises :class:`StoreUnavailable` what became of them is unknown.
- Each live registration of an agent has an *epoch*, larger than every one before it in the
  store. An operation with an ``epoch`` that is not the agent's current one changes nothing and
  comes back as :class:`Fenced`. Epoch 0 is a side session, or the hub itself: not checked.
- A copy that is settled stays settled; settling it again by the same agent is a success.
- Agents are known by name inside a namespace. ``hub`` is the sender of the hub's own mail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from trishula_broker.store.hints import (
    Ended,
    Hint,
    Mail,
    Missed,
    Passed,
    Presence,
    Receipt,
    Revoked,
    Tapped,
    Tapping,
    Wanted,
    Withdrawn,
)
from trishula_broker.store.message import (
    Copy,
    Due,
    Message,
    Settled,
    is_delayed,
)
from trishula_broker.store.op import Fenced, Op, Outcome
from trishula_broker.store.operations.batch import (
    Batch,
    Operation,
)
from trishula_broker.store.operations.duties import (
    Assign,
    Assigned,
    Retried,
    Retry,
    Sweep,
    Swept,
    Unassign,
    Unassigned,
)
from trishula_broker.store.operations.mail import (
    Accept,
    Accepted,
    Delivered,
    Discard,
    Discarded,
    Duplicate,
    Fetch,
    Fetched,
    FullNotice,
    Marked,
    Notice,
    Read,
    Refused,
    Requeue,
    Requeued,
    Settle,
)
from trishula_broker.store.operations.nodes import (
    Beat,
    Beating,
    EndNode,
    NodeEnded,
    Tell,
    Told,
)
from trishula_broker.store.operations.sessions import (
    Forget,
    Forgotten,
    Leave,
    Left,
    Pause,
    Paused,
    Register,
    Registered,
    Update,
    Updated,
)
from trishula_broker.store.ordered import FolderOrder, FolderOrdered, OrderFolder
from trishula_broker.store.questions import (
    AgentRecord,
    Agents,
    DeadLetter,
    DeadLetters,
    Fate,
    History,
    NodeRecord,
    Nodes,
    Peek,
    Peeked,
    Query,
    Trace,
    Traced,
)
from trishula_broker.store.revoked import Introduce, Noted, Revocation, Revocations, Revoke
from trishula_broker.store.trail import (
    Archive,
    Archived,
    ArchiveRecord,
    Archives,
    Entry,
    Head,
    Trail,
)
from trishula_protocol import limits

__all__ = [
    "Accept",
    "Accepted",
    "AgentRecord",
    "Agents",
    "Archive",
    "ArchiveRecord",
    "Archived",
    "Archives",
    "Assign",
    "Assigned",
    "Batch",
    "Beat",
    "Beating",
    "Copy",
    "DeadLetter",
    "DeadLetters",
    "Delivered",
    "Discard",
    "Discarded",
    "Due",
    "Duplicate",
    "EndNode",
    "Ended",
    "Entry",
    "Fate",
    "Fenced",
    "Fetch",
    "Fetched",
    "FolderOrder",
    "FolderOrdered",
    "Forget",
    "Forgotten",
    "FullNotice",
    "Head",
    "Hint",
    "History",
    "Introduce",
    "Leave",
    "Left",
    "Mail",
    "MailboxLimits",
    "Marked",
    "Message",
    "Missed",
    "NodeEnded",
    "NodeRecord",
    "Nodes",
    "Noted",
    "Notice",
    "Op",
    "Operation",
    "OrderFolder",
    "Outcome",
    "Passed",
    "Pause",
    "Paused",
    "Peek",
    "Peeked",
    "Presence",
    "Query",
    "Read",
    "Receipt",
    "Refused",
    "Register",
    "Registered",
    "Requeue",
    "Requeued",
    "Retention",
    "Retried",
    "Retry",
    "Revocation",
    "Revocations",
    "Revoke",
    "Revoked",
    "Settle",
    "Settled",
    "Store",
    "StoreError",
    "StoreHeld",
    "StoreUnavailable",
    "Sweep",
    "Swept",
    "Tapped",
    "Tapping",
    "Tell",
    "Told",
    "Trace",
    "Traced",
    "Trail",
    "Unassign",
    "Unassigned",
    "Update",
    "Updated",
    "Wanted",
    "Withdrawn",
    "is_delayed",
]


class Retention(msgspec.Struct, frozen=True):
    """How long settled messages stay in the log. Whichever limit is reached first."""

    max_age_ms: int = 30 * 24 * 3600 * 1000
    max_bytes: int = 10 << 30
    dedup_ms: int = limits.DEDUP_MS
    dedup_ids: int = limits.DEDUP_IDS
    archiver_ms: int = 24 * 3600 * 1000
    """The trail waits so long for an archiver that is not heard."""
    archiver_away_ms: int = 30 * 60 * 1000
    """Or so long, while a namespace's trail is larger than ``trail_bytes``."""
    trail_bytes: int = 1 << 30


class MailboxLimits(msgspec.Struct, frozen=True):
    """What an unsettled mailbox may hold; the hub's own mail does not count."""

    messages: int = limits.MAILBOX_MESSAGES
    bytes: int = limits.MAILBOX_BYTES


class StoreError(Exception):
    """A store cannot be used; the text says why and what to do."""


class StoreHeld(StoreError):
    """Another process has the store; the text says which."""


class StoreUnavailable(StoreError):
    """The store cannot promise anything right now. Trying later may succeed."""


class StoreAway(StoreUnavailable):
    """Nothing answers where the store is to be."""


class StoreSlow(StoreAway):
    """Nothing has answered in time."""


class Store(Protocol):
    """Constructed by its implementation with :class:`MailboxLimits`; see the module's rules."""

    async def open(self) -> None:
        """Take the store for this process, make or migrate its schema.

        Every agent that was online is offline afterwards, as if by :class:`Leave`, where
        nobody else serves the store.

        Raises:
            StoreHeld: another process has it.
            StoreError: it cannot be read, or a newer version made it.
        """
        ...

    def on_hints(self, tell: Callable[[str, Sequence[Hint]], None]) -> None:
        """Tell ``(namespace, hints)`` in the event loop; said once, before :meth:`open`."""
        ...

    def commit(self, now: int, batches: Sequence[Batch]) -> Awaitable[list[list[Outcome]]]:
        """Apply operations durably; one outcome for each, in the same shape. One call at a time.

        When it returns, every hint that earlier commits caused for this node has been told, or
        :class:`Missed` has. What takes no longer than a moment may be over when the call itself
        returns: then it returns a future that is done.

        Args:
            now: wall-clock milliseconds; stores with a clock of their own use that.

        Raises:
            StoreUnavailable: what became of the operations is unknown.
        """
        ...

    async def query(self, namespace: str, query: Query) -> Any:
        """Answer a question; its type says with what.

        Raises:
            StoreUnavailable: it cannot be answered now.
        """
        ...

    async def trim(self, now: int, retention: Retention) -> int:
        """Remove what retention allows, a bounded piece a call; messages removed or shortened.

        A message with an unsettled copy or a dead letter stays. A body goes before its id does:
        the id stays for the dedup window. Archivers that were silent for too long are dropped,
        and what no other needs of the trail is removed.
        """
        ...

    async def health(self) -> dict[str, Any]:
        """Particulars for ``/health``: kind, durability, size, what is wrong if anything."""
        ...

    async def close(self) -> None:
        """Give the store back."""
        ...
