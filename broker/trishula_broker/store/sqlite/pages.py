"""The log of a SQLite store: pages of consecutive messages.

A page costs the writer far less than a row with its indexes for each of its messages would. What
finds a message without its seq is beside the pages, in narrow tables: ``ids``, ``threads``, and in
``parts`` who sent or received something in which page.

A copy that was done at its first attempt before its page was written is in the page and has no row
of its own: nothing ever changes it again. It knows nothing of who waits for what.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from trishula_broker.store.sqlite.fans import Fan
from trishula_broker.store.sqlite.mailbox import CopyRecord
from trishula_broker.store.sqlite.statements import statements

SQL: Final = statements("pages")

MESSAGES: Final = 64
"""Of a page at most. Who looks one message up reads its whole page."""
RESTS: Final = 32
"""Messages between two rests of whoever writes them."""
BYTES: Final = 32 << 10
"""Bodies after which a page ends."""

Row = tuple[Any, ...]
"""A message that was accepted: the first fields of :class:`Entry`."""


class Entry(msgspec.Struct, array_like=True, gc=False):
    """A message in its page."""

    seq: int
    sender: int
    id: str
    type: str
    dest: str
    """The address it was sent to."""
    priority: int
    thread: str | None
    """None: its own id."""
    receipt: int
    accepted_at: int
    expires_at: int | None
    size: int
    """Of the body; 0 once that is trimmed."""
    body: bytes
    to: list[int]
    """The mailboxes whose copies have rows of their own, but for ``@`` mail."""
    done: list[int | None]
    """The others: mailbox, delivered_at, read_at, settled_at of each, laid end to end."""

    def has_part(self, agent: int) -> bool:
        """Whether ``agent`` sent it, or has a copy that is nowhere else."""
        return self.sender == agent or agent in self.done[::4]

    def fates(self) -> Iterator[tuple[int, int | None, int | None, int]]:
        """Mailbox, delivered_at, read_at, settled_at of the copies that are nowhere else."""
        values: Any = self.done
        return zip(*[iter(values)] * 4, strict=True)

    def copy_of(self, agent: int) -> CopyRecord | None:
        """The copy of ``agent``, when it is nowhere else."""
        for mailbox, delivered_at, read_at, settled_at in self.fates():
            if mailbox == agent:
                return CopyRecord(
                    agent, self.seq, self.priority, self.size, 0, None, self.expires_at, 0, 0,
                    None, delivered_at, read_at, None, settled_at, "done", None,
                )  # fmt: skip
        return None


class Page(msgspec.Struct):
    """A page that was read; ``entries`` has one for each seq, None where it was removed."""

    first: int
    last: int
    entries: list[Entry | None]

    def present(self) -> list[Entry]:
        """The entries that are left."""
        return [entry for entry in self.entries if entry is not None]

    def parts(self) -> dict[int, int]:
        """Who has a part in it, and how many of its messages each sent."""
        parts: dict[int, int] = {}
        for entry in self.present():
            parts[entry.sender] = parts.get(entry.sender, 0) + 1
            for agent, *_ in entry.fates():
                parts.setdefault(agent, 0)
        return parts


_encode: Final = msgspec.msgpack.Encoder().encode
_page: Final = msgspec.msgpack.Decoder(list[Entry | None])
_slices: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_entry: Final = msgspec.msgpack.Decoder(Entry | None)


def decode(first: int, last: int, data: bytes) -> Page:
    """A row of ``pages``."""
    return Page(first, last, _page.decode(data))


def encode(page: Page) -> bytes:
    """What the row of ``page`` has as its data."""
    return _encode(page.entries)


class Writer:
    """Messages on their way into pages, in the order of their seqs; :meth:`write` ends it."""

    def __init__(self) -> None:
        self._pages: list[Any] = []
        self._ids: list[Any] = []
        self._threads: list[Any] = []
        self._parts: list[int] = []
        self._begin()

    def _begin(self) -> None:
        self._page: list[Row] = []
        self._bytes = 0
        self._in_page: dict[int, int] = {}

    def add(self, row: Row, to: list[int], done: list[int | None]) -> None:
        """The message ``row``; the others are as in :class:`Entry`."""
        seq, sender, id_, thread = row[0], row[1], row[2], row[6]
        page = self._page
        if page and (
            len(page) == MESSAGES or self._bytes >= BYTES or seq != page[0][0] + len(page)
        ):
            self._end_page()
            page = self._page
        page.append((*row, to, done))
        self._bytes += row[10]
        if thread is None:
            self._ids += (id_, sender, seq, 0)
        else:
            self._ids += (id_, sender, seq, 1)
            self._threads += (thread, seq, sender)
        parts = self._in_page
        parts[sender] = parts.get(sender, 0) + 1
        if done:
            for agent in done[::4]:
                if agent not in parts:
                    parts[agent] = 0  # type: ignore[index]

    def write(self, db: sqlite3.Connection) -> None:
        """Into the tables with them."""
        if self._page:
            self._end_page()
        SQL["insert_pages"].run(db, self._pages)
        SQL["insert_ids"].run(db, self._ids)
        SQL["insert_threads"].run(db, self._threads)
        SQL["insert_parts"].run(db, self._parts)

    def _end_page(self) -> None:
        page = self._page
        first = page[0][0]
        self._pages += (first, page[-1][0], self._bytes, _encode(page))
        for agent, sent in self._in_page.items():
            self._parts += (agent, first, sent)
        self._begin()


def write(
    db: sqlite3.Connection,
    rows: Iterable[Row],
    new: Sequence[CopyRecord],
    fans: Mapping[int, Fan],
    rest: Callable[[], None] | None = None,
) -> list[CopyRecord]:
    """Write ``rows`` to the log; those of ``new`` and ``fans``, their copies, that need rows of
    their own.

    The first two are in the order of their seqs. ``rest`` is called once in a while.
    """
    others: list[CopyRecord] = []
    writer = Writer()
    at, end = 0, len(new)
    for n, row in enumerate(rows):
        if rest is not None and not n % RESTS:
            rest()
        seq = row[0]
        to: list[int] = []
        done: list[int | None] = []
        fan = fans.get(seq)
        if fan is not None:
            done = fan.done
            if fan.open:
                others += fan.rows()
                to += fan.open
        while at < end and (record := new[at]).seq <= seq:
            at += 1
            if (
                record.outcome == "done"
                and record.via is None
                and not (record.attempts or record.deliveries)
            ):
                done += (record.agent, record.delivered_at, record.read_at, record.settled_at)
            else:
                others.append(record)
                if record.via is None:
                    to.append(record.agent)
        writer.add(row, to, done)
    writer.write(db)
    return others


def read(db: sqlite3.Connection, seqs: Iterable[int]) -> dict[int, Entry]:
    """The entries at those of ``seqs`` that are in the log, by seq."""
    found: dict[int, Entry] = {}
    first, last = 0, -1
    slices: list[msgspec.Raw] = []
    for seq in sorted(set(seqs)):
        if seq > last:
            row = SQL["page_of"].execute(db, seq).fetchone()
            if row is None or row[1] < seq:
                continue
            first, last, data = row
            slices = _slices.decode(data)
        entry = _entry.decode(slices[seq - first])
        if entry is not None:
            found[seq] = entry
    return found


def with_part(db: sqlite3.Connection, agent: int, after: int, limit: int) -> Iterator[Page]:
    """Pages that ``agent`` has a part in, from the one on that has the seq ``after``."""
    rows = SQL["pages_with"].execute(db, agent=agent, after=after, limit=limit)
    while (row := rows.fetchone()) is not None:
        yield decode(*row)


def after(db: sqlite3.Connection, seq: int) -> Iterator[Page]:
    """The pages that begin behind ``seq``."""
    rows = SQL["pages_after"].execute(db, seq)
    while (row := rows.fetchone()) is not None:
        yield decode(*row)


def names(db: sqlite3.Connection, agents: Iterable[int]) -> dict[int, str]:
    """What these mailboxes are called."""
    wanted = list(dict.fromkeys(agents))
    return {
        id_: name for cursor in SQL["names"].many(db, wanted) for id_, name in cursor.fetchall()
    }
