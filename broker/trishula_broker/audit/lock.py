"""One hub an archive."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

NAME: Final = "lock"


class Held(Exception):
    """Another hub writes this archive; the text says which."""


class ArchiveLock:
    """The lock of an archive's folder; gone with the process."""

    def __init__(self, root: Path, node: str) -> None:
        self._path = root / NAME
        self._node = node
        self._file = -1

    def take(self) -> None:
        """Take it.

        Raises:
            Held: another process has it.
            OSError: there cannot be one.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{self._node} (pid {os.getpid()})".encode(), 0)
        except BlockingIOError:
            who = os.read(file, 200).decode("utf-8", "replace") or "another process"
            os.close(file)
            raise Held(
                f"the audit in {self._path.parent} is written by {who}; give each hub one of its "
                "own with --audit or --data"
            ) from None
        except OSError:
            pass  # a full disk must not keep a hub from delivering what it has
        self._file = file

    def release(self) -> None:
        """Give it back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
