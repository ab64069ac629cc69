"""A file of records that is written in place, one synced write a record.

It is made as large as it will be and filled once, so that a record changes no metadata of the
file system: such a write is on the disk in the time of one, where a growing file needs several
(``loadtests.journal_bench``: 0.14 ms against 0.19, and 0.33 for a transaction of SQLite's). Only
where each half begins is it filled when it is made; the rest has its room on the disk, and is
filled by the first load that is heavy enough to get there.
Records are numbered on and on; whoever has stored the effect of all of them elsewhere lets the
file begin anew, and says from then on which number was the last. It has two halves, so that one
can be written while the effect of the other's records is still being stored. A record counts when
its checksum is right and its number the next one, so neither a torn write nor what an earlier round
left behind is taken for one.

The file says whose it is: a number that its owner draws and keeps elsewhere. Records of another
owner have other checksums.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import zlib
from pathlib import Path
from time import perf_counter
from typing import Final

from trishula_broker.store.base import StoreError
from trishula_broker.store.sqlite.pace import Pace

SIZE: Final = 32 << 20
"""Bytes of the file: a half holds what comes in half a second at full speed."""
_FILLED: Final = 4 << 20
"""Bytes at the beginning of each half that are filled when the file is made."""
_TITLE: Final = struct.Struct("<8sQQ")  # mark, owner, bytes of the file
_MARK: Final = b"trishula"
_GIVEN_UP: Final = b"none"
_HEAD: Final = struct.Struct("<IIQ")  # bytes of the record, checksum, number
_CHECKED: Final = struct.Struct("<QQI")  # owner, number, bytes: what the checksum covers, too
_SYNCED: Final = getattr(os, "O_DSYNC", 0) if sys.platform == "linux" else 0
"""With it a write returns when it is on the disk, which saves a second call."""


def make(path: Path, owner: int, size: int = SIZE) -> None:
    """Make the file for ``owner``, without records, or take over one that nobody needs.

    Raises:
        OSError: it cannot be written.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        had = os.fstat(file).st_size
        if had < size:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, had, size - had)
            else:
                os.ftruncate(file, size)
            for half in (0, size // 2):  # filled, so that no write to it allocates anything
                _fill(file, max(half, had), min(half + _FILLED, size))
        os.pwrite(file, _TITLE.pack(_MARK, owner, size), 0)
        os.fsync(file)
    finally:
        os.close(file)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _fill(file: int, at: int, end: int) -> None:
    block = bytes(1 << 20)
    while at < end:
        at += os.pwrite(file, block[: end - at], at)


class Journal:
    """The file at ``path``, which :func:`make` has made for ``owner``.

    Raises:
        OSError: as every method does, when the file cannot be read or written. What became of
            a record is unknown then; :meth:`read` tells.
        StoreError: it is not there, not whole or not the owner's.
    """

    def __init__(self, path: Path, owner: int) -> None:
        self._path = path
        self._owner = owner
        self.number = 0
        """Of the last record."""
        self.pace = Pace()
        """How quickly records are written."""
        try:
            title = _read_title(path)
        except FileNotFoundError:
            raise _unusable(path, "is missing") from None
        if title.strip() == _GIVEN_UP:
            make(path, owner)
            title = _read_title(path)
        if len(title) < _TITLE.size:
            raise _unusable(path, "is cut off")
        mark, found, size = _TITLE.unpack(title)
        self._size: int = size
        self._begin(_TITLE.size)
        if mark != _MARK or found != owner:
            raise _unusable(path, "belongs to another store")
        if path.stat().st_size < size:
            raise _unusable(path, "is cut off")
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | _SYNCED)

    def __repr__(self) -> str:
        return f"<Journal at {self._at} of {self._size}, record {self.number}>"

    def _begin(self, at: int) -> None:
        """Write at ``at`` next, where a half begins."""
        self._at = at
        self._end = self._size if at > _TITLE.size else self._middle

    @property
    def _middle(self) -> int:
        return self._size // 2

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def read(self, after: int) -> list[bytes]:
        """The records behind number ``after``, the last one stored elsewhere; writing goes on
        behind them.

        Raises:
            StoreError: it begins later than that.
        """
        found: dict[int, tuple[bytes, int]] = {}
        # Mapped: mostly the first bytes of each half are all that is looked at.
        with mmap.mmap(self._file, self._size, access=mmap.ACCESS_READ) as content:
            for half in (_TITLE.size, self._middle):
                found.update(self._read_half(content, half))
        later = [number for number in found if number > after]
        if later and after + 1 not in found:
            raise _unusable(self._path, "is of a later time")
        records: list[bytes] = []
        self.number = after
        self._begin(_TITLE.size)
        while (record := found.get(self.number + 1)) is not None:
            records.append(record[0])
            self.number += 1
            self._at = record[1]
            self._end = self._size if self._at > self._middle else self._middle
        return records

    def _read_half(self, content: mmap.mmap, at: int) -> dict[int, tuple[bytes, int]]:
        """By number, its records, and where each ends. Earlier versions knew no halves: it may go
        on in the other one."""
        found: dict[int, tuple[bytes, int]] = {}
        last = 0
        while at + _HEAD.size <= len(content):
            length, check, number = _HEAD.unpack_from(content, at)
            start = at + _HEAD.size
            record = content[start : start + length]
            if len(record) < length or self._check(record, number) != check:
                break
            if found and number != last + 1:
                break
            at, last = start + length, number
            found[number] = record, at
        return found

    def has_room(self, length: int) -> bool:
        """Whether a record of ``length`` bytes fits behind the last, in this half."""
        return self._at + _HEAD.size + length <= self._end

    @property
    def is_filling(self) -> bool:
        """Whether three quarters of this half are written."""
        return self._end - self._at < self._size // 8

    def append(self, record: bytes) -> None:
        """Write a record that fits; it would survive a crash when this returns."""
        number = self.number + 1
        head = _HEAD.pack(len(record), self._check(record, number), number)
        begun = perf_counter()
        written = os.pwritev(self._file, (head, record), self._at)
        if written != len(head) + len(record):
            raise OSError(f"wrote {written} of {len(head) + len(record)} bytes of the journal")
        if not _SYNCED:
            _sync(self._file)
        self.pace.took(perf_counter() - begun)
        self._at += written
        self.number = number

    def begin_anew(self) -> None:
        """What the records did is stored elsewhere, :attr:`number` as the last of them."""
        self._begin(_TITLE.size)

    def turn(self) -> None:
        """Go on in the other half: what its records did is stored elsewhere."""
        self._begin(_TITLE.size if self._end == self._size else self._middle)

    def _check(self, record: bytes, number: int) -> int:
        return zlib.crc32(record, zlib.crc32(_CHECKED.pack(self._owner, number, len(record))))


def _read_title(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_TITLE.size)


def _unusable(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path} {why}, and the database beside it was not closed: what was accepted last is "
        f"in the journal that belongs to it. Put that one there; or, to do without what is "
        f"in it, a file of that name with the word {_GIVEN_UP.decode()}"
    )


def _sync(file: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)  # fsync there stops at the drive's cache
        except OSError:
            os.fsync(file)  # network volumes have no more, and SQLite does the same
    else:
        os.fdatasync(file)
