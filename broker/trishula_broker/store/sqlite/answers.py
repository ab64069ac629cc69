"""Answers of a SQLite store, from its own read transactions. Nothing here changes anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from trishula_broker.store import base
from trishula_broker.store.sqlite import pages
from trishula_broker.store.sqlite.mailbox import Snapshot
from trishula_broker.store.sqlite.statements import statements
from trishula_broker.store.sqlite.trail import read_archives, read_trail

SQL: Final = statements("answers")
LOOK: Final = 256
"""Messages of a thread looked at together: it may be as long as the log."""

Published = Mapping[str, Mapping[str, Snapshot]]
"""What was last committed of every mailbox, by namespace and name."""


class _LetterRow(msgspec.Struct, array_like=True, gc=False):
    agent: str
    seq: int
    expires_at: int | None
    attempts: int
    deliveries: int
    via: str | None
    outcome: base.Settled
    reason: str | None
    settled_at: int


class _FateRow(base.Fate, array_like=True, frozen=True):
    """A fate as the database tells it."""


class CopyRow(msgspec.Struct, array_like=True, gc=False):
    """What is asked of a copy that is to be handed out."""

    seq: int
    size: int
    attempts: int
    deliveries: int
    via: str | None
    expires_at: int | None


_letters: Final = msgspec.json.Decoder(list[_LetterRow])
_fates: Final = msgspec.json.Decoder(list[_FateRow])
copy_rows: Final = msgspec.json.Decoder(list[CopyRow])
seq_list: Final = msgspec.json.Decoder(list[int])


def read_messages(db: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, base.Message]:
    """The messages at ``seqs``."""
    return _messages(db, pages.read(db, seqs))


def _messages(
    db: sqlite3.Connection, entries: Mapping[int, pages.Entry]
) -> dict[int, base.Message]:
    names = pages.names(db, (entry.sender for entry in entries.values()))
    return {
        seq: base.Message(
            seq,
            entry.id,
            names[entry.sender],
            entry.type,
            entry.dest,
            entry.priority,
            entry.thread,
            bool(entry.receipt),
            entry.accepted_at,
            entry.expires_at,
            entry.body,
        )
        for seq, entry in entries.items()
    }


def with_ttl(copies: Sequence[base.Copy], expiry: Sequence[int | None]) -> tuple[base.Copy, ...]:
    """``copies`` that expire as said: a retried dead letter does not, whatever its message says."""
    return tuple(
        [
            copy
            if copy.message.expires_at == at
            else replace(copy, message=replace(copy.message, expires_at=at))
            for copy, at in zip(copies, expiry, strict=True)
        ]
    )


def answer(db: sqlite3.Connection, published: Published, namespace: str, query: base.Query) -> Any:
    """Answer ``query`` about one namespace; see its docstring for with what."""
    if isinstance(query, base.Agents):
        return _agents(published.get(namespace, {}), query)
    # One transaction, so that all it reads is of one moment.
    db.execute("BEGIN")
    try:
        return _ANSWERS[type(query)](db, published, namespace, query)
    finally:
        db.execute("COMMIT")


def _agents(boxes: Mapping[str, Snapshot], query: base.Agents) -> tuple[base.AgentRecord, ...]:
    if query.id is not None:
        one = boxes.get(query.id)
        found = [one] if one is not None else []
    else:
        found = list(boxes.values())
    records = [
        record
        for record in (snapshot.record for snapshot in found)
        if record is not None
        and (query.capability is None or query.capability in record.capabilities)
        and (query.group is None or query.group in record.groups)
        and (query.online is None or query.online == record.online)
    ]
    records.sort(key=lambda record: record.id)
    return tuple(records)


def _peek(
    db: sqlite3.Connection, published: Published, namespace: str, query: base.Peek
) -> base.Peeked:
    box = SQL["mailbox"].one(db, namespace, query.agent)
    snapshot = published.get(namespace, {}).get(query.agent)
    if box is None or snapshot is None:
        return base.Peeked(0, 0, None, (0, 0, 0, 0, 0), ())
    rows = copy_rows.decode(SQL["heads"].one(db, box, query.limit))
    messages = read_messages(db, [row.seq for row in rows])
    return base.Peeked(
        count=snapshot.count,
        size=snapshot.size,
        oldest=_accepted_at(db, SQL["oldest"].one(db, box)),
        by_priority=snapshot.by_priority,
        heads=with_ttl(
            [base.Copy(messages[row.seq], row.attempts, row.deliveries, row.via) for row in rows],
            [row.expires_at for row in rows],
        ),
    )


def _accepted_at(db: sqlite3.Connection, seq: int | None) -> int | None:
    return None if seq is None else pages.read(db, [seq])[seq].accepted_at


def _history(
    db: sqlite3.Connection, published: Published, namespace: str, query: base.History
) -> tuple[base.Message, ...]:
    box = SQL["mailbox"].one(db, namespace, query.agent)
    if box is None:
        return ()
    page = {"agent": box, "after": query.after, "limit": query.limit}
    if query.thread is None:
        found = _own_history(db, **page)
    elif _in_thread(db, box, query.thread):
        seqs = seq_list.decode(SQL["thread_history"].one(db, thread=query.thread, **page))
        found = pages.read(db, seqs)
    else:
        return ()
    messages = _messages(db, found)
    return tuple(messages[seq] for seq in sorted(messages))


def _own_history(
    db: sqlite3.Connection, agent: int, after: int, limit: int
) -> dict[int, pages.Entry]:
    """The first that ``agent`` sent or received."""
    found: dict[int, pages.Entry] = {}
    # Each has one of them at least, but for the first.
    for page in pages.with_part(db, agent, after, limit + 1):
        for entry in page.present():
            if entry.seq > after and entry.has_part(agent):
                found[entry.seq] = entry
        if len(found) >= limit:
            break
    held = seq_list.decode(SQL["copies_after"].one(db, agent=agent, after=after, limit=limit))
    wanted = sorted({*found, *held})[:limit]
    found.update(pages.read(db, [seq for seq in wanted if seq not in found]))
    return {seq: found[seq] for seq in wanted}


def _in_thread(db: sqlite3.Connection, agent: int, thread: str) -> bool:
    """Whether ``agent`` sent or received anything of it."""
    if SQL["in_thread"].one(db, agent=agent, thread=thread):
        return True
    rows = SQL["thread_with"].execute(db, agent=agent, thread=thread)
    while some := rows.fetchmany(LOOK):
        entries = pages.read(db, [seq for (seq,) in some])
        if any(entry.has_part(agent) for entry in entries.values()):
            return True
    return False


def _trace(
    db: sqlite3.Connection, published: Published, namespace: str, query: base.Trace
) -> tuple[base.Traced, ...]:
    box = SQL["mailbox"].one(db, namespace, query.agent)
    if box is None:
        return ()
    traced: list[base.Traced] = []
    entries = pages.read(db, seq_list.decode(SQL["by_id"].one(db, agent=box, id=query.id)))
    for seq, entry in entries.items():
        fates = _fates_of(db, entry)
        if entry.sender == box or any(fate.agent == query.agent for fate in fates):
            traced.append(base.Traced(_messages(db, {seq: entry})[seq], fates))
    return tuple(traced)


def _fates_of(db: sqlite3.Connection, entry: pages.Entry) -> tuple[base.Fate, ...]:
    """Of every copy: of its one recipient, of a fan-out's, or where ``@`` mail is now."""
    agents = msgspec.json.encode(entry.to).decode()
    rows = _fates.decode(SQL["fates"].one(db, seq=entry.seq, agents=agents))
    fates = [base.Fate(*msgspec.structs.astuple(row)) for row in rows]
    names = pages.names(db, (agent for agent, *_ in entry.fates()))
    for agent, delivered_at, read_at, settled_at in entry.fates():
        fates.append(
            base.Fate(
                names[agent], 0, 0, delivered_at, read_at, settled_at, "done", None, None, None
            )
        )
    return tuple(sorted(fates, key=lambda fate: fate.agent))


