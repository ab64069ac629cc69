"""What a commit can do about mail that has to move on: pools, what is due, dead letters."""

from __future__ import annotations

from trishula_broker.store.message import Copy, Due
from trishula_broker.store.op import Op, Outcome


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
