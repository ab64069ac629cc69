"""What a commit can do about the nodes of a namespace: they beat, lead, end, tell."""

from __future__ import annotations

from trishula_broker.store.hints import Hint
from trishula_broker.store.op import Op, Outcome
from trishula_broker.store.ordered import FolderOrder


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
    last: bool = False
    """It has drained and ends: it is dead from here, and nobody need wait for its lease to end."""


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
    folder: FolderOrder | None = None
    """Whether agents are ordered to their shared folder: see ``ordered.py``."""


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