def _dead_letters(
    db: sqlite3.Connection, published: Published, namespace: str, query: base.DeadLetters
) -> tuple[base.DeadLetter, ...]:
    if query.agent is None:
        found = SQL["all_dead_letters"].one(
            db, space=namespace, after=query.after, limit=query.limit
        )
    else:
        box = SQL["mailbox"].one(db, namespace, query.agent)
        if box is None:
            return ()
        found = SQL["dead_letters"].one(db, agent=box, after=query.after, limit=query.limit)
    rows = _letters.decode(found)
    messages = read_messages(db, list(dict.fromkeys(row.seq for row in rows)))
    copies = with_ttl(
        [base.Copy(messages[row.seq], row.attempts, row.deliveries, row.via) for row in rows],
        [row.expires_at for row in rows],
    )
    return tuple(
        base.DeadLetter(
            row.agent,
            copy,
            row.outcome,
            row.reason or "",
            row.settled_at,
        )
        for row, copy in zip(rows, copies, strict=True)
    )


def _revocations(
    db: sqlite3.Connection, published: Published, namespace: str, query: base.Revocations
) -> tuple[base.Revocation, ...]:
    return tuple(base.Revocation(*row) for row in SQL["revocations"].execute(db, namespace))


_ANSWERS: Final[dict[type, Callable[[sqlite3.Connection, Published, str, Any], Any]]] = {
    base.Peek: _peek,
    base.History: _history,
    base.Trace: _trace,
    base.DeadLetters: _dead_letters,
    base.Revocations: _revocations,
    base.Trail: lambda db, _, namespace, query: read_trail(db, namespace, query),
    base.Archives: lambda db, _, namespace, query: read_archives(db, namespace, query),
}
