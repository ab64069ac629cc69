"""One chain on the disk: appended to, sealed, thinned out, and found again after a crash.

Everything here blocks, and belongs into one thread. What :meth:`ChainWriter.write` was given is on
the disk when it returns, and not at all when it raises; what :meth:`ChainWriter.append` was given
is there after the next :meth:`ChainWriter.sync`, and to be given again when that raises. It knows
nothing of stores or hubs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from trishula_broker.audit import chain, segment
from trishula_broker.audit.blocks import Mark
from trishula_broker.audit.chain import Link
from trishula_broker.audit.records import Told
from trishula_broker.audit.sealing import CHUNK, MAGIC, Sealer
from trishula_broker.audit.segment import LOCAL, ChainName, Segment
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.times import parse

VERSION: Final = 2
"""Of the form of records, in each segment's first one. In version 1 each operation had a record."""
BOOKKEEPING: Final = frozenset(("segment", "sealed", "removed"))
"""Events that tell of the archive itself; a segment of nothing else is not sealed for its age."""
_POS: Final = re.compile(rb'\{"n":[0-9]+,"pos":([0-9]+),')
_BLOCK: Final = re.compile(rb',"block":"([0-9a-f]{64}|)","hash":"[0-9a-f]{64}"\}\Z')


class _Kept(msgspec.Struct):
    """What is looked for in the archive's own records."""

    event: str
    at: str
    segment: int = 0
    skip: int = 0
    skip_version: int = 0
    version: int = VERSION
    prev: str = ""


_decode: Final = msgspec.json.Decoder(_Kept).decode
_NO_RECORD: Final = _Kept("", "")


