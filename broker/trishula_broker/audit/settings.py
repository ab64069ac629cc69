"""What an operator may say about the archive."""

from __future__ import annotations

from typing import Literal

import msgspec

Body = Literal["full", "digest", "none"]


class AuditSettings(msgspec.Struct, frozen=True):
    """How an archive is written; ages in seconds, sizes in bytes."""

    body: Body = "full"
    """Of each message: the whole envelope; the SHA-256 of its payload alone; not even that."""
    redact: tuple[str, ...] = ()
    """Paths into the envelope whose values are replaced by their digest."""
    segment_bytes: int = 64 << 20
    """A segment is sealed when its lines, before they are compressed, are this large,"""
    segment_age_s: int = 3600
    """or when its first record is this old."""
    max_age_s: int = 0
    """Sealed segments are removed when their last record is older; 0 keeps them."""
    max_bytes: int = 0
    """The oldest sealed segments are removed when a chain's files are larger; 0 keeps them."""
