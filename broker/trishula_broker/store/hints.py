"""What one node's commits mean for another (docs/decisions/0007)."""

from __future__ import annotations

from typing import Literal

import msgspec

from trishula_broker.store.message import Copy, Message, Settled
from trishula_broker.store.revoked import Revocation


class Hint(msgspec.Struct, frozen=True, gc=False):
    """What another node's commit means for this one. It may be lost: see :class:`Missed`."""


class Mail(Hint, frozen=True, gc=False):
    """The mailbox of ``agent`` has ``copy``; None: look, for it is too big for a hint, or has an
    earlier attempt behind it."""

    agent: str
    copy: Copy | None


class Withdrawn(Hint, frozen=True, gc=False):
    """A copy ended, or moved, by another's doing: it must not go out any more."""

    agent: str
    seq: int


class Ended(Hint, frozen=True, gc=False):
    """Sessions of ``agent`` before ``epoch`` are over: it registered elsewhere."""

    agent: str
    epoch: int


class Receipt(Hint, frozen=True, gc=False):
    """Tell the sender ``to`` what became of its messages ``ids``: ``stage`` by ``by``."""

    to: str
    stage: Literal["delivered", "read", "done"]
    by: str
    ids: tuple[str, ...]


class Presence(Hint, frozen=True, gc=False):
    """The directory changed, for those who watch: the announcement as JSON."""

    change: bytes


class Revoked(Hint, frozen=True, gc=False):
    """Tokens were taken back: their sessions end."""

    what: Revocation


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """Which mail an operator listens to; None: whatever it is."""

    sender: str | None
    to: str | None
    """An address as it was written, or an agent that has a copy."""
    type: str | None
    thread: str | None


class Passed(msgspec.Struct, frozen=True, gc=False):
    """A message that was accepted, or a copy that was settled."""

    message: Message
    """Without its body when ``outcome`` is given."""
    agents: tuple[str, ...]
    """Who has a copy; or who settled it."""
    pool: str | None = None
    """The capability whose pool has it, before any agent does."""
    outcome: Settled | None = None
    """How a copy was settled."""


class Tapping(Hint, frozen=True, gc=False):
    """Somebody at ``node`` listens: tell it what passes here of what is wanted. Said each second,
    and forgotten when it is not. ``since`` tells one listening of a node from its next."""

    node: str
    since: int
    wanted: tuple[Wanted, ...]
    """Nothing: it has ended."""


class Tapped(Hint, frozen=True, gc=False):
    """What passed at ``node``, for who is :class:`Tapping` ``since`` then."""

    node: str
    since: int
    first: int
    """How many came before these, the ones that got lost too."""
    passed: tuple[Passed, ...]


class Missed(Hint, frozen=True, gc=False):
    """Hints of this namespace were lost, or may have been: look at everything again."""
