"""What operations and their outcomes have in common."""

from __future__ import annotations

from typing import Final

import msgspec

CODES: Final = {
    "Register": 1,
    "Leave": 2,
    "Forget": 3,
    "Accept": 4,
    "Delivered": 5,
    "Read": 6,
    "Settle": 7,
    "Requeue": 8,
    "Discard": 9,
    "Assign": 10,
    "Unassign": 11,
    "Retry": 12,
    "EndNode": 13,
    "Pause": 14,
    "Introduce": 15,
    "Revoke": 16,
    "OrderFolder": 17,
    "Registered": 101,
    "Left": 102,
    "Forgotten": 103,
    "Accepted": 104,
    "Marked": 106,
    "Requeued": 108,
    "Discarded": 109,
    "Assigned": 110,
    "Unassigned": 111,
    "Retried": 112,
    "NodeEnded": 113,
    "Paused": 114,
    "Noted": 115,
    "FolderOrdered": 117,
}
"""How the trail calls what it keeps. Databases have these numbers and the order of the fields:
none is ever used for something else, and new fields come last, with a default."""


def _code(name: str) -> int | str:
    return CODES.get(name, name)


class Op(msgspec.Struct, frozen=True, gc=False, array_like=True, tag_field="$", tag=_code):
    """Base of what a commit can do."""


class Outcome(msgspec.Struct, frozen=True, gc=False, array_like=True, tag_field="$", tag=_code):
    """Base of what became of an operation."""


class Fenced(Outcome, frozen=True, gc=False):
    """The operation came from a registration that is no longer current. Nothing changed."""

    epoch: int
    """The current epoch; 0 when the agent has no live session or is not known."""
