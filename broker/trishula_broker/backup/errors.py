"""What stands in the way of a backup, or of putting one back."""

from __future__ import annotations

from pathlib import Path


class BackupError(Exception):
    """It was not done. ``path`` is the file or store, ``rule`` what is wrong with it and what to
    do next."""

    def __init__(self, path: Path | str, rule: str) -> None:
        super().__init__(path, rule)
        self.path = str(path)
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.path}: {self.rule}"
