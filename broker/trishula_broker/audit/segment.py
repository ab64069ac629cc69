"""Segments: the files of a chain, and how their content is read.

``00000001.open.jsonl.zst`` is open, compressed piece by piece
(:mod:`trishula_broker.audit.packing`); ``00000001.jsonl.zst`` is sealed, and never written again.
Earlier versions did not compress the open one, ``00000001.jsonl``. With a key each has ``.enc`` at
the end. What a segment is called inside its chain is bound into the encryption, so one file cannot
stand for another.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

import zstandard

from trishula_broker.audit.packing import BEGIN, LEVEL, unpack
from trishula_broker.audit.sealing import Sealer, Unreadable

NO_KEY: Final = (
    "it is encrypted, and no key was given (audit.key_file, or the variable TRISHULA_AUDIT_KEY)"
)
PIECE: Final = 1 << 20
TOGETHER: Final = 4 << 20
"""Bytes of a file that is made that go to the disk together."""
LOCAL: Final = "local"
TRAIL: Final = "trail"
_NAME: Final = re.compile(
    r"(?P<number>[0-9]{8})(?:(?P<open>\.open)?\.jsonl(?P<zst>\.zst)|\.jsonl)(?P<enc>\.enc)?\Z"
)


class ChainName(NamedTuple):
    """Which chain it is: the ``trail`` of a namespace, or ``local``."""

    kind: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}".rstrip()

    def folder(self, root: Path) -> Path:
        """Where its segments are."""
        if self.kind == LOCAL:
            return root / LOCAL
        # No name may leave the folder, or be its twin on another file system.
        return root / TRAIL / quote(self.namespace, safe="").replace(".", "%2E")


def chains(root: Path) -> list[ChainName]:
    """The chains that have a folder in an archive, ``local`` last."""
    trail, local = root / TRAIL, root / LOCAL
    found = [
        ChainName(TRAIL, unquote(each.name))
        for each in (sorted(trail.iterdir()) if trail.is_dir() else [])
        if each.is_dir()
    ]
    return [*found, ChainName(LOCAL)] if local.is_dir() else found


class Segment(NamedTuple):
    """A segment's file."""

    path: Path
    number: int
    sealed: bool
    encrypted: bool
    packed: bool = True
    """Compressed; only open ones of earlier versions are not."""

    def bound_name(self, chain: ChainName) -> str:
        """What the encryption binds it to."""
        return f"{chain}/{self.number:08}{'.zst' if self.packed else ''}"


def file_name(number: int, sealed: bool, encrypted: bool, packed: bool = True) -> str:
    """What a segment's file is called."""
    state = "" if sealed or not packed else ".open"
    return f"{number:08}{state}.jsonl{'.zst' * packed}{'.enc' * encrypted}"


def open_names(number: int) -> list[str]:
    """What its file may be called before it is sealed."""
    forms = [(encrypted, packed) for encrypted in (False, True) for packed in (False, True)]
    return [file_name(number, False, encrypted, packed) for encrypted, packed in forms]


def segments(folder: Path) -> list[Segment]:
    """A chain's segments in order; of one in two forms, which a crash may leave, the sealed."""
    found: dict[int, Segment] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        name = _NAME.match(path.name)
        if name is not None:
            packed, encrypted = bool(name["zst"]), bool(name["enc"])
            sealed = packed and not name["open"]
            segment = Segment(path, int(name["number"]), sealed, encrypted, packed)
            known = found.get(segment.number)
            if known is None or segment.sealed:
                found[segment.number] = segment
    return [found[number] for number in sorted(found)]


class Content(NamedTuple):
    """What a segment holds."""

    text: bytes
    """Its lines, as far as they could be read."""
    problem: str | None
    """Why they end there, None when nothing is wrong with the file."""
    good: int = 0
    """Bytes of an open segment's file that hold them."""
    chunks: int = 0
    """Of an open one, as they were written: pieces, encrypted or not."""
    torn: bool = False
    """The problem is its end, as a crash leaves it."""


