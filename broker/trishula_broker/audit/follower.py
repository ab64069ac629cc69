"""Follows the trail of one namespace into its chain.

Records are made in the event loop, a little at a time: two threads that run Python hinder each
other. What blocks, writing and syncing, is done in the archive's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from trishula_broker.audit import blocks, chain
from trishula_broker.audit.blocks import Mark, with_block
from trishula_broker.audit.chain import Link
from trishula_broker.audit.heads import NodeKey
from trishula_broker.audit.lateness import Lateness
from trishula_broker.audit.others import Others
from trishula_broker.audit.past import Past
from trishula_broker.audit.port import InThread, Port
from trishula_broker.audit.records import SLICE, VERSION, Records
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.writer import ChainWriter
from trishula_broker.net.ports import Log
from trishula_broker.store.base import StoreUnavailable
from trishula_broker.store.trail import (
    Archive,
    Archived,
    Archives,
    Entry,
    Head,
    Trail,
)

ENTRY: Final = 4
"""Operations that cost as much as an entry itself: one of a quiet hub has a single one."""
LIMIT: Final = 1_000
"""Entries asked for together."""
POLL_S: Final = 0.2
"""Rest between two looks at the trail."""
RETRY_S: Final = 1.0
"""Rest after the disk, or the store, failed."""
COMMIT_S: Final = 1.0
COMMIT_BYTES: Final = 4 << 20
"""The store hears how far the archive is this often, or after so many bytes of it: the sooner it
does, the less of the trail it writes to its tables. What it hears of is on the disk: a sync of a
growing file has the store's own wait, so there is one for each."""
REMEMBERED: Final = 10_000
"""Entries whose places are looked at again when a store was set back; it loses fewer."""
HEARD_S: Final = 600.0
"""And this often although nothing happened: who is silent for a day is no archiver any more."""
COMPARE_S: Final = 5.0
"""How often other nodes' digests are looked at."""
TIDY_S: Final = 10.0
"""How often age is looked at: of segments to be sealed or removed."""


