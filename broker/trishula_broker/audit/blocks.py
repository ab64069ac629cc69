"""Digests of blocks of the trail, by which nodes see that they archived the same.

A block is 1 000 entries: number 0 is 1 to 1 000. Its digest runs over its entries as the store
keeps them, before any redaction: D(entry) = SHA-256(D before it + entry), 32 zero bytes before
the first. So the digest so far, 32 bytes, is all that has to be known to go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from trishula_broker.audit.chain import ZERO
from trishula_broker.store.trail import Entry

SIZE: Final = 1_000
_encode: Final = msgspec.msgpack.Encoder().encode


class Mark(NamedTuple):
    """How far an archive has the trail."""

    pos: int = 0
    block: bytes | None = ZERO
    """The digest of the block so far; None where it began in the middle of one."""

    @property
    def text(self) -> str:
        """The digest in hexadecimal, empty for None."""
        return "" if self.block is None else self.block.hex()

    @property
    def ended(self) -> tuple[int, str] | None:
        """The number and digest of the block that ends here."""
        if self.pos and self.pos % SIZE == 0 and self.block is not None:
            return self.pos // SIZE - 1, self.block.hex()
        return None


def behind(mark: Mark, entry: Entry) -> Mark:
    """How far it is with ``entry``, the next one."""
    before = ZERO if mark.pos % SIZE == 0 else mark.block
    if before is None:
        return Mark(entry.pos, None)
    head = b"%d %d %b\n" % (entry.pos, entry.at, entry.node.encode())
    return Mark(entry.pos, hashlib.sha256(before + head + _encode(entry.done)).digest())


def at(pos: int) -> Mark:
    """The mark of an archive that begins behind ``pos``."""
    return Mark(pos, ZERO if pos % SIZE == 0 else None)


def marked(records: Sequence[bytes], mark: Mark | None) -> Sequence[bytes]:
    """``records``, the last of which says how far the trail is with them."""
    if mark is None or not records:
        return records
    return [*records[:-1], with_block(records[-1], mark)]


def with_block(record: bytes, mark: Mark) -> bytes:
    """A record that says how far the trail is with it."""
    return b'%b,"block":"%b"' % (record, mark.text.encode())
