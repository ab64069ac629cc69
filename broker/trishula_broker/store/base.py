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

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeGuard

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import Address

Settled = Literal["done", "rejected", "expired", "dead", "recalled", "dropped"]
"""How a copy can end. ``dead`` and ``rejected`` copies are the dead letters."""


# --- what a store holds -------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, gc=False):
    """A logged message, shared by all its copies."""

    seq: int
    id: str
    sender: str
    type: str
    to: str
    priority: int
    thread: str | None
    """Conversation; None when it is the message's own id."""
    receipt: bool
    accepted_at: int
    expires_at: int | None
    body: bytes
    """The stored envelope: a JSON object without seq, attempt, expires_in and settles.
    Empty once retention has trimmed it."""


class Copy(msgspec.Struct, frozen=True, gc=False):
    """One recipient's pointer to a message, as a mailbox hands it out."""

    message: Message
    attempts: int
    """Attempts that ended after ``read``, or by ``requeue``."""
    deliveries: int
    """Sessions that ended while holding it unread."""
    via: str | None
    """The capability it was addressed to, when it came by ``@capability``."""


def is_delayed(due_at: int | None, now: int) -> TypeGuard[int]:
    """Whether a copy due at ``due_at`` waits for its next attempt.

    One that is due later than any delay lasts is due now: the clock was set back.
    """
    return due_at is not None and now < due_at <= now + limits.RETRY_DELAYS_MS[-1]


# --- operations, and the outcome of each --------------------------------------------------


class Op(msgspec.Struct, frozen=True, gc=False):
    """Base of what a commit can do."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """Base of what became of an operation."""


class Fenced(Outcome, frozen=True, gc=False):
    """The operation came from a registration that is no longer current. Nothing changed."""

    epoch: int
    """The current epoch; 0 when the agent has no live session or is not known."""


class Register(Op, frozen=True, gc=False):
    """Make ``agent`` known and, when ``receive``, start its session under a new epoch.

    A session that was live is over from here on: what it had delivered unread goes out again,
    and each of its attempts that was read has ended (see :class:`Requeue` for what that means).
    ``capabilities`` and ``groups`` replace what was known; None keeps it. Every capability ever
    offered stays known as an address of the namespace.
    """

    agent: str
    node: str
    session: str
    receive: bool
    ephemeral: bool
    lease_ms: int
    capabilities: tuple[str, ...] | None
    groups: tuple[str, ...] | None


class Registered(Outcome, frozen=True, gc=False):
    """``epoch`` is 0 for a side session, which changes nobody's presence."""

    epoch: int
    capabilities: tuple[str, ...]
    groups: tuple[str, ...]
    pools: tuple[str, ...]
    """Capabilities of this agent with unassigned mail waiting: :class:`Assign` them."""


class Leave(Op, frozen=True, gc=False):
    """The session ``epoch`` of ``agent`` has ended; the agent is offline from now on.

    ``unread`` were delivered and neither read nor settled: each has one more delivery.
    Attempts that were read have ended, as in :class:`Register`.
    """

    agent: str
    epoch: int
    unread: tuple[int, ...]


class Left(Outcome, frozen=True, gc=False):
    """Presence is now offline. ``sweep_at``: when a :class:`Sweep` has something to do for it."""

    sweep_at: int | None


class Update(Op, frozen=True, gc=False):
    """Change what the directory says of ``agent``; a None field stays as it was."""

    agent: str
    epoch: int
    status: str | None
    """Status as JSON text: ``{"text": ..., "details": ...}``."""
    join: str | None
    leave: str | None


class Updated(Outcome, frozen=True, gc=False):
    """The agent's groups afterwards."""

    groups: tuple[str, ...]


class Forget(Op, frozen=True, gc=False):
    """Remove ``agent`` from the directory. Refused while its mailbox holds anything, and,
    when ``epoch`` is 0, while it is online (:class:`Fenced`). Its part in the log stays."""

    agent: str
    epoch: int


class Forgotten(Outcome, frozen=True, gc=False):
    """``waiting`` unsettled copies kept it from being forgotten; 0 when it was."""

    waiting: int


class FullNotice(msgspec.Struct, frozen=True, gc=False):
    """The hub's ERROR about copies that found their mailbox full.

    Its body is ``head``, the JSON array of those agents' names, ``tail``; the store makes it
    in the accepting commit, because only there is it known who was full.
    """

    id: str
    head: bytes
    tail: bytes
    thread: str | None = None


