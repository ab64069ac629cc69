"""The agent's inbox in the shared folder becomes mail, and what is settled is put away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, time
from typing import Any, Final, TypeVar

from trishula.core import AgentCore
from trishula.errors import Refused, TrishulaError
from trishula.folder.spool import Letter, Spool
from trishula.inbox import Key
from trishula_protocol import limits

ROOM: Final = 1_000
"""Unsettled letters in memory at most, about; the rest wait in their files."""
ASK_SECONDS: Final = 5.0
"""How long the hub may take to say whether it knows a letter; then it is asked again."""

PEER_SECONDS: Final = 60.0
"""How long an agent that no hub reaches is written to in the folder after a letter of its."""

T = TypeVar("T")
Trace = Callable[[str], Awaitable[Any]]
_log = logging.getLogger("trishula")


class Reading:
    """One agent's reading.

    Args:
        pump: has the core's events carried out.
        trace: asks the hub where the message of an id is.
        remembers: whether ids finished in earlier lives are known for sure.
    """

    def __init__(
        self,
        core: AgentCore,
        spool: Spool,
        *,
        pump: Callable[[], object],
        trace: Trace,
        remembers: bool,
    ) -> None:
        self._core = core
        self._spool = spool
        self._pump = pump
        self._trace = trace
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "trishula-folder-in")
        self._hint = asyncio.Event()
        self._born = 0.0 if remembers else time()
        self._letters: dict[Key, Letter] = {}
        self._attempts: dict[Key, int] = {}
        self._pauses: dict[Key, asyncio.TimerHandle] = {}
        self._old: list[Letter] = []
        self._away = False
        self.peers: dict[str, float] = {}
        """Agents whose last letter came by file, and until when they are answered so."""
        self._peers_count_after = 0.0
        self._task: asyncio.Task[None] | None = None
        self.hub: bool | None = None
        """Whether a hub answers; None while that is not decided."""

    def __repr__(self) -> str:
        return f"<Reading {self._spool!r}, {len(self._old)} to ask about>"

    async def open(self) -> None:
        """Make the agent's place in the folder, and read what it had settled there."""
        for key in await self._in_thread(self._spool.open):
            self._core.inbox.finished.add(key, None)

    def start(self) -> None:
        """Begin to read."""
        self._task = self._loop.create_task(self._run(), name="trishula-folder-in")
        self.hint()

    def halt(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
        for timer in self._pauses.values():
            timer.cancel()

    async def close(self) -> None:
        """Put away what is settled, and end."""
        self.halt()
        if self._task is not None:
            await asyncio.wait([self._task])
        try:
            await self._put_away()
        except OSError as error:
            _log.warning("%s: settled mail stays in its inbox: %s", self._spool.layout.root, error)
        finally:
            self._thread.shutdown(wait=False)

    def hint(self) -> None:
        """There may be something to read, or to put away."""
        self._hint.set()

    def by_file(self, agent: str) -> bool:
        """Whether ``agent`` is known to have been out of a hub's reach of late."""
        until = self.peers.get(agent)
        if until is None:
            return False
        if until < monotonic():
            del self.peers[agent]
            return False
        return True

    def peers_count_after(self, moment: float) -> None:
        """Until then (monotonic seconds) letters do not tell that no hub reaches their writer."""
        self.peers.clear()
        self._peers_count_after = moment

    def offer_again(self) -> None:
        """The hub's connection is lost: what it was to attempt again, and lies here, is ours."""
        self._offer(key for key in self._letters if key not in self._pauses)

    # --- the task ---

    async def _run(self) -> None:
        while True:
            await self._hint.wait()
            self._hint.clear()
            try:
                await self._put_away()
                room = ROOM - len(self._letters)
                if room > 0:
                    await self._read(room)
                if self._away:
                    self._away = False
                    _log.info("%s: the shared folder is back", self._spool.layout.root)
            except OSError as error:
                if not self._away:
                    self._away = True
                    _log.warning(
                        "%s: the shared folder is away: %s", self._spool.layout.root, error
                    )
            except Exception:
                _log.exception("%s: reading", self._spool.layout.root)

    async def _read(self, room: int) -> None:
        found = await self._in_thread(self._spool.scan, room)
        if self._spool.more:
            self.hint()
        fresh: list[Letter] = []
        for letter in found:
            (self._old if self._is_old(letter) else fresh).append(letter)
        for letter in fresh:
            self._letters[letter.key] = letter
        self._offer(letter.key for letter in fresh)
        if self._old and self.hub is not None:
            await self._decide_old()

    def _is_old(self, letter: Letter) -> bool:
        """Whether this process cannot know if it was finished before."""
        seconds = letter.stamp / 1_000_000
        return seconds < max(self._born, time() - limits.DEDUP_MS / 1000)

    async def _decide_old(self) -> None:
        """Ask the log about letters older than what is remembered. Without a hub ``done/`` has
        decided, or they would wait for as long as there is none."""
        old, self._old = self._old, []
        unknown: list[Letter] = []
        while old:
            letter = old[0]
            try:
                if self.hub and await self._hub_knows(letter):
                    await self._in_thread(self._spool.discard, letter.key)
                else:
                    unknown.append(letter)
            except (TimeoutError, TrishulaError):
                self._old += old  # the hub is lost, or busy: later
                break
            old.pop(0)
        self._letters |= {letter.key: letter for letter in unknown}
        self._offer(letter.key for letter in unknown)

    async def _hub_knows(self, letter: Letter) -> bool:
        sender, id = letter.key
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answer = await self._trace(id)
        except Refused as error:
            if error.retryable:
                raise
            return False
        return any(message.get("from") == sender for message in answer["messages"])

    # --- offering ---

    def _offer(self, keys: Iterable[Key]) -> None:
        letters = [self._letters[key] for key in keys]
        now = monotonic()
        for letter in letters:
            letter.envelope.attempt = self._attempts.get(letter.key, 0) + 1
            if now >= self._peers_count_after:
                self.peers[letter.key[0]] = now + PEER_SECONDS
        self._core.file_in(letter.envelope for letter in letters)
        self._pump()

    def look(self) -> None:
        """The application has said something: see what is to be done."""
        for key in self._core.inbox.again():
            self._fail(key)
        if self._core.inbox.has_put_away:
            self.hint()

    def _fail(self, key: Key) -> None:
        """An attempt failed. The folder's dead letters are in ``rejected/``."""
        ended = self._attempts[key] = self._attempts.get(key, 0) + 1
        if ended >= limits.ATTEMPTS:
            self._core.inbox.give_up(key, f"given up after {ended} attempts")
            return
        delay = limits.retry_delay_ms(ended) / 1000
        self._pauses[key] = self._loop.call_later(delay, self._resume, key)

    def _resume(self, key: Key) -> None:
        del self._pauses[key]
        if key in self._letters:
            self._offer([key])

    async def _put_away(self) -> None:
        settled = self._core.inbox.put_away()
        if not settled:
            return
        try:
            await asyncio.shield(self._in_thread(self._spool.put_away, settled))
        finally:
            for key, _ in settled:
                self._letters.pop(key, None)
                self._attempts.pop(key, None)
                pause = self._pauses.pop(key, None)
                if pause is not None:
                    pause.cancel()
                self._core.inbox.filed.discard(key)
        if self._spool.more:
            self.hint()

    def _in_thread(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._thread, work, *args)