def _kept(line: bytes) -> _Kept:
    """What a line says; of a damaged one nothing."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NO_RECORD


class Damaged(Exception):
    """A chain cannot be continued; the text says where and what to do."""


class _Place(NamedTuple):
    """How far a segment was written."""

    link: Link
    mark: Mark
    skip: int
    size: int
    chunks: int
    idle: bool


class ChainWriter:
    """Writes a chain.

    Args:
        root: the archive's folder.
        name: which chain.
        node: this hub's name.
        settings: how segments are made and kept.
        sealer: encrypts, when given.
        clock: wall-clock milliseconds.
        sync: makes a file's content survive a crash.
    """

    def __init__(
        self,
        root: Path,
        name: ChainName,
        node: str,
        settings: AuditSettings,
        sealer: Sealer | None,
        clock: Callable[[], int],
        sync: Callable[[int], None] | None = None,
    ) -> None:
        self.name = name
        self.folder = name.folder(root)
        self.link = Link()
        self.found = Link()
        """Where it ended when it was opened."""
        self.mark = Mark()
        self.skip = 0
        """Records behind :attr:`mark` that are there already: a crash came before the rest,"""
        self.version = VERSION
        """and the version of their form."""
        self.problem: str | None = None
        """What was found damaged when it was opened."""
        self._node = node
        self._settings = settings
        self._sealer = sealer
        self._clock = clock
        self._sync = sync if sync is not None else _sync
        self._file = -1
        self._open: Segment | None = None
        self._size = 0
        self._chunks = 0
        self._began = 0
        self._idle = True
        self._made_by = VERSION
        """The version of the segment that was found last."""
        self._synced = self._place
        """Up to where it would survive a crash."""
        self._unsealed: list[Segment] = []
        self._unsaid: list[Segment] = []
        """Sealed, and not yet said to be."""
        self._digests: dict[int, tuple[int, str]] = {}
        """What those have of bytes, and their SHA-256, where it is known."""

    def __repr__(self) -> str:
        return f"<ChainWriter {self.name} record {self.link.number} pos {self.mark.pos}>"

    # --- the start and the end ---

    def open(self) -> None:
        """Find where the chain ends, and go on there.

        Raises:
            OSError: the folder cannot be read or written.
            Damaged: it holds what this chain cannot continue.
        """
        for folder in (*reversed(list(self.folder.parents)[:2]), self.folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            segment.sync_folder(folder)
        for left in self.folder.glob("*.tmp"):
            left.unlink()
        found = segment.segments(self.folder)
        for each in found:
            if each.sealed:  # what it was made from may still be there
                for encrypted in (False, True):
                    (self.folder / segment.file_name(each.number, False, encrypted)).unlink(True)
        while found:
            last = found[-1]
            held = segment.read(last, self.name, self._sealer)
            whole = held.text[: held.text.rfind(b"\n") + 1]
            if held.problem is not None and not held.torn:
                self.problem = f"{last.path}: {held.problem}"
                if not whole:
                    raise Damaged(
                        f"{self.problem}; `broker audit verify` tells more. Give the key it was "
                        "made with, or move this archive away to begin a new one"
                    )
            if not whole:  # made, and its first record did not get there
                last.path.unlink()
                found.pop()
                continue
            self._read(whole)
            self.found = self.link
            self.problem = self.problem or _damage(last, whole)
            fits = last.encrypted == (self._sealer is not None) and self._made_by == VERSION
            if last.sealed or not fits or self.problem:  # a damaged file is left as it is
                self._unsealed += [each for each in found if not each.sealed]
                self._begin(last.number + 1)
            else:
                self._unsealed += [each for each in found[:-1] if not each.sealed]
                size = held.good if last.encrypted else len(whole)
                self._continue(last, size, held.chunks)
            self._find_unsaid(found, whole)
            return
        self._begin(1)

    def _read(self, text: bytes) -> None:
        """Take over where the lines of a segment end."""
        self.skip = 0
        self.version = VERSION
        all_lines = text.split(b"\n")[:-1]
        header = _kept(all_lines[0])
        try:
            self._began = parse(header.at)
        except ValueError:
            self._began = 0
        self._idle = all(_kept(line).event in BOOKKEEPING for line in all_lines)
        for line in reversed(all_lines):
            taken = chain.take_apart(line)
            if taken is not None:
                self.link = Link(taken.number, taken.digest)
                break
        else:
            raise Damaged(f"{self.folder}: no record is whole; see `broker audit verify`")
        for line in reversed(all_lines):
            mark = _BLOCK.search(line)
            pos = _POS.match(line)
            if mark is not None and pos is not None:
                self.mark = Mark(int(pos[1]), bytes.fromhex(mark[1].decode()) or None)
                self.skip += header.skip if line is all_lines[0] else 0
                break
            if pos is not None:
                self.skip += 1
        self._made_by = header.version
        self.version = header.skip_version or header.version

    def _find_unsaid(self, found: Sequence[Segment], text: bytes) -> None:
        """Segments that a crash left sealed without a record that says so."""
        sealed = [each for each in found if each.sealed][-3:]
        said = _said(text)
        if not sealed or sealed[-1].number in said:
            return  # those before it were said before
        for each in found[-3:-1]:
            said |= _said(segment.read(each, self.name, self._sealer).text)
        self._unsaid = [each for each in sealed if each.number not in said]

    def contradicts(self, number: int, digest: str, when: str) -> str | None:
        """How what was found when it was opened differs from what the node signed at ``when``:
        that record ``number`` was the last, with the hash ``digest``. None where it does not, or
        where retention has removed that record.

        Raises:
            OSError: a file cannot be read.
        """
        end = self.found
        if number > end.number:
            return (
                f"its end was cut off: it ended with record {end.number}, and by the head of "
                f"{when} it had {number}"
            )
        here = end.hash if number == end.number else self._hash_of(number)
        if here in (None, digest):
            return None
        return f"its record {number} is not what the node signed at {when}"

    def _hash_of(self, number: int) -> str | None:
        """Of a record; empty where it is not in its place, None where its segment is gone."""
        start = b'{"n":%d,' % number
        for each in reversed(segment.segments(self.folder)):
            text = segment.read(each, self.name, self._sealer).text
            at = 0 if text.startswith(start) else text.find(b"\n" + start) + 1
            if at or text.startswith(start):
                taken = chain.take_apart(text[at : text.find(b"\n", at)])
                return "" if taken is None else taken.digest.hex()
            first = chain.take_apart(text[: max(0, text.find(b"\n"))])
            if first is not None and first.number < number:
                return ""
        return None

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def is_open(self) -> bool:
        """Whether records can be written."""
        return self._file >= 0

    # --- writing ---

    def write(self, records: Sequence[bytes], mark: Mark | None = None) -> None:
        """Put records, JSON without braces, behind the chain, and on the disk.

        Args:
            mark: how far the trail is with them; the last one says so.

        Raises:
            OSError: nothing was written.
        """
        if not records:
            return
        self.make_room()
        self.append(*chain.extend(self.link, marked(records, mark)), mark)
        self.sync()

    def make_room(self) -> None:
        """Begin a new segment if one is due.

        Raises:
            OSError: it was not begun.
        """
        if self.is_due and not self.skip:
            self._begin((self._open.number if self._open else 0) + 1)

    def append(
        self, link: Link, lines: Sequence[bytes], mark: Mark | None = None, skip: int = 0
    ) -> None:
        """As :meth:`write`, of what :func:`chain.extend` made of :attr:`link` and :func:`marked`
        records, ``skip`` of which are still ahead; it is on the disk after :meth:`sync`.

        Raises:
            OSError: nothing was written.
        """
        self._append(link, lines)
        self._idle = False
        if mark is not None:
            self.mark, self.skip = mark, skip

    def sync(self) -> None:
        """Make what was appended survive a crash.

        Raises:
            OSError: nothing was appended since the last time, as :attr:`mark` and :attr:`link` say.
        """
        if self._synced == self._place:
            return
        try:
            self._sync(self._file)
        except OSError:  # nobody knows what of it is on the disk: it is written again
            self.link, self.mark, self.skip, self._size, self._chunks, self._idle = self._synced
            self._cut()
            raise
        self._synced = self._place

    @property
    def durable(self) -> Link:
        """What the chain would end with after a crash, at least. Heads are of that: one of more
        would accuse this node when it comes back without it."""
        return self._synced.link

    @property
    def is_synced(self) -> bool:
        """Whether all of it would survive a crash."""
        return self._synced == self._place

    @property
    def _place(self) -> _Place:
        return _Place(self.link, self.mark, self.skip, self._size, self._chunks, self._idle)

    def say(self, event: str, fields: dict[str, Any], mark: Mark | None = None) -> None:
        """Write one record of the archive's own.

        Raises:
            OSError: nothing was written.
        """
        pos = None if mark is None else mark.pos
        record = Told(event, fields).record(self._clock(), self._node, self.name.namespace, pos)
        if event in BOOKKEEPING:
            self._append(*chain.extend(self.link, [record]))
            self.sync()
        else:
            self.write([record], mark)

    def _append(self, link: Link, lines: Sequence[bytes]) -> None:
        data, chunks = b"".join(lines), self._chunks
        if self._sealer is not None:
            assert self._open is not None
            name = self._open.bound_name(self.name)
            pieces = _pieces(lines)
            data = b"".join(
                self._sealer.seal(piece, name, chunks + n) for n, piece in enumerate(pieces)
            )
            chunks += len(pieces)
        try:
            _write_all(self._file, data)
        except OSError:
            self._cut()
            raise
        self._size += len(data)
        self._chunks = chunks
        self.link = link

    def _cut(self) -> None:
        """Go on where the file is known to be whole."""
        with suppress(OSError):  # the next write, or the next start, begins at the same place
            os.ftruncate(self._file, self._size)
        os.lseek(self._file, self._size, os.SEEK_SET)

    # --- segments ---

    @property
    def is_due(self) -> bool:
        """Whether the open segment is to be sealed."""
        if self._size >= self._settings.segment_bytes:
            return True
        age = self._clock() - self._began
        return not self._idle and age >= self._settings.segment_age_s * 1000

    def _continue(self, last: Segment, size: int, chunks: int) -> None:
        self._file = os.open(last.path, os.O_WRONLY | os.O_CLOEXEC)
        if os.fstat(self._file).st_size != size:  # a torn end; the trail still has what it was
            os.ftruncate(self._file, size)
            self._sync(self._file)
        os.lseek(self._file, size, os.SEEK_SET)
        self._open, self._size, self._chunks = last, size, chunks
        self._synced = self._place

    def _begin(self, number: int) -> None:
        """Open segment ``number``; its first record says what it continues."""
        if self._file >= 0:
            self.sync()
        before = (self._file, self._open, self._size, self._chunks, self._began, self._idle)
        link = self.link
        encrypted = self._sealer is not None
        path = self.folder / segment.file_name(number, False, encrypted)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._open = Segment(path, number, False, encrypted)
            self._size = self._chunks = 0
            if encrypted:
                _write_all(self._file, MAGIC)
                self._size = len(MAGIC)
            self._began, self._idle = self._clock(), True
            settings = self._settings
            fields: dict[str, Any] = {
                "chain": str(self.name),
                "segment": number,
                "prev": self.link.hash,
                "version": VERSION,
                "body": settings.body,
                "redact": settings.redact,
            }
            if self.skip:
                fields["skip"] = self.skip
                fields["skip_version"] = self.version
            pos = None if self.name.kind == LOCAL else self.mark.pos
            record = Told("segment", fields).record(
                self._began, self._node, self.name.namespace, pos
            )
            if pos is not None:
                record = with_block(record, self.mark)
            self._append(*chain.extend(self.link, [record]))
            self._sync(self._file)
            segment.sync_folder(self.folder)
        except BaseException:
            # Only what was there before counts, also where the new file cannot be removed.
            file = self._file
            self._file, self._open, self._size, self._chunks, self._began, self._idle = before
            with suppress(OSError):
                os.ftruncate(file, 0)
            os.close(file)
            with suppress(OSError):
                path.unlink()
            self.link = link
            raise
        self._synced = self._place
        if before[0] >= 0:
            os.close(before[0])
            assert before[1] is not None
            self._unsealed.append(before[1])

    @property
    def is_new(self) -> bool:
        """Whether :attr:`skip` counts records in the form of now."""
        return self.version == VERSION

    @property
    def needs_tidying(self) -> bool:
        """Whether there is something for :meth:`tidy` but retention."""
        return bool(self.is_due or self._unsealed or self._unsaid)

    def tidy(self) -> None:
        """Seal what is due, and remove what retention allows.

        Raises:
            OSError: it could not be done now; nothing is lost.
        """
        self.make_room()
        while self._unsealed:
            sealed = self._seal(self._unsealed[0])
            self._unsealed.pop(0)
            if sealed is not None:
                self._unsaid.append(sealed)
        while self._unsaid:
            self._say_sealed(self._unsaid[0])
            self._unsaid.pop(0)
        self._retire()

    def _seal(self, old: Segment) -> Segment | None:
        encrypted = self._sealer is not None
        path = self.folder / segment.file_name(old.number, True, encrypted)
        sealed = Segment(path, old.number, True, encrypted)
        if path.exists() and not old.path.exists():  # all but the folder was on the disk before
            segment.sync_folder(self.folder)
            return sealed
        pieces: Iterator[bytes]
        if self._sealer is None and not old.encrypted:
            pieces = segment.compressed(segment.whole_lines(old.path))
        else:
            held = segment.read(old, self.name, self._sealer)
            if held.problem is not None and not held.torn:
                return None  # what is damaged stays as it was found
            data = segment.compress(held.text[: held.text.rfind(b"\n") + 1])
            if self._sealer is not None:
                data = self._sealer.file(data, sealed.bound_name(self.name))
            pieces = iter([data])
        self._digests[old.number] = segment.put_pieces(path, pieces)
        old.path.unlink(missing_ok=True)
        segment.sync_folder(self.folder)
        return sealed

    def _say_sealed(self, sealed: Segment) -> None:
        size, digest = self._digests.get(sealed.number) or segment.digest_of(sealed.path)
        self.say("sealed", {"segment": sealed.number, "bytes": size, "sha256": digest})
        self._digests.pop(sealed.number, None)

    def _retire(self) -> None:
        settings = self._settings
        if not (settings.max_age_s or settings.max_bytes):
            return
        found = segment.segments(self.folder)
        files = [(each, each.path.stat()) for each in found]
        total = sum(stat.st_size for _, stat in files)
        oldest = self._clock() / 1000 - settings.max_age_s
        for (each, stat), (following, _) in pairwise(files):
            old = settings.max_age_s and stat.st_mtime < oldest
            large = settings.max_bytes and total > settings.max_bytes
            if not each.sealed or not (old or large):
                return
            text = segment.read(following, self.name, self._sealer).text
            first = next(segment.lines(text), b"")
            taken, prev = chain.take_apart(first), _kept(first).prev
            if taken is None or not prev:
                return  # what cannot be told rightly stays
            self.say(
                "removed",
                {
                    "segment": each.number,
                    "last": taken.number - 1,
                    "last_hash": prev,
                    "reason": "age" if old else "size",
                },
            )
            each.path.unlink()
            segment.sync_folder(self.folder)
            total -= stat.st_size


def _said(text: bytes) -> set[int]:
    """Segments of which a record says how they were sealed."""
    return {
        _kept(line).segment
        for line in segment.lines(text)
        if b'"event":"sealed","segment":' in line
    }


def _sync(file: int) -> None:
    getattr(os, "fdatasync", os.fsync)(file)


def _damage(each: Segment, text: bytes) -> str | None:
    """Which line of a segment no hub has written, for people; None where all look like records."""
    for n, line in enumerate(segment.lines(text), 1):
        if chain.take_apart(line) is None or not _kept(line).event:
            return f"{each.path}: line {n} is no record"
    return None


def marked(records: Sequence[bytes], mark: Mark | None) -> Sequence[bytes]:
    """``records``, the last of which says how far the trail is with them."""
    if mark is None or not records:
        return records
    return [*records[:-1], with_block(records[-1], mark)]


def with_block(record: bytes, mark: Mark) -> bytes:
    """A record that says how far the trail is with it."""
    return b'%b,"block":"%b"' % (record, mark.text.encode())


def _pieces(lines: Sequence[bytes]) -> list[bytes]:
    """Lines together, so that a torn end of the file never leaves half of one."""
    pieces: list[bytes] = []
    start, size = 0, 0
    for n, line in enumerate(lines):
        if size and size + len(line) > CHUNK:
            pieces.append(b"".join(lines[start:n]))
            start, size = n, 0
        size += len(line)
    return [*pieces, b"".join(lines[start:])]


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
