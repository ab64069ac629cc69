"""The one file of a backup: a tar, compressed with zstd, and behind it a digest of the whole.

The digest is in a skippable frame of zstd, so that ``tar --zstd -xf`` unpacks the file as well. It
is compared before anything in the file is looked at. The manifest is the first part and has the
SHA-256 of each other one. Knows nothing of stores.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import zstandard

from trishula_broker.auth.private_files import sync_folder
from trishula_broker.backup import manifest as manifests
from trishula_broker.backup.errors import BackupError
from trishula_broker.backup.manifest import Manifest, Part

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many bytes of it are done and of how many."""

PIECE: Final = 1 << 20
_LEVEL: Final = 3
_TAIL: Final = struct.Struct("<II32s")
"""A skippable frame: mark, length, SHA-256 of all bytes before it."""
_MARK: Final = 0x184D2A5B
_MANIFEST_BYTES: Final = 64 << 20
_CUT: Final = "it is no whole backup: it was cut off, changed or is something else; take another"


def part_of(name: str, path: Path, namespace: str = "") -> Part:
    """What the manifest says of ``path``, which is to be the part ``name``.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while data := file.read(PIECE):
            digest.update(data)
            size += len(data)
    return Part(name, size, digest.hexdigest(), namespace)


def write(path: Path, manifest: Manifest, files: Mapping[str, Path], progress: Progress) -> None:
    """Make the file from its parts: under another name, synced, then renamed.

    Args:
        files: by part, where it is now.

    Raises:
        BackupError: ``path`` is there, or cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123
                hashed = _Hashed(file)
                _compress(hashed, manifest, files, progress)
                file.write(_TAIL.pack(_MARK, 32, hashed.digest()))
                file.flush()
                os.fsync(fd)
            os.link(beside, path)  # which, unlike a renaming, replaces nothing
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError:
        raise BackupError(path, "it is there already: name another file, or remove it") from None
    except OSError as error:
        raise BackupError(path, f"cannot be written ({error.strerror or error})") from None


def _compress(
    out: _Hashed, manifest: Manifest, files: Mapping[str, Path], progress: Progress
) -> None:
    total = sum(part.bytes for part in manifest.parts)
    done = 0
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    with (
        compressor.stream_writer(out, closefd=False) as stream,  # type: ignore[arg-type]
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        head = manifests.encode(manifest)
        tar.addfile(_info(manifests.NAME, len(head), manifest.moment), io.BytesIO(head))
        for part in manifest.parts:
            with files[part.name].open("rb") as file:
                counted = _Counted(file, done, total, progress)
                tar.addfile(_info(part.name, part.bytes, manifest.moment), counted)
            done += part.bytes


def _info(name: str, size: int, moment: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    info.mtime = moment // 1000
    return info


class _Hashed(io.RawIOBase):
    """Hashes what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._digest.update(data)
        return self._file.write(data)

    def digest(self) -> bytes:
        return self._digest.digest()


class _Counted:
    """A file that tells how far it was read."""

    def __init__(self, file: IO[bytes], done: int, total: int, progress: Progress) -> None:
        self._file = file
        self._done = done
        self._total = total
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        self._progress("compressing", self._done, self._total)
        return data


class Bundle:
    """A backup's file whose digest is right, and its parts, which come in order.

    Args:
        path: the file, as messages name it.
        parts: each part with what reads it.
    """

    def __init__(self, path: Path, manifest: Manifest, tar: tarfile.TarFile) -> None:
        self.path = path
        self.manifest = manifest
        self._tar = tar

    def parts(self) -> Iterator[tuple[Part, Iterator[bytes]]]:
        """Each part with its content, a piece at a time. The content must be read to its end,
        which is where its own checksum is compared.

        Raises:
            BackupError: it is not what the manifest says.
        """
        for part in self.manifest.parts:
            info = _next(self.path, self._tar)
            if info is None or info.name != part.name or info.size != part.bytes:
                raise BackupError(self.path, f"part {part.name} is not where its manifest says")
            yield part, self._content(part, info)
        if _next(self.path, self._tar) is not None:
            raise BackupError(self.path, "it has parts that its manifest does not name")

    def _content(self, part: Part, info: tarfile.TarInfo) -> Iterator[bytes]:
        file = self._tar.extractfile(info)
        if file is None:
            raise BackupError(self.path, f"part {part.name} is no regular file")
        digest = hashlib.sha256()
        try:
            while data := file.read(PIECE):
                digest.update(data)
                yield data
        except (zstandard.ZstdError, tarfile.TarError, OSError) as error:
            raise BackupError(self.path, f"part {part.name} cannot be read ({error})") from None
        if digest.hexdigest() != part.sha256:
            raise BackupError(self.path, f"part {part.name} has another SHA-256 than it had")


def _next(path: Path, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except (zstandard.ZstdError, tarfile.TarError, OSError) as error:
        raise BackupError(path, f"it cannot be unpacked ({error})") from None


@contextmanager
def opened(path: Path, progress: Progress) -> Iterator[Bundle]:
    """The backup in ``path``, once its digest is found to be right.

    Raises:
        BackupError: it is not there, not whole, or of a newer version.
    """
    try:
        with path.open("rb") as file:
            length = _check(path, file, progress)
            file.seek(0)
            body = io.BufferedReader(_First(file, length))
            stream = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
            with _tar(path, stream) as tar:
                yield Bundle(path, _manifest(path, tar), tar)
    except OSError as error:
        raise BackupError(path, f"cannot be read ({error.strerror or error})") from None


def verify(path: Path, progress: Progress) -> Manifest:
    """Read all of it, and compare every checksum.

    Raises:
        BackupError: it is not as it was made.
    """
    with opened(path, progress) as bundle:
        done, total = 0, sum(part.bytes for part in bundle.manifest.parts)
        for _, content in bundle.parts():
            for data in content:
                done += len(data)
                progress("comparing", done, total)
        return bundle.manifest


def _check(path: Path, file: IO[bytes], progress: Progress) -> int:
    """How many bytes are before the digest, which is right."""
    total = os.fstat(file.fileno()).st_size
    length = total - _TAIL.size
    if length <= 0:
        raise BackupError(path, _CUT)
    digest = hashlib.sha256()
    done = 0
    while done < length:
        data = file.read(min(PIECE, length - done))
        if not data:
            raise BackupError(path, _CUT)
        digest.update(data)
        done += len(data)
        progress("reading", done, length)
    if file.read() != _TAIL.pack(_MARK, 32, digest.digest()):
        raise BackupError(path, _CUT)
    return length


def _tar(path: Path, stream: IO[bytes]) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=stream, mode="r|")
    except (zstandard.ZstdError, tarfile.TarError) as error:
        raise BackupError(path, f"it cannot be unpacked ({error})") from None


def _manifest(path: Path, tar: tarfile.TarFile) -> Manifest:
    info = _next(path, tar)
    file = None if info is None or info.name != manifests.NAME else tar.extractfile(info)
    if info is None or file is None or info.size > _MANIFEST_BYTES:
        raise BackupError(path, f"it does not begin with {manifests.NAME}: it is no backup")
    try:
        return manifests.decode(file.read())
    except ValueError as error:
        raise BackupError(path, str(error)) from None


class _First(io.RawIOBase):
    """The first bytes of a file."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file = file
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)