def content(data: bytes, segment: Segment, chain: ChainName, sealer: Sealer | None) -> Content:
    """What is in the bytes of a segment's file; damage is told, not raised."""
    problem: str | None = None
    good, chunks, torn = len(data), 0, False
    if segment.encrypted:
        if sealer is None:
            return Content(b"", NO_KEY)
        try:
            data, good, chunks = sealer.open(data, segment.bound_name(chain), segment.sealed)
        except Unreadable as error:
            problem, data = str(error), error.clear
            good, chunks, torn = error.good, error.chunks, error.torn
    if segment.sealed and not data.startswith(BEGIN):
        data, damage = _decompress(data)
        problem = problem or damage
    elif segment.packed:
        try:
            data, pieces = unpack(data, segment.sealed)
            chunks = chunks if segment.encrypted else pieces
        except Unreadable as error:
            data = error.clear
            if not segment.encrypted:
                good, chunks, torn = error.good, error.chunks, error.torn
            problem = problem or str(error)
    return Content(data, problem, good, chunks, torn)


def _decompress(data: bytes) -> tuple[bytes, str | None]:
    pieces: list[bytes] = []
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        for at in range(0, len(data), PIECE // 8):
            pieces.append(decompressor.decompress(data[at : at + PIECE // 8]))
            if decompressor.unused_data:
                return b"".join(pieces), "something follows its compressed content"
    except zstandard.ZstdError as error:
        return b"".join(pieces), f"it cannot be decompressed: {error}"
    if not decompressor.eof:
        return b"".join(pieces), "its compressed content is cut off"
    return b"".join(pieces), None


def compress(text: bytes) -> bytes:
    """A segment's lines, sealed in one go; zstd's own checksum is behind them."""
    return b"".join(compressed([text]))


def compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same, piece by piece."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def whole_lines(path: Path) -> Iterator[bytes]:
    """The content of a file in pieces, but for an end that is no whole line.

    Raises:
        OSError: it cannot be read.
    """
    rest = b""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            end = piece.rfind(b"\n") + 1
            if end:
                yield rest + piece[:end]
                rest = piece[end:]
            else:
                rest += piece


def read(segment: Segment, chain: ChainName, sealer: Sealer | None) -> Content:
    """What a segment holds, also when it is sealed or removed at this moment.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return content(segment.path.read_bytes(), segment, chain, sealer)
    except FileNotFoundError:
        for other in segments(segment.path.parent):
            if other.number == segment.number:
                return content(other.path.read_bytes(), other, chain, sealer)
        raise


def lines(text: bytes) -> Iterator[bytes]:
    """The whole lines of a segment, without their ends."""
    at = 0
    while (end := text.find(b"\n", at)) >= 0:
        yield text[at:end]
        at = end + 1


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or removed in a folder survive a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(path: Path, data: bytes) -> None:
    """Make a file whole or not at all, for its owner only."""
    put_pieces(path, [data])


def put_pieces(path: Path, pieces: Iterable[bytes]) -> tuple[int, str]:
    """The same; how many bytes it has, and their SHA-256. A large one goes to the disk bit by
    bit, so that others who wait for the disk need not wait for all of it.

    Raises:
        OSError: there is none; ``pieces`` may raise it.
    """
    temporary = path.with_name(path.name + ".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    digest, size, synced = hashlib.sha256(), 0, 0
    try:
        for piece in pieces:
            rest = memoryview(piece)
            digest.update(rest)
            while rest:
                rest = rest[os.write(handle, rest) :]
            size += len(piece)
            if size - synced >= TOGETHER:
                os.fsync(handle)
                synced = size
        os.fsync(handle)
    except BaseException:
        os.close(handle)
        temporary.unlink(missing_ok=True)
        raise
    os.close(handle)
    temporary.replace(path)
    sync_folder(path.parent)
    return size, digest.hexdigest()


def extend(path: Path, size: int, data: bytes) -> None:
    """Put ``data`` behind the first ``size`` bytes of a file, and on the disk.

    Raises:
        OSError: it is not there, or not whole.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(handle, size)
        os.lseek(handle, size, os.SEEK_SET)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def digest_of(path: Path) -> tuple[int, str]:
    """How many bytes a file has, and their SHA-256.

    Raises:
        OSError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
