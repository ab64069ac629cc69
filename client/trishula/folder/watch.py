"""Says when something may have changed in the shared folder.

Notifications of the system where they arrive; a look every second in any case, because on a network
drive only this host's own changes are notified, and a drive may be taken away and come back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from trishula.errors import FolderError

POLL_SECONDS: Final = 1.0
STEP_MS: Final = 10
"""Between two looks at the notifications that came: a letter is read within two of these."""

Identity = tuple[int, int] | None
"""Of a directory: its device and inode; None when it is not there."""

_log = logging.getLogger("trishula")


class FolderWatch:
    """A thread that calls back in the event loop.

    Args:
        paths: says which directories to watch, not what is below them: a symlink there could lead
            anywhere. Those that are not there are looked for again and again.
        on_change: called in the loop after a change, and every second.

    Raises:
        FolderError: ``watchfiles`` is not installed.
    """

    def __init__(
        self,
        paths: Callable[[], Sequence[Path]],
        on_change: Callable[[], None],
    ) -> None:
        try:
            import watchfiles
        except ModuleNotFoundError as error:
            why = "it is watched with watchfiles; `pip install 'trishula[folder]'` does it"
            raise FolderError(str(paths()[0]), why) from error
        # It logs every change, a line each.
        noisy = logging.getLogger("watchfiles.main")
        if noisy.level == logging.NOTSET:
            noisy.setLevel(logging.WARNING)
        self._watch = watchfiles.watch
        self._paths = paths
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trishula-folder", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self) -> None:
        """End, also when this is cancelled."""
        self._stop.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        warned = False
        while not self._stop.is_set():
            paths = self._paths()
            there = [path for path in paths if path.is_dir()]
            self._tell()
            if not there:
                self._stop.wait(POLL_SECONDS)
                continue
            try:
                self._follow(there, _identities(paths))
            except (OSError, RuntimeError) as error:
                # Gone in the same moment, or the system has no more watches to give.
                if not warned and all(path.is_dir() for path in there):
                    warned = True
                    _log.warning("%s: no notifications, looked at instead: %s", there[0], error)
                self._stop.wait(POLL_SECONDS)

    def _follow(self, there: list[Path], before: dict[Path, Identity]) -> None:
        for changes in self._watch(
            *there,
            watch_filter=None,
            debounce=STEP_MS,
            step=STEP_MS,
            stop_event=self._stop,
            rust_timeout=round(POLL_SECONDS * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
        ):
            self._tell()
            paths = before if changes else self._paths()
            if _identities(paths) != before:
                return  # taken away, another one is there now, or there are more

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._on_change)
        except RuntimeError:
            self._stop.set()  # the loop is closed: nobody is left to be told


def _identities(paths: Iterable[Path]) -> dict[Path, Identity]:
    found: dict[Path, Identity] = {}
    for path in paths:
        try:
            about = os.stat(path)  # noqa: PTH116
        except OSError:
            found[path] = None
        else:
            found[path] = (about.st_dev, about.st_ino)
    return found
