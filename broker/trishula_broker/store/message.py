"""A logged message, and the copies that point to it."""

from __future__ import annotations

from typing import Literal, TypeGuard

import msgspec

from trishula_protocol import limits

Settled = Literal["done", "rejected", "expired", "dead", "recalled", "dropped"]
"""How a copy can end. ``dead`` and ``rejected`` copies are the dead letters."""


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


Due = tuple[int, int, str]
"""The order of expiry: (expires_at, seq, mailbox)."""
