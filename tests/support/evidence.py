"""What a campaign leaves behind when it fails: everything its processes wrote, and its history.

pytest removes the directories of tests after a few runs, and a failure that comes once in a
thousand is not made to come again: its files are copied to where nothing removes them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.history import Event, write_log

KEPT: Final = Path(__file__).parents[2] / ".campaigns"
"""One folder a failure; `make clean` removes them."""


@contextmanager
def kept_if_it_fails(
    folder: Path, name: str, history: Callable[[], Iterable[Event]] = tuple
) -> Iterator[None]:
    """Run a campaign and judge it in this context.

    What it raises says where its files are.

    Args:
        folder: where everybody had their files; nobody may write there any more.
        name: of the campaign, with its seed.
        history: what the agents saw, as far as that is in no file.
    """
    try:
        yield
    except BaseException as error:
        try:
            error.add_note(f"all files of {name} are in {keep(folder, name, history())}")
        except OSError as failed:
            error.add_note(f"the files of {name} could not be kept: {failed}")
        raise


def keep(folder: Path, name: str, history: Iterable[Event]) -> Path:
    """Copy ``folder``, with ``history`` as ``history.jsonl``; the new place.

    Raises:
        OSError: that did not work.
    """
    place = KEPT / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    shutil.copytree(folder, place, symlinks=True)
    write_log(place / "history.jsonl", history)
    return place