class Accept(Op, frozen=True, gc=False):
    """Log a message and point its recipients' mailboxes to it, in one step.

    - *dedup*: the same ``(sender, id)`` in the log makes it a :class:`Duplicate`.
    - *recipients*: an agent: that one. Broadcast: every known agent but the sender and
      ephemeral ones. Group: its members but the sender. Capability: the online agent offering
      it with the fewest unsettled copies (by name when equal), never the sender; nobody
      online: the capability's pool.
    - *limits*: a recipient whose mailbox is full gets no copy. An only recipient: the message
      is refused. In a fan-out the rest is accepted, and ``full_notice`` goes to the sender.
    - ``settles``: also settles this seq of the sender's own mailbox as done, or nothing at all
      happens (:class:`Refused` ``stale_ack``); one that is done already is a success.
    """

    sender: str
    epoch: int
    address: Address
    id: str
    type: str
    priority: int
    thread: str | None
    reply_to: str | None
    receipt: bool
    ttl: int | None
    """Milliseconds after acceptance at which it expires."""
    body: bytes
    settles: int | None = None
    full_notice: FullNotice | None = None


class Accepted(Outcome, frozen=True, gc=False):
    """It is in the log. ``recipients`` have a copy each; ``pool`` names the capability whose
    pool holds it instead. ``notice`` is the hub's mail to the sender about ``full`` ones."""

    seq: int
    accepted_at: int
    recipients: tuple[str, ...]
    full: tuple[str, ...] = ()
    pool: str | None = None
    notice: Message | None = None


class Duplicate(Outcome, frozen=True, gc=False):
    """The sender used the id before; nothing changed. ``body`` is what it was used for, empty
    when trimmed: the core tells a repetition from a conflict."""

    seq: int
    body: bytes


class Refused(Outcome, frozen=True, gc=False):
    """Nothing was stored and the id is free."""

    code: Literal["unknown_recipient", "mailbox_full", "stale_ack"]
    agents: tuple[str, ...] = ()
    """The full mailboxes, for ``mailbox_full``."""


class Fetch(Op, frozen=True, gc=False):
    """The first waiting copies of a mailbox, by priority, then seq, strictly after ``after``.

    Waiting: neither settled nor in the delay before a next attempt. Nothing changes.
    At most ``limit`` copies and, but for the first, ``limit_bytes`` of bodies.
    """

    agent: str
    epoch: int
    after: tuple[int, int] | None
    limit: int
    limit_bytes: int


class Fetched(Outcome, frozen=True, gc=False):
    """``more``: others wait behind the last. ``due_at``: when the first delayed copy is due."""

    copies: tuple[Copy, ...]
    more: bool
    due_at: int | None


class Delivered(Op, frozen=True, gc=False):
    """Note for :class:`Trace` when copies went out, ``(seq, at)`` each. No promise depends on
    it, so the core says it late, and only of what is not settled soon."""

    agent: str
    epoch: int
    seqs: tuple[tuple[int, int], ...]


class Read(Op, frozen=True, gc=False):
    """The application has these; ``lease_ms`` from now each must be renewed or settled.

    A copy that waits in the delay before its next attempt is taken up again and that attempt
    has not ended: a handler that outlived its connection goes on. ``want`` asks for the copies,
    for a hub that does not hold them.
    """

    agent: str
    epoch: int
    seqs: tuple[int, ...]
    lease_ms: int
    want: bool = False


class Settle(Op, frozen=True, gc=False):
    """The application is done with these. ``delivered_at`` is when each went out, for the
    record, or None where it is not known; as long as ``seqs``."""

    agent: str
    epoch: int
    seqs: tuple[int, ...]
    delivered_at: tuple[int | None, ...]


class Marked(Outcome, frozen=True, gc=False):
    """Of :class:`Read`, :class:`Settle` and :class:`Delivered`: where it holds, and where the
    copy is not, or is no longer, this agent's. A seq that is settled already is not stale for
    :class:`Settle`; for :class:`Read` it is ``seqs`` too, and nothing changes."""

    seqs: tuple[int, ...]
    stale: tuple[int, ...]
    copies: tuple[Copy, ...] = ()
    """Of a :class:`Read` with ``want``: those of ``seqs`` that are not settled."""


class Requeue(Op, frozen=True, gc=False):
    """An attempt at each of these has ended without settling: ``attempts`` grows by one, the
    lease is void, and it waits ``retry_delay_ms(attempts)`` before it can be fetched again.

    One that waits like that already is left as it is, so that a repetition counts once."""

    agent: str
    epoch: int
    seqs: tuple[int, ...]


