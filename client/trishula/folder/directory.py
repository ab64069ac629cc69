"""A directory that others write to as well: no name leads out of it, no symlink is followed.

Everything is done relative to an open descriptor, so nothing that happens to a path between two
calls makes a difference. All of it blocks.
"""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple, Self

_FOLLOW_NO_LINK: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_counter = itertools.count()


class Signature(NamedTuple):
    """Changes whenever a file does."""

    size: int
    changed_ns: int
    inode: int


class NotAFile(OSError):
    """What has the name is a symlink, a pipe, a directory, or larger than a file may be."""


class Directory:
    """An open directory. Use it as a context manager."""

    def __init__(self, fd: int, path: Path) -> None:
        self.path = path
        """For messages only."""
        self._fd = fd

    def __repr__(self) -> str:
        return f"<Directory {self.path}>"

    @classmethod
    def root(cls, path: Path) -> Directory:
        """Open the folder itself, which its owner may have made a symlink."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def enter(self, *names: str, make: bool = False) -> Directory:
        """Open a directory below this one, making what is missing when ``make``.

        Raises:
            FileNotFoundError: it is not there.
            NotADirectoryError: it is something else, a symlink to a directory for one.
        """
        fd, path = os.dup(self._fd), self.path
        for name in names:
            path /= name
            try:
                if make:
                    _make(name, fd)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _FOLLOW_NO_LINK, dir_fd=fd)
            except OSError as error:
                os.close(fd)
                error.filename = str(path)
                raise
            os.close(fd)
            fd = inner
        return Directory(fd, path)

    def names(self) -> list[str]:
        """The names in it, but those that begin with a dot: temporary files, and other programs'
        own."""
        return [name for name in self._all() if not name.startswith(".")]

    def hidden(self) -> list[str]:
        """The names that begin with a dot."""
        return [name for name in self._all() if name.startswith(".")]

    def _all(self) -> list[str]:
        with os.scandir(self._fd) as entries:
            return [entry.name for entry in entries]

    def signature(self, name: str) -> Signature | None:
        """What tells whether a file has changed; None when it is not there."""
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Signature(found.st_size, found.st_ctime_ns, found.st_ino)

    def modified(self, name: str) -> float:
        """When it was written, seconds since the epoch."""
        return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime

    def has(self, name: str) -> bool:
        """Whether there is anything of that name."""
        return self.signature(name) is not None

    def read(self, name: str, most: int) -> bytes:
        """A file's bytes, ``most`` at most.

        Raises:
            NotAFile: it is none, or larger.
            OSError: it cannot be read.
        """
        try:
            # Without O_NONBLOCK a pipe of that name would keep us for ever.
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FOLLOW_NO_LINK, dir_fd=self._fd)
        except OSError as error:
            if self._is_link(name):
                raise NotAFile(error.errno, "a symlink is not followed", name) from error
            raise
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise NotAFile(0, "not a regular file", name)
            if found.st_size > most:
                raise NotAFile(0, f"{found.st_size} bytes, {most} at most", name)
            parts: list[bytes] = []
            while part := os.read(fd, 1 << 20):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(fd)

    def write(self, name: str, data: bytes) -> None:
        """Make a file: written under a temporary name, flushed, renamed; :meth:`flush` is next.

        Nothing half-written stays when it fails.
        """
        temporary = f".{name[:50]}.{os.getpid()}.{next(_counter)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FOLLOW_NO_LINK
        fd = os.open(temporary, flags, 0o666, dir_fd=self._fd)
        try:
            try:
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            self.remove(temporary)
            raise

    def flush(self) -> None:
        """From now on what was written or renamed in it survives a crash of the machine."""
        os.fsync(self._fd)

    def move(self, name: str, to: Directory, new_name: str) -> bool:
        """Rename a file into another directory; False when it is gone already."""
        try:
            os.rename(name, new_name, src_dir_fd=self._fd, dst_dir_fd=to._fd)
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            pass

    def touch(self, name: str) -> None:
        """Make a file as young as can be, if it is there."""
        try:
            os.utime(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            pass

    def _is_link(self, name: str) -> bool:
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISLNK(found.st_mode)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _make(name: str, fd: int) -> None:
    try:
        os.mkdir(name, dir_fd=fd)
    except FileExistsError:
        return
    os.fsync(fd)
