"""Lines as they are written to a segment: pieces, compressed each for itself.

So a file can be read, and gone on with, wherever a crash ended it, and is finished without being
read again. A piece is a frame of zstd behind a skippable one, which says how long it is and what
it adds up to; ``zstd -dc`` reads all of them in a row.

    50 2a 4d 18 | 8, 4 bytes | length, 4 bytes | CRC-32 of that and the frame, 4 bytes | frame
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final
from zlib import crc32

import zstandard

from trishula_broker.audit.sealing import Unreadable

LEVEL: Final = 1
"""Of zstd: the quickest that finds what records have in common."""
PIECE: Final = 128 << 10
"""Bytes of lines in a piece at least, where there are so many at once."""
BEGIN: Final = b"\x50\x2a\x4d\x18\x08\x00\x00\x00"
_LENGTH: Final = struct.Struct("<I")
_HEAD: Final = len(BEGIN) + 8


class Packer:
    """Makes pieces."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=LEVEL)

    def pack(self, lines: Iterable[bytes]) -> list[bytes]:
        """``lines``, whole ones with their ends, as pieces."""
        return [self._piece(text) for text in _together(lines)]

    def _piece(self, text: bytes) -> bytes:
        frame = self._zstd.compress(text)
        length = _LENGTH.pack(len(frame))
        return b"".join((BEGIN, length, _LENGTH.pack(crc32(frame, crc32(length))), frame))


def _together(lines: Iterable[bytes]) -> Iterator[bytes]:
    some: list[bytes] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(some)
            some, size = [], 0
    if some:
        yield b"".join(some)


def unpack(data: bytes, finished: bool) -> tuple[bytes, int]:
    """The lines in the pieces of a file, and how many pieces there are.

    Args:
        finished: whether it must end whole.

    Raises:
        Unreadable: with what could be read before.
    """
    zstd = zstandard.ZstdDecompressor()
    view = memoryview(data)
    texts: list[bytes] = []
    at = 0
    while at < len(data):
        begin, end, text = at + _HEAD, at + _HEAD, None
        if end <= len(data):
            end += _LENGTH.unpack_from(data, at + len(BEGIN))[0]
        if end <= len(data):
            text = _text(zstd, data[at:begin], view[begin:end])
        if text is None:
            number = len(texts)
            why = f"piece {number} is {'cut off' if end > len(data) else 'damaged'}"
            torn = not finished and (end >= len(data) or not any(view[end:]))
            raise Unreadable(why, b"".join(texts), at, number, torn)
        texts.append(text)
        at = end
    return b"".join(texts), len(texts)


def _text(zstd: zstandard.ZstdDecompressor, head: bytes, frame: memoryview) -> bytes | None:
    """What a piece says; None where it is damaged."""
    length = head[len(BEGIN) : len(BEGIN) + 4]
    if head[: len(BEGIN)] != BEGIN or _LENGTH.pack(crc32(frame, crc32(length))) != head[-4:]:
        return None
    try:
        return zstd.decompress(frame)
    except zstandard.ZstdError:
        return None