class Follower:
    """Archives one namespace.

    Args:
        writer: its chain, not opened yet.
        several: whether other nodes archive the same trail.
        trouble: told why the archive cannot be written, None once it can.
        alarm: told what an operator must know, once each.
        others: signed heads that go to the store along with this chain's,
        local: and the chain that they are of.
    """

    def __init__(
        self,
        writer: ChainWriter,
        node: str,
        key: NodeKey,
        settings: AuditSettings,
        port: Port,
        in_thread: InThread,
        clock: Callable[[], int],
        log: Log,
        *,
        several: bool,
        trouble: Callable[[str, str | None], None],
        alarm: Callable[[str], None],
        others: Callable[[], tuple[Head, ...]] = tuple,
        local: ChainWriter | None = None,
    ) -> None:
        self.writer = writer
        self.namespace = writer.name.namespace
        self._beside = Others(node, self.namespace, alarm)
        self._node = node
        self._key = key
        self._records = Records(self.namespace, settings)
        self._port = port
        self._in_thread = in_thread
        self._clock = clock
        self._log = log
        self._several = several
        self._trouble = trouble
        self._alarm = alarm
        self._others = others
        self._past = Past(
            [writer] if local is None else [writer, local],
            node,
            key,
            lambda: port.query(self.namespace, Archives(since=1 << 62)),
            in_thread,
            alarm,
        )
        self._digests: list[tuple[int, str]] = []
        """Of blocks that ended, not yet in the store."""
        self._stood: dict[int, tuple[int, str]] = {}
        """Of recent entries, when and by whom: others may take their places in a shared store."""
        self._told: Link | None = None
        self._told_pos = -1
        self._untold = 0
        self._told_others: tuple[int, ...] = ()
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._commit_at = self._compare_at = self._tidy_at = 0.0
        self._tidy_failed = ""
        self._full = False
        self._hurry = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        """Those who want to know when the chain has what there is now."""
        self._failing = False
        self._stuck = False
        self._lateness = Lateness(self.namespace, clock, loop.time, log)

    def __repr__(self) -> str:
        return f"<Follower {self.writer!r}>"

    @property
    def mismatches(self) -> dict[tuple[str, int], str]:
        """``(node, block)`` whose digest differs from this node's, with what was said of it."""
        return self._beside.mismatches

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self._hurry.clear()
            waiting, self._waiting = self._waiting, []
            try:
                moved = await self.step()
                pause = 0.0 if self._full else POLL_S
            except (StoreUnavailable, OSError):
                moved, pause = False, RETRY_S
            except Exception as error:
                self._log.error("bug", during="audit", exc_info=error)
                if not self._stuck:
                    self._stuck = True
                    self._alarm(f"the archive of {self.namespace} does not go on: {error!r}")
                moved, pause = False, RETRY_S
            if self._full:  # there is more
                self._waiting += waiting
            else:
                for each in waiting:
                    if not each.done():
                        each.set_result(None)
            if not moved or pause:
                await self._rest(pause or POLL_S)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def caught_up(self) -> None:
        """Return when all that was committed until now can be read in the chain, or cannot be
        archived now; never, while it is not followed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._hurry.set()
        await done

    async def step(self) -> bool:
        """Archive what there is, say so to the store, and do what is due; whether there was any.

        Raises:
            OSError: the archive cannot be written; what it was about is in the store.
            StoreUnavailable: the store cannot be asked now.
        """
        if not self._past.seen:
            await self._writing(self._past.look())
        entries = await self._news()
        self._full = len(entries) == LIMIT
        if entries:
            await self._writing(self._write(entries))
            self._lateness.archived(entries[-1].at)
            self._full = self._full or self.writer.mark.pos < entries[-1].pos
        if self._is_commit_due():
            await self._commit()
        now = self._time()
        if self._several and now >= self._compare_at:
            self._compare_at = now + COMPARE_S
            self._beside.compare(await self._port.query(self.namespace, Archives()))
        if self.writer.needs_tidying or now >= self._tidy_at:
            self._tidy_at = now + TIDY_S
            await self._tidy()
        return bool(entries)

    async def finish(self) -> None:
        """Archive what is there now, and have the store know it.

        Raises:
            OSError: the archive cannot be written.
            StoreUnavailable: the store cannot be asked now.
        """
        await self.step()
        while self._full:
            await self.step()
        await self._commit()

    async def _news(self) -> Sequence[Entry]:
        """What is behind this archive's last entry, after a look at whether that is still there."""
        had = self.writer.mark.pos
        stood = self._stood.get(had)
        if stood is not None:
            query = Trail(after=had - 1, limit=LIMIT + 1)
            entries = await self._port.query(self.namespace, query)
            if entries and entries[0].pos == had:
                if (entries[0].at, entries[0].node) != stood:
                    await self._overtaken()
                elif len(entries) > 1:
                    return tuple(entries[1:])
            else:
                return tuple(entries[:LIMIT])
        query = Trail(after=self.writer.mark.pos, limit=LIMIT)
        return tuple(await self._port.query(self.namespace, query))

    # --- writing ---

    async def _writing(self, work: Awaitable[None]) -> None:
        """Do what needs the disk; what keeps it from being done is told, until that, too, is
        where it would survive a crash."""
        try:
            await work
            if self._failing:
                await self._in_thread(self.writer.sync)
        except OSError as error:
            self._failing = True
            whole = self.writer.mark.pos // blocks.SIZE
            self._digests = [each for each in self._digests if each[0] < whole]
            self._trouble(str(self.writer.name), why_not(self.writer, error))
            raise
        if self._failing:
            self._failing = False
            self._trouble(str(self.writer.name), None)

    async def _write(self, entries: Sequence[Entry]) -> None:
        if entries[0].pos != self.writer.mark.pos + 1:
            await self._gap(entries[0].pos)
        await self._archive(entries)

    async def _archive(self, entries: Sequence[Entry]) -> None:
        writer = self.writer
        if writer.is_due:
            await self._in_thread(writer.make_room)
        mark, skip, link = writer.mark, writer.skip, writer.link
        version = writer.version if skip else VERSION
        if version != VERSION:  # only the entry that a crash tore has the old form
            entries = entries[:1]
        number, work = link.number - skip, 0
        ended: list[tuple[int, str]] = []
        begun: list[bytes] = []
        closed: list[bytes] = []
        for entry in entries:
            mark = blocks.behind(mark, entry) if self._several else Mark(entry.pos, None)
            for some in self._records.slices(entry, number + 1, version):
                if work >= SLICE:
                    link, work = _close(link, begun, closed), 0
                    await asyncio.sleep(0)  # let the loop do other things
                number += len(some)
                work += ENTRY + min(len(entry.done), SLICE)
                if skip:  # a crash came before the rest of them
                    skip, some = max(0, skip - len(some)), some[skip:]
                begun += some
            if mark.ended is not None:
                ended.append(mark.ended)
                if begun and entry is not entries[-1]:
                    begun[-1] = with_block(begun[-1], mark)
        if begun:
            begun[-1] = with_block(begun[-1], mark)
        link = _close(link, begun, closed)

        def append() -> None:
            writer.append(link, closed, mark, skip)
            self._untold += sum(map(len, closed))
            self._digests += ended
            self._beside.ended(ended)

        await self._in_thread(append)
        if self._several:
            self._stood |= {entry.pos: (entry.at, entry.node) for entry in entries}
            if len(self._stood) > 2 * REMEMBERED:
                self._stood = dict(sorted(self._stood.items())[-REMEMBERED:])

    async def _gap(self, pos: int) -> None:
        """Entries that this archive will never have."""
        before = self.writer.mark.pos
        missing = [before + 1, pos - 1]
        if before:
            self._alarm(
                f"the audit of {self.namespace} lacks entries {missing[0]} to {missing[1]}: this "
                "node was silent for too long, or a backup was restored, and the store has them no "
                "more; another node's archive may"
            )
        else:  # a node that is new here; one that was here before has a head in the store
            what = f"entries 1 to {pos - 1} are in the archives of nodes that were there before"
            self._log.info("audit_begins", namespace=self.namespace, entry=pos, what=what)
        mark = blocks.at(pos - 1)
        await self._in_thread(lambda: self.writer.say("gap", {"missing": missing}, mark))

    async def _overtaken(self) -> None:
        """The store was set back and has gone on since: others stand where this archive's last
        entries did, and are archived next. What a store may lose it has not removed."""
        after = min(self._stood) - 1
        while found := await self._port.query(self.namespace, Trail(after=after, limit=LIMIT)):
            for entry in found:
                if self._stood.get(entry.pos) != (entry.at, entry.node):
                    await self._writing(self._rewound(entry.pos - 1))
                    return
            after = found[-1].pos

    async def _rewound(self, last: int) -> None:
        """The store's trail ends before this archive's does, or did."""
        had = self.writer.mark.pos
        self._alarm(
            f"the audit of {self.namespace} has entries up to {had}, its store had {last} of them: "
            "the store was set back, or is another one; new entries follow under numbers that were "
            "used before"
        )
        mark = blocks.at(last)
        await self._in_thread(lambda: self.writer.say("rewound", {"had": had, "to": last}, mark))
        self._stood = {pos: stood for pos, stood in self._stood.items() if pos <= last}
        whole = last // blocks.SIZE
        self._digests = [each for each in self._digests if each[0] < whole]
        self._beside.forget_from(whole)

    async def _tidy(self) -> None:
        try:
            await self._in_thread(self.writer.tidy)
            self._tidy_failed = ""
        except OSError as error:
            why = why_not(self.writer, error)
            if why != self._tidy_failed:
                self._tidy_failed = why
                self._log.warning("audit_not_sealed", chain=str(self.writer.name), why=why)

    # --- what the store hears, and says ---

    def _is_commit_due(self) -> bool:
        now, writer = self._time(), self.writer
        if self._untold >= COMMIT_BYTES:
            return True
        if now < self._commit_at:
            return False
        others = tuple(head.number for head in self._others())
        news = (
            writer.mark.pos != self._told_pos
            or writer.link != self._told
            or others != self._told_others
        )
        return news or now >= self._commit_at + HEARD_S

    async def _commit(self) -> None:
        writer = self.writer
        if not writer.is_synced:
            await self._writing(self._in_thread(writer.sync))
        link, mark, others = writer.durable, writer.mark, self._others()
        digests = tuple(self._digests)
        kind = writer.name.kind
        head = self._key.head(self._node, self.namespace, kind, link, self._clock())
        op = Archive(self._node, mark.pos, (head, *others), digests)
        self._commit_at = self._time() + COMMIT_S
        self._untold = 0
        outcome = await self._port.submit(self.namespace, op)
        if not isinstance(outcome, Archived):
            raise StoreUnavailable(f"the store answered {type(outcome).__name__}")
        del self._digests[: len(digests)]
        self._told, self._told_pos = link, mark.pos
        self._told_others = tuple(head.number for head in others)
        if outcome.last < mark.pos:
            await self._rewound(outcome.last)


def _close(link: Link, begun: list[bytes], closed: list[bytes]) -> Link:
    """Chain what was begun, and put it behind ``closed``: while it is still in the cache."""
    link, lines = chain.close(link, begun)
    begun.clear()
    closed += lines
    return link


def why_not(writer: ChainWriter, error: OSError) -> str:
    """What stands in the way of writing, and what to do."""
    return (
        f"the audit cannot be written to {writer.folder} ({error.strerror or error}): make room, "
        "or make it writable"
    )
