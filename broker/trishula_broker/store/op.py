"""What operations and their outcomes have in common."""

from __future__ import annotations

import msgspec


class Op(msgspec.Struct, frozen=True, gc=False):
    """Base of what a commit can do."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """Base of what became of an operation."""


class Fenced(Outcome, frozen=True, gc=False):
    """The operation came from a registration that is no longer current. Nothing changed."""

    epoch: int
    """The current epoch; 0 when the agent has no live session or is not known."""
