"""One worker: its part of the configuration, and its end of what joins it to the supervisor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from trishula_broker.config import Config, FolderConfig
from trishula_broker.workers.board import Board

SHOWN_EVERY_S: Final = 1.0
"""Between two looks at how many it serves; the supervisor may want them more often."""


def name(number: int) -> str:
    """What a worker's folder is called, in the hub's."""
    return f"worker-{number}"


def config_of(config: Config, number: int, port: int) -> Config:
    """What worker ``number`` is told: a name, a data folder and an archive of its own, the keys of
    all. The shared folder is bridged by the first."""
    keys, archive = config.key_file, config.audit.path
    there = bool(config.auth.keys) or keys.exists()
    replace = msgspec.structs.replace
    return replace(
        config,
        node=f"{config.node}-{number}",
        port=port,
        data=str(Path(config.data) / name(number)),
        auth=replace(config.auth, keys=str(keys) if there else ""),
        audit=replace(config.audit, path=str(Path(archive) / name(number)) if archive else ""),
        folder=config.folder if number == 1 else FolderConfig(),
    )


class Worker:
    """The worker's end.

    Args:
        number: which, from 1.
        board: where it shows how many it serves.
        supervisor: a pipe that ends with the supervisor; it never says anything.
        ready: a pipe that hears when the worker serves.
        every_s: between two looks at how many it serves, on the board.
    """

    def __init__(
        self,
        number: int,
        board: Board,
        supervisor: int,
        ready: int,
        every_s: float = SHOWN_EVERY_S,
    ) -> None:
        self.board = board
        self._every_s = every_s
        self._number = number
        self._supervisor = supervisor
        self._ready = ready

    def orphaned(self, then: Callable[[], None]) -> None:
        """Call ``then`` when the supervisor is gone: nobody would start this worker again."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._supervisor)
            then()

        loop.add_reader(self._supervisor, gone)

    def serves(self, count: Callable[[], tuple[int, int]]) -> None:
        """It serves now. ``count`` says how many connections and agents, whenever it is asked."""
        os.write(self._ready, b"%d %d\n" % (self._number, os.getpid()))
        loop = asyncio.get_running_loop()

        def show() -> None:
            self.board.serves(self._number, *count())
            loop.call_later(self._every_s, show)

        show()
