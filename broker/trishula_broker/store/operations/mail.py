"""What a commit can do about messages and copies: accepted, handed out, ended."""

from __future__ import annotations

from typing import Literal

import msgspec

from trishula_broker.store.message import Copy, Message, Settled
from trishula_broker.store.op import Op, Outcome
from trishula_protocol.address import Address


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
    delivered_at: int | None = None
    """When the copy that ``settles`` names went out, as for :class:`Settle`."""


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
