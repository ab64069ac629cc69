"""The bridge of one folder: a visitor for each agent that only knows files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trishula import TakenOver, TrishulaError
from trishula.folder.layout import Layout
from trishula.folder.watch import FolderWatch
from trishula_broker.bridge.lock import FolderLock
from trishula_broker.bridge.settings import BridgeSettings
from trishula_broker.bridge.version1 import OldLetter, OldLetters
from trishula_broker.bridge.visitor import Visitor

_log = logging.getLogger("trishula.bridge")


class Bridge:
    """Joins a folder to a hub until :meth:`run` is cancelled.

    Args:
        ready: called once every agent is registered.
    """

    def __init__(self, settings: BridgeSettings, ready: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._layout = Layout(settings.folder)
        self._lock = FolderLock(settings.folder)
        self._hint = asyncio.Event()
        self._all_ready = ready
        self._not_ready: set[str] = set()
        by_files = {*settings.agents, *settings.version1}
        must_sign = set() if settings.keyring is None else by_files - {*settings.unsigned}
        self._old = OldLetters(self._layout, settings.version1, must_sign)
        self._visitors = {
            name: Visitor(
                name,
                settings,
                by_files=by_files,
                old=self._old if name in settings.version1 else None,
            )
            for name in sorted(by_files)
        }

    def __repr__(self) -> str:
        return f"<Bridge {self._settings.folder} for {', '.join(self._visitors)}>"

    def lock(self) -> None:
        """Be the one bridge of the folder.

        Raises:
            FolderHeld: another process bridges it.
            OSError: the folder cannot be used.
        """
        self._lock.acquire()

    async def run(self) -> None:
        """Serve all of them, after :meth:`lock`. Returns when none is left to serve."""
        try:
            await self._serve()
        finally:
            self._lock.release()

    async def _serve(self) -> None:
        self._not_ready = {*self._visitors}
        watch = FolderWatch(self._watched, self._changed)
        watch.start()
        reading = asyncio.create_task(self._read_old(), name="bridge-version1")
        try:
            async with asyncio.TaskGroup() as group:
                for visitor in self._visitors.values():
                    group.create_task(self._visit(visitor))
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            await watch.stop()

    def _watched(self) -> list[Path]:
        """Where the agents of this bridge may write."""
        try:
            agents = self._layout.agents()
        except OSError:
            agents = []
        boxes = [self._layout.path(agent, "inbox") for agent in agents]
        boxes += [self._layout.path(agent, "outbox") for agent in self._visitors]
        return [*self._old.watched(), *boxes]

    async def _visit(self, visitor: Visitor) -> None:
        def ready() -> None:
            _log.info("%s is on the hub", visitor.name)
            self._not_ready.discard(visitor.name)
            self._changed()
            if not self._not_ready:
                self._all_ready()

        try:
            await visitor.run(ready)
        except TakenOver:
            _log.warning(
                "%s is on a hub by itself, or by another bridge: it is not bridged here any more",
                visitor.name,
            )
        except TrishulaError as error:
            _log.error("%s is not bridged: %s", visitor.name, error)

    def _changed(self) -> None:
        for visitor in self._visitors.values():
            visitor.hint()
        self._hint.set()

    async def _hand_over(self, letter: OldLetter) -> None:
        visitor = self._visitors[letter.envelope.sender or ""]
        try:
            await visitor.hand_over(letter)
        except (OSError, TrishulaError) as error:
            _log.debug("%s: not handed over yet: %s", letter.name, error)
        except Exception:
            _log.exception("%s: %s", self._layout.root, letter.name)

    async def _read_old(self) -> None:
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "bridge-version1")
        try:
            while True:
                await self._hint.wait()
                self._hint.clear()
                try:
                    letters = await loop.run_in_executor(thread, self._old.scan)
                except OSError as error:
                    _log.debug("%s: %s", self._layout.root, error)
                    continue
                for letter in letters:
                    await self._hand_over(letter)
        finally:
            thread.shutdown(wait=False)
