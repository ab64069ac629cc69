"""What a commit can do about agents and their sessions: they come, change and leave."""

from __future__ import annotations

from trishula_broker.store.message import Copy
from trishula_broker.store.op import Op, Outcome


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
    folder: bool = False
    """Whether it has a shared folder, and goes there when ordered (ordered.py)."""


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

    One that goes on and is online is first given what waits for its capabilities, as by
    :class:`Assign`: what was sent to it later must not go out before. When that are more than
    ``limit`` copies it stays paused for now (:attr:`Paused.more`), and another one of these with
    ``again`` goes on; that one does nothing when somebody has said ``on`` in between.
    """

    agent: str
    on: bool
    reason: str = ""
    limit: int = 200
    again: bool = False


class Paused(Outcome, frozen=True, gc=False):
    """``known``: whether there is such an agent; nothing changed when not."""

    known: bool
    pools: tuple[str, ...] = ()
    """Only in entries of the trail of an earlier version, which assigned nothing."""
    copies: tuple[tuple[str, Copy], ...] = ()
    """Who got what of its pools."""
    more: bool = False
    """It could take more of them, and is still paused."""
    overtaken: bool = False
    """It was paused since it began to go on; nothing changed."""
