"""A namespace in Redis, as one node uses it: its commits, its questions, its hints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Final, NamedTuple

import msgspec

from trishula_broker.store import base
from trishula_broker.store.recent import Recent
from trishula_broker.store.recorded import recorded
from trishula_broker.store.redis.answers import answer, question
from trishula_broker.store.redis.encoding import Arguments
from trishula_broker.store.redis.hints import HINT_BYTES, Listener, Pages
from trishula_broker.store.redis.link import Begun as Sent
from trishula_broker.store.redis.link import Command, Link, script_call
from trishula_broker.store.redis.messages import encode
from trishula_broker.store.redis.page import AtHand, Page, kept
from trishula_broker.store.redis.places import Place
from trishula_broker.store.redis.runs import OPERATIONS, arguments, outcomes
from trishula_broker.store.redis.scripts import ANSWER, TRIM
from trishula_broker.store.redis.trail import Packed
from trishula_protocol import limits

POINTERS: Final = 2_000
"""Copies after which a script ends; the one operation that passes it is still done wholly."""


class Settings(msgspec.Struct, frozen=True):
    """What all namespaces of a store have in common; see :class:`RedisStore`."""

    place: Place
    limits: base.MailboxLimits
    node: str
    require_replicas: int
    timeout: float
    own_clock: bool


@dataclass(slots=True)
class Epochs:
    """The last epoch that this process saw in any namespace: the next one is larger."""

    last: int = 0


class Piece(NamedTuple):
    """What one script does."""

    ops: Sequence[Arguments]
    pages: Sequence[Page] = ()
    """Of the runs among them, in their order."""


@dataclass(slots=True)
class Begun:
    """A commit that was encoded, and perhaps sent in part."""

    encoded: Sequence[Arguments]
    counts: Sequence[int] = ()
    """Of each of these, how many operations it stands for."""
    pages: Sequence[Page | None] = ()
    """Of each that is a run, its messages."""
    commands: Sequence[Command] = ()
    size: int = 0
    """Of the operations that were sent, packed."""
    sent: Sent | None = None

    def piece(self, done: int) -> Piece:
        """What the next script does, where ``done`` of the encoded ones were done."""
        behind, left = done, OPERATIONS
        while behind < len(self.counts) and self.counts[behind] <= left:
            left -= self.counts[behind]
            behind += 1
        pages = [page for page in self.pages[done:behind] if page is not None]
        return Piece(self.encoded[done:behind], pages)


def prefix(namespace: str) -> str:
    """With what all keys of a namespace begin; they are on one shard."""
    return f"trishula:{{{namespace}}}:"


class Space:
    """One namespace.

    Args:
        link: for commits, one at a time.
        asking: for questions, which may be asked meanwhile.
    """

    def __init__(
        self,
        namespace: str,
        link: Link,
        asking: Link,
        settings: Settings,
        epochs: Epochs,
        tell: Callable[[str, Sequence[base.Hint]], None],
    ) -> None:
        self.key = prefix(namespace)
        self.link = link
        self.listed = False
        """Whether it is among the namespaces of the store."""
        self._asking = asking
        self._settings = settings
        self._epochs = epochs
        self._arrived = False
        self._args = encode(self._common())
        self.recent = Recent()
        """What this node added to the trail last, once somebody here follows that."""
        self._followed = False
        self._added = 0
        """The position of this node's last entry."""
        self._hinted = AtHand()
        self._listener: Listener | None = None
        if settings.node:
            self._listener = Listener(
                settings.place,
                self.key,
                settings.node,
                asking,
                partial(tell, namespace),
                settings.timeout,
                self._came,
            )

    def __repr__(self) -> str:
        return f"<Space {self.key} {self.link!r}>"

    async def arrive(self) -> None:
        """This process begins to serve: see :meth:`base.Store.open`."""
        # Whoever has not been found dead lives, where nobody knows the time yet.
        now = None if self._settings.own_clock else 0
        await self._run(Piece([("arrive", self._settings.node)]), now, arriving=False)

    def begin(self, now: int, ops: Sequence[base.Operation]) -> Begun:
        """Encode ``ops``, and send what one script does where nothing must be done before."""
        begun = Begun(*arguments(ops))
        hears = self._listener is None or self._listener.started
        if self.listed and hears and self.link.is_open:
            begun.commands, begun.size = self._commands(
                begun.piece(0),
                None if self._settings.own_clock else now,
                arriving=not self._arrived,
            )
            begun.sent = self.link.begin(begun.commands)
        return begun

    async def commit(
        self, now: int, ops: Sequence[base.Operation], begun: Begun
    ) -> list[base.Outcome]:
        """As :meth:`base.Store.commit`, of what was begun."""
        if self._listener is not None and not self._listener.started:
            await self._listener.start()
        told: list[base.Outcome] = []
        done = 0
        while True:
            try:
                if begun.sent is not None and not done:
                    found, size = await self._finish(begun), begun.size
                else:
                    found, size = await self._run(
                        begun.piece(done),
                        None if self._settings.own_clock else now,
                        arriving=not self._arrived,
                    )
            except BaseException:
                self.recent.clear()  # a Redis that was set back may have others in their places
                self._hinted.clear()
                raise
            count, clock, number, epoch, answers, pos = found
            self._arrived = True
            self._epochs.last = max(self._epochs.last, epoch)
            at = clock if self._settings.own_clock else now
            counts = begun.counts[done : done + count]
            some = ops[len(told) : len(told) + sum(counts)]
            fresh = outcomes(some, counts, answers, at)
            told += fresh
            done += count
            if pos and pos <= self._added:
                self.recent.clear()  # it was set back, and nobody was told
            self._added = pos or self._added
            if pos and self._followed:
                kept = tuple(recorded(some, fresh))
                self.recent.add(base.Entry(pos, at, self._settings.node, kept), size)
            for one in fresh if self._followed else ():
                if isinstance(one, base.Archived):
                    self.recent.remove_upto(one.first - 1)
            if len(told) == len(ops):
                break
        if self._listener is not None:
            await self._listener.catch_up(number)
        return told

    async def _run(self, piece: Piece, now: int | None, *, arriving: bool) -> tuple[Any, int]:
        await self.link.ready()
        begun = Begun(piece.ops)
        begun.commands, begun.size = self._commands(piece, now, arriving=arriving)
        return await self._finish(begun), begun.size

    def _commands(
        self, piece: Piece, now: int | None, *, arriving: bool
    ) -> tuple[list[Command], int]:
        """What does ``piece``, and how large it is; the link is open."""
        packed, own = encode(piece.ops), self._own(now, arriving=arriving)
        pages = [part for page in piece.pages for part in page]
        commands = [self.link.commit_call(self.key, self._args, packed, *own, *pages)]
        if self._settings.require_replicas:
            commands.append(self._confirmation())
        return commands, len(packed) + sum(map(len, pages))

    async def _finish(self, begun: Begun) -> Any:
        found, *confirmed = await self.link.finish(begun.commands, begun.sent)
        self.link.learn(found[1])
        if found[0] < 0:
            raise base.StoreUnavailable(f"Redis at {self.link.where} was too slow; it did nothing")
        if confirmed:
            self._see_confirmed(confirmed[0])
        return found

    def _common(self) -> dict[str, Any]:
        """What all batches have in common: ``args`` in the scripts."""
        settings = self._settings
        return {
            "node": settings.node,
            "messages": settings.limits.messages,
            "bytes": settings.limits.bytes,
            "delays": limits.RETRY_DELAYS_MS,
            "ephemeral_ms": limits.EPHEMERAL_MS,
            "priority": limits.PRIORITY_DEFAULT,
            "hint_bytes": HINT_BYTES,
            "publish": "SPUBLISH" if settings.place.sharded else "PUBLISH",
            "schema": self.link.schema_key,
            "pointers": POINTERS,
        }

    def _own(self, now: int | None, *, arriving: bool) -> tuple[str | int, ...]:
        """What one batch alone has."""
        at = "" if now is None else now
        last, alike = self._epochs.last, self.link.alike
        return (at, self.link.deadline, last, 1 if arriving else 0, 1 if alike else 0)

    def _confirmation(self) -> Command:
        """Answered when enough replicas have it, on their disks where they can say so."""
        server = self.link.server
        assert server is not None
        replicas = self._settings.require_replicas
        patience = int(self._settings.timeout * 500)
        if server.has_waitaof:
            return ("WAITAOF", 1, replicas, patience)
        return ("WAIT", replicas, patience)

    def _see_confirmed(self, found: Any) -> None:
        required = self._settings.require_replicas
        here, there = found if isinstance(found, list) else (1, found)
        if there < required:
            raise base.StoreUnavailable(
                f"{there} of {required} Redis replicas have confirmed: see that they run and follow"
            )
        if not here:
            raise base.StoreUnavailable("Redis has not synced its append-only file in time")

    async def query(self, query: base.Query) -> Any:
        """As :meth:`base.Store.query`."""
        if isinstance(query, base.Trail):
            return await self._read_trail(query)
        (found,) = await self._asking.call(script_call(ANSWER, self.key, *question(query)))
        return answer(query, found)

    async def _read_trail(self, query: base.Trail) -> tuple[base.Entry, ...]:
        """What is at hand, and between that what Redis has of other nodes."""
        self._followed = True
        found: list[base.Entry] = []
        left, after = query.limit_bytes, query.after
        while len(found) < query.limit:
            some = self.recent.read(after, query.limit - len(found))
            gap = 0
            if not some:
                until = self.recent.next_after(after)
                gap = query.limit if until is None else until - after - 1
                limit = min(gap, query.limit - len(found))
                asked = question(base.Trail(after, limit, max(left, 0)))
                (places,) = await self._asking.call(script_call(ANSWER, self.key, *asked))
                some = await self._entries(places)
            for one, size in some:
                left -= size
                if found and left < 0:
                    return tuple(found)
                found.append(one)
                after = one.pos
            if len(some) < gap:
                break
        return tuple(found)

    async def _entries(self, places: Sequence[int]) -> list[tuple[base.Entry, int]]:
        """Those at ``places``, up to one that was removed meanwhile, and their sizes."""
        if not places:
            return []
        (rows,) = await self._asking.call(("HMGET", f"{self.key}trail", *places))
        there = takewhile(lambda row: row[1] is not None, zip(places, rows, strict=True))
        packed = [(Packed(pos, row), len(row)) for pos, row in there]
        pages = await self._pages([first for one, _ in packed for first in one.firsts])
        return [
            (one.entry(pages), size + sum(pages[first].size for first in one.firsts))
            for one, size in packed
        ]

    async def _pages(self, firsts: Sequence[int]) -> dict[int, Page]:
        """The pages of runs, where they are: at hand, with the run, or kept for the trail."""
        found = {first: page for first in firsts if (page := self._hinted.take(first))}
        wanted = [first for first in firsts if first not in found]
        if not wanted:
            return found
        # In that order: what is not with the run any more is kept before it goes.
        asked: list[Command] = [
            ("HMGET", f"{self.key}runs:{name}", *wanted) for name in ("heads", "bodies", "kept")
        ]
        rows = await self._asking.call(*asked)
        for first, head, bodies, other in zip(wanted, *rows, strict=True):
            if head is not None and bodies is not None:
                found[first] = Page(head, bodies)
            elif other is not None:
                found[first] = kept(other)
        return found

    def _came(self, pages: Pages | None) -> None:
        """Hints brought these, which the trail tells of soon; None when some were missed."""
        if pages is None:
            self._hinted.clear()
        elif self._followed:
            for first, page in pages:
                self._hinted.add(first, page)

    async def trim(
        self, now: int, after: int, most_bytes: int, most: int, retention: base.Retention
    ) -> tuple[int, int, bool]:
        """Remove ``most`` messages at most of those behind ``after``: how many, and up to where
        it looked; 0 there when nothing behind that can go. And whether more of the trail can."""
        await self.link.ready()
        self.recent.clear()  # it may remove what is there
        arguments = self._common() | {
            "after": after,
            "max_age_ms": retention.max_age_ms,
            "max_bytes": most_bytes,
            "dedup_ms": retention.dedup_ms,
            "dedup_ids": retention.dedup_ids,
            "archiver_ms": retention.archiver_ms,
            "archiver_away_ms": retention.archiver_away_ms,
            "trail_bytes": retention.trail_bytes,
            "looks": OPERATIONS,
            "most": most,
        }
        own = self._own(None if self._settings.own_clock else now, arriving=False)
        command = script_call(TRIM, self.key, encode(arguments), encode([]), *own)
        ((gone, looked, more),) = await self.link.call(command)
        return gone, looked, more == 1

    async def log_bytes(self) -> int:
        """Bytes of the bodies in its log."""
        (found,) = await self._asking.call(("HGET", f"{self.key}state", "bytes"))
        return int(found or 0)

    async def drop(self) -> None:
        """Connect anew, for whatever is next."""
        await self._asking.drop()
        if self._listener is not None:
            await self._listener.drop()

    async def close(self) -> None:
        """Hear no more hints."""
        if self._listener is not None:
            await self._listener.stop()
