"""One process a data directory: a file lock that says who holds it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import Final

import msgspec

from trishula_broker.store.base import StoreError, StoreHeld

NAME: Final = "store.lock"


class Holder(msgspec.Struct):
    """What a lock file tells about the process that has the lock."""

    pid: int
    node: str
    host: str
    since: str


class DirectoryLock:
    """The lock of a data directory; gone with the process, however that ends."""

    def __init__(self, directory: Path, node: str) -> None:
        self._path = directory / NAME
        self._node = node
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StoreHeld: another process has it.
            StoreError: there cannot be one here.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held_by = self._describe(os.read(fd, 4096))
            os.close(fd)
            raise StoreHeld(
                f"the store in {self._path.parent} is held by {held_by}; "
                "stop that process, or take another data directory with --data "
                "(a second hub needs a --port of its own, too)"
            ) from None
        except OSError as error:
            os.close(fd)
            raise StoreError(f"cannot lock {self._path}: {error.strerror}") from error
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        holder = Holder(os.getpid(), self._node, socket.gethostname(), since)
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.encode(holder) + b"\n", 0)
        self._fd = fd

    def release(self) -> None:
        """Give it back. The file stays: removing it could take away somebody else's lock."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    @staticmethod
    def _describe(text: bytes) -> str:
        try:
            holder = msgspec.json.decode(text, type=Holder)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "another process, which has not said who it is"
        node = f" (node {holder.node})" if holder.node else ""
        return f"process {holder.pid}{node} on {holder.host} since {holder.since}"
