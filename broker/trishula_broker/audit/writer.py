"""One chain on the disk: appended to, sealed, thinned out, and found again after a crash.

Everything here blocks, and belongs into one thread. What :meth:`ChainWriter.write` was given is on
the disk when it returns, and not at all when it raises; what :meth:`ChainWriter.append` was given
is there after the next :meth:`ChainWriter.sync`, and to be given again when that raises. It knows
nothing of stores or hubs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from trishula_broker.audit import chain, segment, tail
from trishula_broker.audit.blocks import Mark, marked, with_block
from trishula_broker.audit.chain import Link
from trishula_broker.audit.packing import Packer
from trishula_broker.audit.records import VERSION, own_record
from trishula_broker.audit.sealing import MAGIC, Sealer
from trishula_broker.audit.segment import LOCAL, ChainName, Segment
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.tail import BOOKKEEPING, Tail
from trishula_broker.audit.tidying import Tidying, Written


class Damaged(Exception):
    """A chain cannot be continued; the text says where and what to do."""


class _Place(NamedTuple):
    """How far a segment was written."""

    link: Link
    mark: Mark
    skip: int
    size: int
    chunks: int
    text: int
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
        """Bytes of the open file,"""
        self._chunks = 0
        """pieces in it,"""
        self._text = 0
        """and bytes of the lines in those."""
        self._digest: hashlib._Hash | None = None
        """Of the file, where all of it was written by this process."""
        self._packer = Packer()
        self._began = 0
        self._idle = True
        self._synced = self._place
        """Up to where it would survive a crash."""
        self._tidying = Tidying(self.folder, name, settings, sealer, clock, self.say)

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
                for left_open in segment.open_names(each.number):
                    (self.folder / left_open).unlink(True)
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
            ends = self._take_over(whole)
            self.found = self.link
            self.problem = self.problem or tail.damage(last, whole)
            fits = last.encrypted == (self._sealer is not None) and ends.version == VERSION
            fits = fits and last.packed and len(whole) == len(held.text)
            goes_on = fits and not last.sealed and not self.problem  # a damaged file is left
            written = found[:-1] if goes_on else found
            self._tidying.begin(
                [each for each in written if not each.sealed],
                tail.unsaid(found, whole, self.name, self._sealer),
            )
            if goes_on:
                self._text = len(whole)
                self._continue(last, held.good, held.chunks)
            else:
                self._begin(last.number + 1)
            return
        self._begin(1)

    def _take_over(self, text: bytes) -> Tail:
        """Take over where the lines of a segment end."""
        ends = tail.read(text)
        if ends is None:
            raise Damaged(f"{self.folder}: no record is whole; see `broker audit verify`")
        self.link, self.mark, self.skip = ends.link, ends.mark, ends.skip
        self.version, self._began, self._idle = ends.skip_version, ends.began, ends.idle
        return ends

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
        if number == end.number:
            here: str | None = end.hash
        else:
            here = tail.hash_of(number, self.folder, self.name, self._sealer)
        if here in (None, digest):
            return None
        return f"its record {number} is not what the node signed at {when}"

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
            at = self._synced
            self.link, self.mark, self.skip, self._idle = at.link, at.mark, at.skip, at.idle
            self._size, self._chunks, self._text = at.size, at.chunks, at.text
            self._digest = None
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
        return _Place(
            self.link, self.mark, self.skip, self._size, self._chunks, self._text, self._idle
        )

    def say(self, event: str, fields: dict[str, Any], mark: Mark | None = None) -> None:
        """Write one record of the archive's own.

        Raises:
            OSError: nothing was written.
        """
        pos = None if mark is None else mark.pos
        record = own_record(event, fields, self._clock(), self._node, self.name.namespace, pos)
        if event in BOOKKEEPING:
            self._append(*chain.extend(self.link, [record]))
            self.sync()
        else:
            self.write([record], mark)

    def _append(self, link: Link, lines: Sequence[bytes]) -> None:
        pieces = self._packer.pack(lines)
        if self._sealer is not None:
            assert self._open is not None
            name, seal = self._open.bound_name(self.name), self._sealer.seal
            pieces = [seal(piece, name, n) for n, piece in enumerate(pieces, self._chunks)]
        try:
            for piece in pieces:
                _write_all(self._file, piece)
        except OSError:
            self._cut()
            raise
        for piece in pieces:
            self._count(piece)
        self._chunks += len(pieces)
        self._text += sum(map(len, lines))
        self.link = link

    def _count(self, written: bytes) -> None:
        self._size += len(written)
        if self._digest is not None:
            self._digest.update(written)

    def _cut(self) -> None:
        """Go on where the file is known to be whole."""
        with suppress(OSError):  # the next write, or the next start, begins at the same place
            os.ftruncate(self._file, self._size)
        os.lseek(self._file, self._size, os.SEEK_SET)

    # --- segments ---

    @property
    def is_due(self) -> bool:
        """Whether the open segment is to be sealed."""
        if self._text >= self._settings.segment_bytes:
            return True
        age = self._clock() - self._began
        return not self._idle and age >= self._settings.segment_age_s * 1000

    def _continue(self, last: Segment, size: int, chunks: int) -> None:
        self._file = os.open(last.path, os.O_WRONLY | os.O_CLOEXEC)
        if os.fstat(self._file).st_size != size:  # a torn end; the trail still has what it was
            os.ftruncate(self._file, size)
            self._sync(self._file)
        os.lseek(self._file, size, os.SEEK_SET)
        self._open, self._size, self._chunks, self._digest = last, size, chunks, None
        self._synced = self._place

    def _begin(self, number: int) -> None:
        """Open segment ``number``; its first record says what it continues."""
        if self._file >= 0:
            self.sync()
        before = (self._file, self._open, self._began, self._idle)
        link = self.link
        was = Written(self._size, self._chunks, self._text, self._digest)
        encrypted = self._sealer is not None
        path = self.folder / segment.file_name(number, False, encrypted)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._open = Segment(path, number, False, encrypted)
            self._size = self._chunks = self._text = 0
            self._digest = hashlib.sha256()
            if encrypted:
                _write_all(self._file, MAGIC)
                self._count(MAGIC)
            self._began, self._idle = self._clock(), True
            self._append(*chain.extend(self.link, [self._header(number)]))
            self._sync(self._file)
            segment.sync_folder(self.folder)
        except BaseException:
            # Only what was there before counts, also where the new file cannot be removed.
            file = self._file
            self._file, self._open, self._began, self._idle = before
            self._size, self._chunks, self._text, self._digest = was
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
            self._tidying.add(before[1], was)

    def _header(self, number: int) -> bytes:
        """The first record of segment ``number``."""
        fields: dict[str, Any] = {
            "chain": str(self.name),
            "segment": number,
            "prev": self.link.hash,
            "version": VERSION,
            "body": self._settings.body,
            "redact": self._settings.redact,
        }
        if self.skip:
            fields["skip"] = self.skip
            fields["skip_version"] = self.version
        pos = None if self.name.kind == LOCAL else self.mark.pos
        record = own_record("segment", fields, self._began, self._node, self.name.namespace, pos)
        return record if pos is None else with_block(record, self.mark)

    @property
    def needs_tidying(self) -> bool:
        """Whether there is something for :meth:`tidy` but retention."""
        return self.is_due or bool(self._tidying)

    def tidy(self) -> None:
        """Seal what is due, and remove what retention allows.

        Raises:
            OSError: it could not be done now; nothing is lost.
        """
        self.make_room()
        self._tidying.run()


def _sync(file: int) -> None:
    getattr(os, "fdatasync", os.fsync)(file)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
