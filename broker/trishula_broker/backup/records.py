"""The keys of a namespace as a file: records, each a piece of one key.

A record is four bytes, its length, and a MessagePack array: the key without what all keys of the
namespace begin with, its type, and its members as Redis gives them: of a hash and of a sorted set
two items each. Knows nothing of Redis but that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Final, Literal

import msgspec

_LENGTH: Final = struct.Struct(">I")
Kind = Literal["hash", "zset", "set"]


class Record(msgspec.Struct, array_like=True, gc=False):
    """Some members of a key."""

    key: str
    kind: Kind
    members: list[bytes]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Record).decode


def write(file: IO[bytes], record: Record) -> int:
    """Add it; how many bytes that takes."""
    data = _encode(record)
    file.write(_LENGTH.pack(len(data)))
    file.write(data)
    return _LENGTH.size + len(data)


class Reader:
    """What was written, of a file that comes in pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that ``data`` ends.

        Raises:
            ValueError: it has something else in it.
        """
        rest = self._rest
        rest += data
        at = 0
        while len(rest) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest, at)
            end = at + _LENGTH.size + length
            if end > len(rest):
                break
            try:
                yield _decode(bytes(rest[at + _LENGTH.size : end]))
            except msgspec.DecodeError as error:
                raise ValueError(str(error)) from None
            at = end
        del rest[:at]

    def end(self) -> None:
        """That was all.

        Raises:
            ValueError: it ended within a record.
        """
        if self._rest:
            raise ValueError("it ends within a record")
