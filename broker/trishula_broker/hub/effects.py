"""What the hub's core wants done by whoever owns the sockets."""

from __future__ import annotations

from typing import Any, NamedTuple


class Send(NamedTuple):
    """Write a frame."""

    link: int
    frame: bytes
    binary: bool


class Close(NamedTuple):
    """Close a connection, after what was sent before."""

    link: int
    code: int
    reason: str


class Pause(NamedTuple):
    """Stop reading a connection."""

    link: int


class Resume(NamedTuple):
    """Go on reading it."""

    link: int


class Note(NamedTuple):
    """Something worth a log line. ``fields`` never hold a payload or a token."""

    event: str
    fields: dict[str, Any]


class Record(NamedTuple):
    """Something for the audit that no commit tells of: who came and went, and what was refused.
    ``fields`` hold what JSON can; never a payload or a token."""

    event: str
    fields: dict[str, Any]


Effect = Send | Close | Pause | Resume | Note | Record
