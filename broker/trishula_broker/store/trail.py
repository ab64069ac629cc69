"""What commits did, in their order: the store's side of the audit (docs/decisions/0012).

An entry is part of the commit that it tells of, and as durable. It stays until every archiver has
it. While a namespace has no archiver, nothing is kept.
"""

from __future__ import annotations

import msgspec

from trishula_broker.store.op import Op, Outcome


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What one commit of one node did."""

    pos: int
    """Its place in the namespace's trail: 1, 2, 3 and so on without gaps."""
    at: int
    node: str
    done: tuple[tuple[Op, Outcome], ...]
    """Operations that changed what an auditor asks about, each with its outcome."""


class Head(msgspec.Struct, frozen=True):
    """What a node's archive was at a moment, signed: later it must still begin like that."""

    chain: str
    """``trail``, or ``local`` for what only this node saw."""
    number: int
    """Of the chain's last record."""
    hash: str
    """Of the chain up to there, SHA-256 in hexadecimal."""
    at: int
    kid: str
    signature: str
    """Ed25519 over the other fields, base64url."""


class Archive(Op, frozen=True, gc=False):
    """``node`` has the trail up to ``upto`` on its disk, so it need not be kept for it.

    The first one makes ``node`` an archiver; from then on entries are kept. ``upto`` never goes
    back. ``digests`` are of whole blocks of entries, (number of the block, SHA-256).
    """

    node: str
    upto: int
    heads: tuple[Head, ...] = ()
    digests: tuple[tuple[int, str], ...] = ()


class Archived(Outcome, frozen=True, gc=False):
    """``last`` is the last entry there is, 0 for none; ``first`` the oldest that is kept,
    ``last + 1`` for none."""

    first: int
    last: int


class Trail(msgspec.Struct, frozen=True):
    """-> ``tuple[Entry, ...]``: those behind ``after``, by pos; ``limit`` at most, and, but for
    the first, ``limit_bytes`` as they are stored."""

    after: int
    limit: int
    limit_bytes: int = 4 << 20


class Archives(msgspec.Struct, frozen=True):
    """-> ``tuple[ArchiveRecord, ...]`` by node."""


class ArchiveRecord(msgspec.Struct, frozen=True):
    """What the store knows of an archiver."""

    node: str
    upto: int
    at: int
    """When it was last heard."""
    heads: tuple[Head, ...]
    """The last of each chain."""
    digests: tuple[tuple[int, str], ...]
    """The last ones, at most 10 000, by number."""
