"""Files with secrets: 0600, in folders that nobody else writes, replaced whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from trishula_broker.auth.errors import Unsafe

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o077
"""What the group and others may do ..."""
_OTHERS_WRITE: Final = 0o022
"""... and of that, writing."""


def read_private(path: Path, *, secret: bool = True) -> bytes:
    """What a file holds that only its owner may read, or with ``secret`` false, write.

    Raises:
        Unsafe: others may, or it is a link; says what to type.
        OSError: it cannot be read.
    """
    file = open_private(path, os.O_RDONLY, secret=secret)
    try:
        parts = []
        while part := os.read(file, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


def open_private(path: Path, flags: int, *, secret: bool = True) -> int:
    """The descriptor of such a file; made 0600 where ``flags`` say so.

    Raises:
        Unsafe: others may read or write it, or it is a link; says what to type.
        OSError: it cannot be opened.
    """
    try:
        # O_NONBLOCK: a FIFO of that name must not make this wait for its writer.
        file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, FILE_MODE)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise Unsafe(
                str(path), "it is a symbolic link", "name the file that it points to"
            ) from None
        raise
    try:
        check_open(file, path, secret=secret)
    except BaseException:
        os.close(file)
        raise
    return file


def check_open(file: int, path: Path, *, secret: bool = True) -> None:
    """Whether the open file is safe to go by.

    Raises:
        Unsafe: says what to type.
    """
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise Unsafe(str(path), "it is no regular file", "name one that is")
    _check_owner(found, path)
    mode = stat.S_IMODE(found.st_mode)
    if secret and mode & _OTHERS:
        raise Unsafe(
            str(path),
            f"others may {'read' if mode & 0o044 else 'use'} it (mode {mode:04o})",
            f"chmod 600 {shlex.quote(str(path))}",
        )
    _check_unwritable(mode, path, "it")


def _check_unwritable(mode: int, path: Path, what: str) -> None:
    if mode & _OTHERS_WRITE:
        raise Unsafe(
            str(path),
            f"others may write {what} (mode {mode:04o})",
            f"chmod go-w {shlex.quote(str(path))}",
        )


def check_folder(path: Path) -> None:
    """Whether a folder is safe to keep secrets in: whoever may write it may replace them.

    Raises:
        Unsafe: says what to type.
        OSError: it is not there.
    """
    found = path.stat()
    _check_owner(found, path)
    _check_unwritable(stat.S_IMODE(found.st_mode), path, "this folder")


def make_folder(path: Path) -> None:
    """Make a folder, 0700, and those it is in, unless it is there.

    Raises:
        OSError: it cannot be made.
    """
    try:
        path.mkdir(FOLDER_MODE)
    except FileNotFoundError:
        make_folder(path.parent)
        path.mkdir(FOLDER_MODE, exist_ok=True)
    except FileExistsError:
        if not path.is_dir():
            raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone among those who change files of a folder in this way.

    Raises:
        OSError: it is not there.
    """
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def write_private(path: Path, data: bytes, *, new: bool = False) -> None:
    """Replace a file, 0600, so that a crash leaves the old one or the new one.

    Args:
        path: the file.
        data: what it shall hold.
        new: it must not be there yet.

    Raises:
        FileExistsError: with ``new``, it is there.
        Unsafe: the folder is not safe.
        OSError: it cannot be written.
    """
    check_folder(path.parent)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    file = os.open(
        beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE
    )
    try:
        try:
            give_to_owner(file, path.parent)
            write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        if new:
            os.link(beside, path)  # which, unlike a renaming, replaces nothing
        else:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_all(file: int, data: bytes) -> None:
    """Write all of ``data``, however often that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def sync_folder(path: Path) -> None:
    """Have the folder's entries on the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def give_to_owner(file: int, folder: Path) -> None:
    """What root makes in somebody's folder is that one's: a hub must be able to read it."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(file, owner.st_uid, owner.st_gid)


def _check_owner(found: os.stat_result, path: Path) -> None:
    """Root may go by what others own; others only by their own and root's."""
    me = os.geteuid()
    if me != 0 and found.st_uid not in (me, 0):
        raise Unsafe(
            str(path),
            "it belongs to another user, who may change it",
            f"sudo chown $(id -u) {shlex.quote(str(path))}",
        )
