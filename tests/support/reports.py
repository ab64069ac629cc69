"""What a test's report says besides its traceback: what its hubs and servers have logged.

Reports travel between processes as UTF-8, and some tests have names of files in them that are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SHOWN_BYTES: Final = 20_000
"""The end of each log: all of it may hide the traceback."""

_logs: dict[Path, str] = {}


def has_log(path: Path, whose: str) -> None:
    """Show the end of this log when a test fails during which it was written."""
    _logs[path] = whose


def logs(since: float) -> Iterator[tuple[str, str]]:
    """A title and the text of each log written since then (seconds since 1970), oldest first."""
    for path, whose in _logs.items():
        try:
            if path.stat().st_mtime < since:
                continue
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - SHOWN_BYTES))
                text = file.read().decode(errors="backslashreplace")
        except OSError:  # gone with its directory
            continue
        if text:
            yield f"log of {whose}", text


def sendable(data: Any) -> Any:
    """The same, with what UTF-8 cannot say in its texts written as ``\\udcff``."""
    if isinstance(data, str):
        return data if data.isascii() else data.encode(errors="backslashreplace").decode()
    if isinstance(data, dict):
        return {sendable(key): sendable(value) for key, value in data.items()}
    if isinstance(data, list):
        return [sendable(each) for each in data]
    if isinstance(data, tuple):
        return tuple(sendable(each) for each in data)
    return data
