"""What the core reports to whoever drives it. ``trishula.core`` says when."""

from __future__ import annotations

from typing import Any

import msgspec

from trishula.inbox import Delivery
from trishula.outbox import Outgoing
from trishula_protocol.bodies import ErrorBody, Registered
from trishula_protocol.envelope import Envelope


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of what the core reports."""


class Active(Event, frozen=True, gc=False):
    """Registered; what waited goes out with the next :meth:`AgentCore.frames`."""

    info: Registered


class Accepted(Event, frozen=True, gc=False):
    """The hub has stored these."""

    outs: list[Outgoing]


class Refused(Event, frozen=True, gc=False):
    """The hub refused ``out`` for good; nothing of it is stored."""

    out: Outgoing
    error: ErrorBody


class Answered(Event, frozen=True, gc=False):
    """The hub's answer to a question."""

    out: Outgoing
    payload: Any


class Returned(Event, frozen=True, gc=False):
    """The RESULT or ERROR of an expected command; it is settled already."""

    command_id: str
    waiter: Any
    envelope: Envelope


class Progress(Event, frozen=True, gc=False):
    """A STATUS about an expected command; it is settled already."""

    command_id: str
    waiter: Any
    envelope: Envelope


class NewMail(Event, frozen=True, gc=False):
    """Deliveries to hand out, in this order; :class:`Lost` takes back those not taken."""

    deliveries: list[Delivery]


class Receipts(Event, frozen=True, gc=False):
    """``by`` has had these delivered, has read them, or is done with them."""

    stage: str
    ids: list[str]
    by: str


class FolderMode(Event, frozen=True, gc=False):
    """The hub orders agents that have a shared folder to it (``on``), or back; what it said when
    we registered is in :class:`Active`."""

    on: bool


class Presence(Event, frozen=True, gc=False):
    """The hub's news to a watcher, or a copy to a tap."""

    payload: Any


class StaleMail(Event, frozen=True, gc=False):
    """Held by another agent or session now, or taken back by its sender: what the application
    has of it, ``deliveries``. What it has not begun is not held any more."""

    deliveries: list[Delivery]


class Confirmed(Event, frozen=True, gc=False):
    """The hub has confirmed settlements; ``AgentCore.idle`` may be true now."""


class Trouble(Event, frozen=True, gc=False):
    """The hub said something that concerns no message of ours, or cannot be read. For the log."""

    reason: str


class Waits(Event, frozen=True, gc=False):
    """The hub accepts nothing now: what was sent waits, and is sent again. Once for each reason,
    until something is accepted. For the log."""

    reason: str


class Hangup(Event, frozen=True, gc=False):
    """End the link, with this code, and then say :meth:`AgentCore.disconnect`."""

    code: int
    reason: str


class Lost(Event, frozen=True, gc=False):
    """The link is over. ``error``: the hub did not let us register."""

    code: int
    reason: str
    error: ErrorBody | None
