"""The tail of a chain on the disk: where it ends, and what the archive says there of itself.

Reads segments and writes nothing; what is done about it is the writer's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from trishula_broker.audit import chain, segment
from trishula_broker.audit.blocks import Mark
from trishula_broker.audit.chain import Link
from trishula_broker.audit.records import VERSION
from trishula_broker.audit.sealing import Sealer
from trishula_broker.audit.segment import ChainName, Segment
from trishula_broker.audit.times import parse

BOOKKEEPING: Final = frozenset(("segment", "sealed", "removed"))
"""Events that tell of the archive itself; a segment of nothing else is not sealed for its age."""
_POS: Final = re.compile(rb'\{"n":[0-9]+,"pos":([0-9]+),')
_BLOCK: Final = re.compile(rb',"block":"([0-9a-f]{64}|)","hash":"[0-9a-f]{64}"\}\Z')


class Own(msgspec.Struct):
    """What is looked for in the archive's own records."""

    event: str
    at: str
    segment: int = 0
    skip: int = 0
    skip_version: int = 0
    version: int = VERSION
    prev: str = ""


_decode: Final = msgspec.json.Decoder(Own).decode
_NO_RECORD: Final = Own("", "")


def own(line: bytes) -> Own:
    """What a line says; of a damaged one nothing."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NO_RECORD


class Tail(NamedTuple):
    """What the last segment of a chain tells."""

    link: Link
    mark: Mark
    """How far the chain has the trail."""
    skip: int
    """Records behind it that are there already: a crash came before the rest."""
    skip_version: int
    """The version of their form."""
    version: int
    """That of the segment."""
    began: int
    """When it was begun, wall-clock milliseconds; 0 where it does not say so."""
    idle: bool
    """It has nothing but what tells of the archive itself."""


def read(text: bytes) -> Tail | None:
    """The tail in the lines of a segment, which end whole; None when none of them is a record."""
    lines = list(segment.lines(text))
    for line in reversed(lines):
        taken = chain.take_apart(line)
        if taken is not None:
            link = Link(taken.number, taken.digest)
            break
    else:
        return None
    header = own(lines[0])
    try:
        began = parse(header.at)
    except ValueError:
        began = 0
    mark, skip = _mark(lines, header)
    idle = all(own(line).event in BOOKKEEPING for line in lines)
    skip_version = header.skip_version or header.version
    return Tail(link, mark, skip, skip_version, header.version, began, idle)


def _mark(lines: Sequence[bytes], header: Own) -> tuple[Mark, int]:
    """How far the trail is with these lines, and how many records are behind that."""
    skip = 0
    for line in reversed(lines):
        block = _BLOCK.search(line)
        pos = _POS.match(line)
        if block is not None and pos is not None:
            mark = Mark(int(pos[1]), bytes.fromhex(block[1].decode()) or None)
            return mark, skip + (header.skip if line is lines[0] else 0)
        if pos is not None:
            skip += 1
    return Mark(), skip


def damage(each: Segment, text: bytes) -> str | None:
    """Which line of a segment no hub has written, for people; None where all look like records."""
    for n, line in enumerate(segment.lines(text), 1):
        if chain.take_apart(line) is None or not own(line).event:
            return f"{each.path}: line {n} is no record"
    return None


def unsaid(
    found: Sequence[Segment], text: bytes, name: ChainName, sealer: Sealer | None
) -> list[Segment]:
    """Segments that a crash left sealed without a record that says so.

    Args:
        found: those of the chain, in order.
        text: what the last one holds.

    Raises:
        OSError: one cannot be read.
    """
    sealed = [each for each in found if each.sealed][-3:]
    said = _said(text)
    if not sealed or sealed[-1].number in said:
        return []  # those before it were said before
    for each in found[-3:-1]:
        said |= _said(segment.read(each, name, sealer).text)
    return [each for each in sealed if each.number not in said]


def _said(text: bytes) -> set[int]:
    """Segments of which a record says how they were sealed."""
    return {
        own(line).segment for line in segment.lines(text) if b'"event":"sealed","segment":' in line
    }


def hash_of(number: int, folder: Path, name: ChainName, sealer: Sealer | None) -> str | None:
    """The hash of a record; empty where it is not in its place, None where its segment is gone.

    Raises:
        OSError: a file cannot be read.
    """
    start = b'{"n":%d,' % number
    for each in reversed(segment.segments(folder)):
        text = segment.read(each, name, sealer).text
        at = 0 if text.startswith(start) else text.find(b"\n" + start) + 1
        if at or text.startswith(start):
            taken = chain.take_apart(text[at : text.find(b"\n", at)])
            return "" if taken is None else taken.digest.hex()
        first = chain.take_apart(text[: max(0, text.find(b"\n"))])
        if first is not None and first.number < number:
            return ""
    return None