class Requeued(Outcome, frozen=True, gc=False):
    """``(seq, attempts, due_at)`` of each; others were settled or not this agent's."""

    copies: tuple[tuple[int, int, int], ...]
    stale: tuple[int, ...]


class Notice(msgspec.Struct, frozen=True, gc=False):
    """Mail from the hub about an accepted message, to its sender. Outside mailbox limits;
    dedup by ``("hub", id)``; silently nothing when ``to`` is not known any more."""

    to: str
    id: str
    thread: str | None
    """The conversation it belongs to, as in :class:`Message`."""
    body: bytes


class Discard(Op, frozen=True, gc=False):
    """End a copy otherwise than by ``done`` and tell its sender, in one step.

    ``agent`` is the mailbox: an agent, or ``@capability`` for a pool. ``unread_only`` spares a
    copy that was ever read. ``expired`` spares one whose time has not come. ``dropped`` is the
    one outcome that ends a dead letter, and nothing else.
    """

    agent: str
    epoch: int
    seq: int
    outcome: Settled
    reason: str
    notice: Notice | None
    unread_only: bool = False


class Discarded(Outcome, frozen=True, gc=False):
    """``done`` is False when the copy was settled otherwise, spared, or is not there;
    ``current`` is then how it ended, None when it has not or is not there."""

    done: bool
    current: Settled | None = None
    notice: Message | None = None


class Assign(Op, frozen=True, gc=False):
    """Hand mail of a capability's pool to online agents that offer it, each as in
    :class:`Accept`; what only its own sender could take stays.

    It was accepted already, so a full mailbox takes it too: nothing would bring it there later.
    """

    capability: str
    limit: int


class Assigned(Outcome, frozen=True, gc=False):
    """Who got what. ``more``: some is left that somebody online can take."""

    copies: tuple[tuple[str, Copy], ...]
    more: bool


class Unassign(Op, frozen=True, gc=False):
    """Put the unsettled ``@`` mail of an agent that stayed away back into its pools.

    Nothing happens when it came back meanwhile. A copy that was read counts an attempt.
    """

    agent: str


class Unassigned(Outcome, frozen=True, gc=False):
    """Capabilities whose pools now hold something."""

    pools: tuple[str, ...]


class Sweep(Op, frozen=True, gc=False):
    """Look for what time has made due; nothing changes. ``limit`` of each kind at most."""

    limit: int


class Swept(Outcome, frozen=True, gc=False):
    """What is due now, and when to look again (None: when something new happens)."""

    expired: tuple[tuple[str, Copy], ...]
    """``(mailbox, copy)`` whose ttl has passed, held by a session or not."""
    orphans: tuple[str, ...]
    """Agents with ``@`` mail that left longer ago than their lease."""
    ghosts: tuple[str, ...]
    """Ephemeral agents that left longer than a minute ago."""
    next_at: int | None
    pools: tuple[str, ...] = ()
    """Capabilities whose pools hold something although an agent that offers them is online.
    It may be that agent's own."""


class Retry(Op, frozen=True, gc=False):
    """Put a dead letter back into its mailbox, its attempts and deliveries forgotten."""

    agent: str
    seq: int


class Retried(Outcome, frozen=True, gc=False):
    """The copy as it waits again; None when there is no such dead letter or agent."""

    copy: Copy | None


Operation = (
    Register
    | Leave
    | Update
    | Forget
    | Accept
    | Fetch
    | Delivered
    | Read
    | Settle
    | Requeue
    | Discard
    | Assign
    | Unassign
    | Sweep
    | Retry
)


class Batch(msgspec.Struct, frozen=True):
    """Operations of one namespace, in order."""

    namespace: str
    ops: Sequence[Operation]


# --- questions: they change nothing, and may be answered while a commit runs ----------------


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
    unsettled_bytes: int


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


Query = Agents | Peek | History | Trace | DeadLetters


# --- the store ------------------------------------------------------------------------------


class Retention(msgspec.Struct, frozen=True):
    """How long settled messages stay in the log. Whichever limit is reached first."""

    max_age_ms: int = 30 * 24 * 3600 * 1000
    max_bytes: int = 10 << 30
    dedup_ms: int = limits.DEDUP_MS
    dedup_ids: int = limits.DEDUP_IDS


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

    async def commit(self, now: int, batches: Sequence[Batch]) -> list[list[Outcome]]:
        """Apply operations durably; one outcome for each, in the same shape. One call at a time.

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
        the id stays for the dedup window.
        """
        ...

    async def health(self) -> dict[str, Any]:
        """Particulars for ``/health``: kind, durability, size, what is wrong if anything."""
        ...

    async def close(self) -> None:
        """Give the store back."""
        ...
