"""The archive of a node: a chain for each namespace that it serves or served, and a local one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from trishula_broker.audit import segment
from trishula_broker.audit.follower import POLL_S, RETRY_S, Follower, why_not
from trishula_broker.audit.heads import NodeKey
from trishula_broker.audit.local import Local
from trishula_broker.audit.lock import ArchiveLock
from trishula_broker.audit.port import Port
from trishula_broker.audit.sealing import Sealer
from trishula_broker.audit.segment import LOCAL, TRAIL, ChainName
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.writer import ChainWriter, Damaged
from trishula_broker.net.ports import Log
from trishula_broker.store.base import StoreUnavailable
from trishula_broker.store.trail import Archive, Head

FLUSH_S: Final = 0.5
"""What only this node saw is on the disk after this long at the latest."""
CATCH_UP_S: Final = 2.0
"""Whoever wants to read waits so long for the last of it."""
TIDY_S: Final = 10.0
AGAIN_S: Final = 0.05
"""Until the store is asked again to keep a trail: sooner than anything else is tried again."""


class Archiver:
    """Writes the archive of ``node`` in ``root``.

    Args:
        home: the namespace that the local chain's heads are put to.
        key: signs the heads.
        port: the store.
        clock: wall-clock milliseconds.
        log: where alarms and failures go.
        accepting: told why no message may be accepted, None once they may be.
        sealer: encrypts, when given.
        several: whether other nodes archive the same trails.
    """

    def __init__(
        self,
        root: Path,
        node: str,
        home: str,
        key: NodeKey,
        settings: AuditSettings,
        port: Port,
        clock: Callable[[], int],
        log: Log,
        accepting: Callable[[str | None], None],
        *,
        sealer: Sealer | None = None,
        several: bool = False,
    ) -> None:
        self.root = root
        writer = ChainWriter(root, ChainName(LOCAL), node, settings, sealer, clock)
        self.local = Local(writer, node, clock)
        self._node = node
        self._home = home
        self._key = key
        self._settings = settings
        self._port = port
        self._clock = clock
        self._log = log
        self._accepting = accepting
        self._sealer = sealer
        self._several = several
        self._lock = ArchiveLock(root, node)
        self._thread = ThreadPoolExecutor(1, "audit")
        self._followers: dict[str, Follower] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, str] = {}
        self.alarms: list[str] = []
        """What an operator must know, since the start."""
        self._closed = False

    def __repr__(self) -> str:
        return f"<Archiver {self.root} {list(self._followers.values())} {self.problem or 'well'}>"

    # --- the start and the end ---

    async def open(self) -> None:
        """Take the folder, find where its chains end, and go on there.

        Raises:
            Held: another hub has it.
            Damaged: a chain cannot be continued.
            OSError: it cannot be read or written.
        """
        try:
            await self._in_thread(self._take)
            await self._in_thread(self.local.writer.open)
            names = await self._in_thread(lambda: segment.chains(self.root))
            found = {name.namespace for name in names if name.kind == TRAIL}
            for namespace in (self._home, *sorted(found - {self._home})):
                follower = self._begin(namespace)
                await self._in_thread(follower.writer.open)
                self._note_damage(follower.writer)
        except BaseException:
            await self.close()
            raise
        self._note_damage(self.local.writer)
        for namespace, follower in self._followers.items():
            self._tasks[namespace] = asyncio.create_task(follower.run(), name=f"audit {namespace}")
        self._tasks[""] = asyncio.create_task(self._keep_local(), name="audit local")

    def _take(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.take()

    def _begin(self, namespace: str) -> Follower:
        name = ChainName(TRAIL, namespace)
        follower = self._followers[namespace] = Follower(
            ChainWriter(self.root, name, self._node, self._settings, self._sealer, self._clock),
            self._node,
            self._key,
            self._settings,
            self._port,
            self._in_thread,
            self._clock,
            self._log,
            several=self._several,
            trouble=self._trouble,
            alarm=self._alarm,
            others=self._local_heads if namespace == self._home else tuple,
            local=self.local.writer if namespace == self._home else None,
        )
        self._announce(namespace)
        return follower

    def _announce(self, namespace: str) -> None:
        """From the next commit on the trail is kept, whatever happens to be in that."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()

        def announced(done: asyncio.Future[Any]) -> None:
            if not done.cancelled() and isinstance(done.exception(), StoreUnavailable):
                loop.call_later(AGAIN_S, self._announce, namespace)

        first = asyncio.ensure_future(self._port.submit(namespace, Archive(self._node, 0)))
        first.add_done_callback(announced)

    def follow(self, namespace: str) -> None:
        """Archive ``namespace`` too, from the next commit on."""
        if namespace not in self._followers and not self._closed:
            follower = self._begin(namespace)
            task = asyncio.create_task(self._open_and_run(follower), name=f"audit {namespace}")
            self._tasks[namespace] = task

    async def _open_and_run(self, follower: Follower) -> None:
        writer = follower.writer
        while True:
            try:
                await self._in_thread(writer.open)
                break
            except OSError as error:
                self._trouble(str(writer.name), why_not(writer, error))
            except Damaged as error:
                self._trouble(str(writer.name), str(error))
            await asyncio.sleep(RETRY_S)
        self._trouble(str(writer.name), None)
        self._note_damage(writer)
        await follower.run()

    async def finish(self, timeout: float) -> None:
        """Archive what is there, and have the store know it, within ``timeout`` seconds."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._in_thread(self.local.flush)
                for follower in self._followers.values():
                    if follower.writer.is_open:
                        await follower.finish()
        except (OSError, StoreUnavailable) as error:  # TimeoutError is one
            why = str(error) or "it took too long"
            self._log.warning("audit_behind", why=why, what="it goes on at the next start")

    async def close(self) -> None:
        """Write what was seen last, and give the folder back."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        if self.local.writer.is_open:
            try:
                await self._in_thread(self.local.flush)
            except OSError as error:
                self._log.error("audit_lost", records=len(self.local), why=str(error))
        writers = [self.local.writer, *(each.writer for each in self._followers.values())]
        for writer in writers:
            await self._in_thread(writer.close)
        self._lock.release()
        self._thread.shutdown()

    # --- what goes on ---

    async def caught_up(self, namespace: str) -> None:
        """Return when what happened in ``namespace`` until now can be read in the archive, as far
        as it can be written; after :data:`CATCH_UP_S` at the latest."""
        try:
            async with asyncio.timeout(CATCH_UP_S):
                if len(self.local):
                    await self._in_thread(self.local.flush)
                follower = self._followers.get(namespace)
                if follower is not None:
                    await follower.caught_up()
        except OSError:  # TimeoutError is one; what keeps the disk from being written is in health
            pass

    async def _keep_local(self) -> None:
        """Write what only this node sees, twice a second."""
        loop = asyncio.get_running_loop()
        tidy_at = 0.0
        writer = self.local.writer
        name = str(writer.name)
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                if len(self.local):
                    await self._in_thread(self.local.flush)
                self._trouble(name, None)
                if loop.time() >= tidy_at:
                    tidy_at = loop.time() + TIDY_S
                    await self._in_thread(writer.tidy)
            except OSError as error:
                if len(self.local):
                    self._trouble(name, why_not(writer, error))
                await asyncio.sleep(RETRY_S - POLL_S)

    def _local_heads(self) -> tuple[Head, ...]:
        link = self.local.writer.durable
        if not link.number:
            return ()
        return (self._key.head(self._node, self._home, LOCAL, link, self._clock()),)

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        """Have ``call`` run in the archive's thread; once begun it is waited for."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # What it does to the chain must be known before anybody goes on with that.
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()
            raise

    # --- how it is ---

    def _trouble(self, chain: str, why: str | None) -> None:
        before = self.problem
        if why is None:
            self._troubles.pop(chain, None)
        else:
            self._troubles[chain] = why
        now = self.problem
        if (now is None) != (before is None):
            if now is None:
                self._log.info("audit_available")
            else:
                self._log.error("audit_unavailable", why=now)
            self._accepting(now)

    def _alarm(self, text: str) -> None:
        if text in self.alarms:
            return  # what could not be written is tried, and told, again
        self.alarms.append(text)
        self._log.error("audit_alarm", what=text)

    def _note_damage(self, writer: ChainWriter) -> None:
        if writer.problem is not None:
            self._alarm(f"{writer.problem}; it is left as it is, and the chain goes on behind it")

    @property
    def problem(self) -> str | None:
        """Why nothing can be archived, so that nothing is accepted; None when all is well."""
        return next(iter(self._troubles.values()), None)

    @property
    def mismatches(self) -> int:
        """Blocks in which another node's archive differs."""
        return sum(len(each.mismatches) for each in self._followers.values())

    def describe(self) -> dict[str, Any]:
        """What ``/health`` says."""
        return {
            "problem": self.problem,
            "alarms": self.alarms[-10:],
            "mismatches": self.mismatches,
            "entries": {name: each.writer.mark.pos for name, each in self._followers.items()},
            "records": {
                str(each.name): each.link.number
                for each in (self.local.writer, *(f.writer for f in self._followers.values()))
            },
        }
