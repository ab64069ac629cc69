"""What a commit can do: operations, and the outcome of each.

Each operation is applied wholly or not at all; :mod:`trishula_broker.store.base` has the rules.
Times are wall-clock milliseconds of the store's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from trishula_broker.store.hints import Hint
from trishula_broker.store.message import Copy, Due, Message, Settled
from trishula_broker.store.op import Op, Outcome
from trishula_broker.store.revoked import Introduce, Revoke
from trishula_broker.store.trail import Archive
from trishula_protocol.address import Address


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
    replaces: int = 0
    """The epoch of the session of ``agent`` that this node knows to be live; 0: none."""
    unread: tuple[int, ...] = ()
    """What that session was given and has neither read nor settled: each has one more delivery,
    when ``replaces`` is still the current epoch."""


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
    """``waiting`` unsettled copies kept it from being forgotten; 0 when it was. ``again``: it
    was not known, so nothing changed."""

    waiting: int
    again: bool = False


class Pause(Op, frozen=True, gc=False):
    """Hand out nothing more of the mailbox of ``agent`` (``on``), or go on with it.

    While it is paused its mailbox fills and expires as ever, what it holds is settled as ever,
    and no :class:`Accept` or :class:`Assign` picks it for a capability. Registering changes
    nothing about that; forgetting does. Doing it twice is a success; the last reason counts.
    """

    agent: str
    on: bool
    reason: str = ""


class Paused(Outcome, frozen=True, gc=False):
    """``known``: whether there is such an agent; nothing changed when not."""

    known: bool
    pools: tuple[str, ...] = ()
    """Of one that goes on and is online: its capabilities with unassigned mail waiting."""


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
      online, or the pool holds a copy that this agent did not send: the capability's pool,
      so that what waits there is not overtaken.
    - *limits*: a recipient whose mailbox is full gets no copy. An only recipient: the message
      is refused. In a fan-out the rest is accepted, and ``full_notice`` goes to the sender.
      An answer that ends a copy by ``settles`` finds room with whoever sent that one, full or
      not: two full mailboxes that wait for each other's answers would be stuck for ever.
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
    behind: bool = False
    """Somebody online could take it, but others wait in the pool before it: :class:`Assign`."""


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
    At most ``limit`` copies and, but for the first, ``limit_bytes`` of bodies. None of an agent
    that is paused.
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
    paused: bool = False
    """Nothing is handed out, whatever waits."""


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
    again: tuple[int, ...] = ()
    """Those of ``seqs`` that were so before: settled already or, for :class:`Read`, read and
    leased, so that this one renews the lease."""


class Requeue(Op, frozen=True, gc=False):
    """An attempt at each of these has ended without settling: ``attempts`` grows by one, the
    lease is void, and it waits ``retry_delay_ms(attempts)`` before it can be fetched again.

    One that waits like that already is left as it is, so that a repetition counts once."""

    agent: str
    epoch: int
    seqs: tuple[int, ...]


class Requeued(Outcome, frozen=True, gc=False):
    """``(seq, attempts, due_at)`` of each; others were settled or not this agent's. ``again``:
    those that were left as they were."""

    copies: tuple[tuple[int, int, int], ...]
    stale: tuple[int, ...]
    again: tuple[int, ...] = ()


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
    one outcome that ends a dead letter, and nothing else. ``node``, when given, spares what
    belongs to an agent that is online at another node: only that one knows what it handed out.
    ``offline_only`` spares what belongs to an agent that is online anywhere.
    """

    agent: str
    epoch: int
    seq: int
    outcome: Settled
    reason: str
    notice: Notice | None
    unread_only: bool = False
    node: str = ""
    offline_only: bool = False


class Discarded(Outcome, frozen=True, gc=False):
    """``done`` is False when the copy was settled otherwise, spared, or is not there;
    ``current`` is then how it ended, None when it has not or is not there. ``again``: it had
    ended like that before."""

    done: bool
    current: Settled | None = None
    notice: Message | None = None
    again: bool = False


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
    """Capabilities whose pools now hold something, and what was put back, by priority."""

    pools: tuple[str, ...]
    seqs: tuple[int, ...] = ()


