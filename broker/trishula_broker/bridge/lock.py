"""One bridge a folder: a file lock in it that says who holds it."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Final

NAME: Final = ".bridge.lock"


class FolderHeld(Exception):
    """Another process bridges the folder; the text says which."""


class FolderLock:
    """Gone with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._fd = -1

    def acquire(self) -> None:
        """Take it.

        Raises:
            FolderHeld: another process has it.
            OSError: there cannot be one here.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 500).decode(errors="replace").strip() or "another process"
            os.close(fd)
            raise FolderHeld(
                f"the folder {self._path.parent} is bridged by {holder} already; one bridge a "
                "folder: stop that one, or let it go on"
            ) from None
        except OSError:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give it back. The file stays: removing it could take away somebody else's lock."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1
