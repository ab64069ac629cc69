"""Logs of events: in a list, or in a file that survives ``kill -9``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tests.support.history.events import AnyEvent, Event, Sent, decode, encode


class Log:
    """Where an instance logs its events: always a list, and a file when it has a path.

    A line is written with one system call and no buffer, so what was logged is there even
    when the process is killed at the next instruction. An existing file is continued.
    """

    def __init__(self, agent: str, instance: str | None = None, path: Path | None = None) -> None:
        self.agent = agent
        self.instance = agent if instance is None else instance
        self.events: list[Event] = []
        self._numbers: Counter[tuple[str, int]] = Counter()
        self._file: int | None = None
        if path is None:
            self._count = 0
            return
        before = read_log(path) if path.exists() else []
        self._count = before[-1].count if before else 0
        for event in before:
            if isinstance(event, Sent):
                self._numbers[event.to, event.priority] += 1
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if before and not path.read_bytes().endswith(b"\n"):
            os.write(self._file, b"\n")  # the end of a torn line; read_log() skips it

    def number(self, to: str, priority: int) -> int:
        """The ``n`` of the next message to ``to`` at ``priority``."""
        self._numbers[to, priority] += 1
        return self._numbers[to, priority]

    def __call__(self, kind: type[Event], **fields: Any) -> None:
        """Log one event; ``fields`` are those of ``kind``."""
        self._count += 1
        event = kind(instance=self.instance, agent=self.agent, count=self._count, **fields)
        if self._file is None:
            self.events.append(event)
        else:
            os.write(self._file, encode(event) + b"\n")

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_log(path: Path) -> list[AnyEvent]:
    """The events of a file, without a line that a crash left half written."""
    events: list[AnyEvent] = []
    for line in path.read_bytes().split(b"\n"):
        if not line:
            continue
        try:
            events.append(decode(line))
        except msgspec.DecodeError:
            continue  # torn; a line lost in the middle shows as a gap of the counter
    return events


def write_log(path: Path, events: Iterable[Event]) -> None:
    """A file of events, as :func:`read_log` reads it; none when there are none."""
    lines = [encode(event) + b"\n" for event in events]
    if lines:
        path.write_bytes(b"".join(lines))


def read_logs(paths: Iterable[Path]) -> list[AnyEvent]:
    """The events of several files."""
    return [event for path in paths for event in read_log(path)]
