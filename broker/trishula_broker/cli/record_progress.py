"""How many records have gone by: shown on a terminal beside results that go elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")
STEP: Final = 500
"""Records between two looks."""


def with_progress(records: Iterable[T]) -> Iterator[T]:
    """The same, counted on stderr if that is a terminal and standard output is none."""
    if sys.stderr is None or not sys.stderr.isatty() or (sys.stdout and sys.stdout.isatty()):
        yield from records
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.completed:.0f} records"), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as shown:
        task = shown.add_task("", total=None)
        done = 0
        for done, record in enumerate(records, 1):
            if done % STEP == 0:
                shown.update(task, completed=done)
            yield record
        shown.update(task, completed=done)
