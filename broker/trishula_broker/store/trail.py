"""What commits did, in their order: the store's side of the audit (docs/decisions/0012).

An entry is part of the commit that it tells of, and as durable. It stays until every archiver has
it. While a namespace has no archiver, nothing is kept. What of a commit is kept is said by
:mod:`trishula_broker.store.recorded`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from trishula_broker.store.op import Op, Outcome

DIGESTS_KEPT: Final = 10_000
"""Digests of blocks that a store keeps of each archiver: the newest."""

Done = tuple[Op, Outcome]
"""An operation and what became of it."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What one commit of one node did; never nothing."""

    pos: int
    """Its place in the namespace's trail: 1, 2, 3 and so on without gaps."""
    at: int
    node: str
    done: tuple[Done, ...]
    """Operations that changed what an auditor asks about, each with its outcome. Bodies are
    where they came in: in an :class:`Accept` and in notices; a :class:`Copy` has none."""


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

    The first one makes ``node`` an archiver; from this commit on entries are kept. ``upto`` never
    goes back, and counts no further than the last entry there is. ``digests`` are of whole blocks
    of entries, (number of the block, SHA-256). ``ends``: it archives no more, and what is known
    of it is forgotten.
    """

    node: str
    upto: int
    heads: tuple[Head, ...] = ()
    digests: tuple[tuple[int, str], ...] = ()
    ends: bool = False


class Archived(Outcome, frozen=True, gc=False):
    """``last`` is the last entry there is, 0 for none; ``first`` the oldest that is kept,
    ``last + 1`` for none. What this commit itself did has its entry after that.

    An archiver that is behind ``first - 1`` was given up, and will not see what is between. One
    that is ahead of ``last`` has the trail of another store, or of one set back to a backup.
    """

    first: int
    last: int


class Trail(msgspec.Struct, frozen=True):
    """-> ``tuple[Entry, ...]``: those behind ``after``, by pos; ``limit`` at most, and, but for
    the first, ``limit_bytes`` as they are stored."""

    after: int
    limit: int
    limit_bytes: int = 4 << 20


class Archives(msgspec.Struct, frozen=True):
    """-> ``tuple[ArchiveRecord, ...]`` by node; of digests those of blocks from ``since`` on."""

    since: int = 0


class ArchiveRecord(msgspec.Struct, frozen=True):
    """What the store knows of an archiver."""

    node: str
    upto: int
    at: int
    """When it was last heard."""
    heads: tuple[Head, ...]
    """The last of each chain, by its name."""
    digests: tuple[tuple[int, str], ...]
    """The last ones, at most :data:`DIGESTS_KEPT`, by number."""
    dropped: bool = False
    """It was silent for too long, so the trail does not wait for it until it is heard again."""


def merge_heads(known: Iterable[Head], new: Iterable[Head]) -> tuple[Head, ...]:
    """The last head of each chain, by its name."""
    chains = {head.chain: head for head in (*known, *new)}
    return tuple(chains[name] for name in sorted(chains))


def dropped_warning(namespace: str, node: str) -> str:
    """What the operator is to know of an archiver that was dropped."""
    return (
        f"the audit of node {node} in namespace {namespace} was silent for too long: the trail no "
        f"longer waits for it, and its archive has a gap. Start that node with its audit again"
    )
