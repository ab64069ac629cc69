"""Who is known by a token of theirs, and which tokens were taken back (docs/decisions/0011)."""

from __future__ import annotations

from typing import Final

import msgspec

from trishula_broker.store.op import Op, Outcome

REVOCATION_SPARE_MS: Final = 300_000
"""A revocation is kept this much longer than it matters: clocks differ, and tokens have leeway."""


class Revocation(msgspec.Struct, frozen=True, gc=False):
    """One token, by its id; or, where that is empty, all tokens of an agent that were issued
    before a moment. ``until``: when they have all expired anyway; None: never."""

    token_id: str
    agent: str
    issued_before: int
    until: int | None


class Introduce(Op, frozen=True, gc=False):
    """Make ``agent`` known, for a token was made for it: an address whose mailbox fills. It is
    offline. Of who is known already nothing changes, but that it is ephemeral no more."""

    agent: str


class Revoke(Op, frozen=True, gc=False):
    """Keep ``what`` until it cannot matter any more, and tell every node.

    One of the same token or agent is joined with it: the later of the two moments counts.
    Those that cannot matter any more are let go of.
    """

    what: Revocation


class Noted(Outcome, frozen=True, gc=False):
    """Of :class:`Introduce` and :class:`Revoke`: whether it was news."""

    new: bool


class Revocations(msgspec.Struct, frozen=True):
    """-> ``tuple[Revocation, ...]`` by token, then by agent: all that are kept."""


def joined(before: Revocation | None, what: Revocation) -> Revocation:
    """Two revocations of the same, as one."""
    if before is None:
        return what
    forever = before.until is None or what.until is None
    return Revocation(
        what.token_id,
        what.agent,
        max(before.issued_before, what.issued_before),
        None if forever else max(before.until or 0, what.until or 0),
    )


def matters(until: int | None, now: int) -> bool:
    """Whether a revocation is still to be kept."""
    return until is None or until + REVOCATION_SPARE_MS > now