class Sweep(Op, frozen=True, gc=False):
    """Look for what time has made due; nothing changes. ``limit`` of each kind at most.

    ``node`` is told of the expired copies of agents that are online there, the empty one, for
    who is alone, of everybody's and nobody's. With the epoch of
    the lease in ``lead`` it is told of everything that is nobody's, too; with one that is not
    current it is :class:`Fenced`. ``after`` goes on where :attr:`Swept.expired` ended.
    """

    limit: int
    node: str = ""
    lead: int = 0
    after: Due | None = None


class Swept(Outcome, frozen=True, gc=False):
    """What is due now, and when to look again (None: when something new happens)."""

    expired: tuple[tuple[str, Copy], ...]
    """``(mailbox, copy)`` whose ttl has passed, held by a session or not, by :data:`Due`."""
    orphans: tuple[str, ...]
    """Agents with ``@`` mail that left longer ago than their lease."""
    ghosts: tuple[str, ...]
    """Ephemeral agents that left longer than a minute ago."""
    next_at: int | None
    pools: tuple[str, ...] = ()
    """Capabilities whose pools hold something although an agent that offers them is online.
    It may be that agent's own."""
    dead: tuple[str, ...] = ()
    """Nodes whose beats have stopped: :class:`EndNode` them."""
    more: Due | None = None
    """Others have expired behind this one; None when these are all."""


class Retry(Op, frozen=True, gc=False):
    """Put a dead letter back into its mailbox, its attempts and deliveries forgotten.

    Its ttl does not apply again: from here on ``expires_at`` of its message is None wherever this
    copy is handed out or shown; other copies of a fan-out keep theirs.
    """

    agent: str
    seq: int


class Retried(Outcome, frozen=True, gc=False):
    """The copy as it waits again; None when there is no such dead letter or agent."""

    copy: Copy | None


class Beat(Op, frozen=True, gc=False):
    """This node lives, and asks for the lease on the duties.

    The lease goes to ``node`` when nobody holds it or its holder's beats have stopped; from a
    ``failover`` to a ``primary`` also before; never to one that does not want it, who gives it
    back instead. Each change of hands has a new epoch.
    """

    node: str
    life: str
    """One run of the node's process. Sessions of another life of ``node`` are over from here."""
    role: str
    address: str
    """Where clients find it, for people; may be empty."""
    lease_ms: int
    """From now on without a beat, after which it is dead and its lease free."""
    leads: bool = True
    """Whether it wants the lease; not while it drains."""


class Beating(Outcome, frozen=True, gc=False):
    """``lead`` is the lease's epoch when this node holds it, else 0."""

    member: bool
    """Whether it was alive in the store's eyes until now: nobody has ended it, late as it may
    be. If not, all its sessions are over."""
    lead: int
    leader: str
    """The node that holds the lease; empty when none does."""
    alone: bool
    """No other node lives: there is nobody to :class:`Tell`."""
    at: int = 0
    """The time by the store's own clock, which the hub goes by; 0 where it has none."""


class EndNode(Op, frozen=True, gc=False):
    """End sessions of a node whose beats have stopped, ``limit`` at most, each as by
    :class:`Leave` with nothing known to be unread. Nothing happens when it beats again.
    :class:`Fenced` when ``lead`` is not the lease's epoch."""

    node: str
    lead: int
    limit: int


class NodeEnded(Outcome, frozen=True, gc=False):
    """Who is offline now. ``more``: others were there. ``sweep_at`` as in :class:`Left`."""

    agents: tuple[str, ...]
    more: bool
    sweep_at: int | None


class Tell(Op, frozen=True, gc=False):
    """Tell other nodes something, once the commit is durable: the one where ``agent`` is online,
    or when it is None the one called ``node``, or all of them. Stores nothing; never told to the
    node that says it."""

    agent: str | None
    hint: Hint
    node: str = ""


class Told(Outcome, frozen=True, gc=False):
    """It was said. Whether anybody heard is not known."""


Operation = (
    Register
    | Leave
    | Update
    | Forget
    | Pause
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
    | Beat
    | EndNode
    | Tell
    | Introduce
    | Revoke
    | Archive
)


class Batch(msgspec.Struct, frozen=True):
    """Operations of one namespace, in order."""

    namespace: str
    ops: Sequence[Operation]
