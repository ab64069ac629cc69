"""Records chained by hashes: none can be changed, removed, added or moved unseen. No files.

A line is ``{"n":N,…,"hash":"H"}``. H is SHA-256 over the last line's hash, 32 bytes, and the line's
own bytes before ``,"hash"``; the first line continues 32 zero bytes.
"""

from __future__ import annotations

import hashlib
import re
from binascii import hexlify
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

ZERO: Final = bytes(32)
TAIL: Final = len(b',"hash":""}') + 64
"""Bytes of a line behind what its hash is over, without the line's end."""
_BLOCK: Final = b',"block":"'
_BLOCK_BYTES: Final = len(_BLOCK) + len('"') + 64
_LINE: Final = re.compile(rb'\{"n":([1-9][0-9]{0,17}),.*,"hash":"([0-9a-f]{64})"\}\Z', re.DOTALL)
_sha256: Final = hashlib.sha256


class Link(NamedTuple):
    """Where a chain ends: the number of its last record, and the hash there."""

    number: int = 0
    digest: bytes = ZERO

    @property
    def hash(self) -> str:
        """In hexadecimal, as it is written."""
        return self.digest.hex()


class Line(NamedTuple):
    """A line taken apart."""

    number: int
    hashed: bytes
    digest: bytes


def close(link: Link, begun: Sequence[bytes]) -> tuple[Link, list[bytes]]:
    """The chain behind ``link`` with lines that have their numbers and all but their hash."""
    digest = link.digest
    lines: list[bytes] = []
    add = lines.append
    for hashed in begun:
        one = _sha256(digest)
        one.update(hashed)
        digest = one.digest()
        add(b'%b,"hash":"%b"}\n' % (hashed, hexlify(digest)))
    return Link(link.number + len(begun), digest), lines


def extend(link: Link, records: Iterable[bytes]) -> tuple[Link, list[bytes]]:
    """The chain behind ``link`` with ``records``, JSON without braces; its end and new lines."""
    return close(link, [b'{"n":%d,%b' % each for each in enumerate(records, link.number + 1)])


def take_apart(line: bytes) -> Line | None:
    """A line, without its end, or None for what is none."""
    found = _LINE.match(line)
    if found is None:
        return None
    return Line(int(found[1]), line[:-TAIL], bytes.fromhex(found[2].decode()))


def said(line: bytes) -> bytes:
    """What a line, without its end, says: all but its hash, and the digest of a block before that.
    Somebody who looks for ``cafe`` means none of those."""
    told = line[:-TAIL]
    block = told[-_BLOCK_BYTES:]
    return told[:-_BLOCK_BYTES] if block.startswith(_BLOCK) else told


def digest_of(before: bytes, hashed: bytes) -> bytes:
    """What a line's hash must be behind one with the hash ``before``."""
    return _sha256(before + hashed).digest()
