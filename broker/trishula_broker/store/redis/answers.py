"""Questions as the answering script takes them, and its answers. Nothing here changes anything."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trishula_broker.store import base
from trishula_broker.store.redis.encoding import names
from trishula_broker.store.redis.messages import accepted_at, copy, held, message
from trishula_broker.store.trail import merge_heads


class _Agent(msgspec.Struct, array_like=True, gc=False):
    """See lua/directory.lua."""

    node: str
    ephemeral: bool
    lease_ms: int
    since: int
    capabilities: tuple[str, ...]
    groups: tuple[str, ...]
    status: str
    folder: bool = False


class _Node(msgspec.Struct, array_like=True, gc=False):
    """See lua/nodes.lua."""

    life: str
    role: str
    address: str
    lease_ms: int
    beat_at: int
    since: int
    alive: bool


class _Box(msgspec.Struct, array_like=True, gc=False):
    """See lua/space.lua."""

    count: int
    size: int
    messages: int
    bytes: int
    vias: int
    sent: int


class _Archiver(msgspec.Struct, array_like=True, gc=False):
    """See lua/trail.lua."""

    upto: int
    at: int
    dropped: bool


_archiver: Final = msgspec.msgpack.Decoder(_Archiver).decode
_head: Final = msgspec.json.Decoder(base.Head).decode
_agent: Final = msgspec.msgpack.Decoder(_Agent).decode
_node: Final = msgspec.msgpack.Decoder(_Node).decode
_box: Final = msgspec.msgpack.Decoder(_Box).decode
_EMPTY: Final = _Box(0, 0, 0, 0, 0, 0)


def question(query: base.Query) -> tuple[str | int, ...]:
    """``query`` as the script takes it."""
    match query:
        case base.Agents():
            offering = query.capability if query.online else None
            return ("agents", query.id or "", query.group or "", offering or "")
        case base.Peek():
            return ("peek", query.agent, query.limit)
        case base.History(thread=None):
            return ("history", query.agent, query.after, query.limit)
        case base.History():
            return ("thread", query.agent, query.thread or "", query.after, query.limit)
        case base.Trace():
            return ("trace", query.agent, query.id)
        case base.DeadLetters():
            return ("dead", query.agent or "", query.after, query.limit)
        case base.Nodes():
            return ("nodes",)
        case base.Revocations():
            return ("revoked",)
        case base.Trail():
            return ("trail", query.after, query.limit, query.limit_bytes)
        case base.Archives():
            return ("archives", query.since)


def answer(query: base.Query, found: Any) -> Any:
    """The answer to ``query``, of what the script found."""
    match query:
        case base.Agents():
            return _agents(query, found)
        case base.Peek():
            return _peeked(found)
        case base.History():
            return tuple(message(*row) for row in found)
        case base.Trace():
            return tuple(_traced(row) for row in found)
        case base.DeadLetters():
            return _letters(found)
        case base.Nodes():
            return _nodes(found)
        case base.Revocations():
            return _revocations(found)
        case base.Archives():
            return _archives(found)


def _agents(query: base.Agents, found: list[list[Any]]) -> tuple[base.AgentRecord, ...]:
    records: list[base.AgentRecord] = []
    for name, packed, live, counters, paused in found:
        agent = _agent(packed)
        box = _EMPTY if counters is None else _box(counters)
        epoch = int(live.partition(b" ")[0])
        if (
            (query.id is not None and query.id != name.decode())
            or (query.capability is not None and query.capability not in agent.capabilities)
            or (query.group is not None and query.group not in agent.groups)
            or (query.online is not None and query.online != (epoch > 0))
        ):
            continue
        records.append(
            base.AgentRecord(
                id=name.decode(),
                capabilities=agent.capabilities,
                groups=agent.groups,
                online=epoch > 0,
                ephemeral=agent.ephemeral,
                status=agent.status or None,
                node=agent.node,
                since=agent.since,
                epoch=epoch,
                unsettled=box.count,
                paused=None if paused is None else paused.decode(),
                folder=agent.folder,
            )
        )
    records.sort(key=lambda record: record.id)
    return tuple(records)


def _copy(row: list[Any]) -> base.Copy:
    seq, packed, entry = row
    fate = held(packed)
    return copy(seq, fate.kind, fate.attempts, fate.deliveries, entry)


def _peeked(found: list[Any]) -> base.Peeked:
    counters, by_priority, oldest, heads = found
    box = _EMPTY if counters is None else _box(counters)
    return base.Peeked(
        count=box.count,
        size=box.size,
        oldest=None if oldest is None else accepted_at(oldest),
        by_priority=tuple(by_priority),
        heads=tuple(_copy(row) for row in heads),
    )


def _traced(row: list[Any]) -> base.Traced:
    logged, mailboxes, packed = row
    fates = sorted(zip(names(mailboxes), packed, strict=True))
    return base.Traced(
        message(*logged), tuple(held(copy).fate(name) for name, copy in fates if copy is not None)
    )


def _letters(found: list[Any]) -> tuple[base.DeadLetter, ...]:
    letters: list[base.DeadLetter] = []
    for name, row in zip(names(found[0]), found[1], strict=True):
        fate = held(row[1])
        assert fate.outcome is not None
        letters.append(
            base.DeadLetter(name, _copy(row), fate.outcome, fate.reason or "", fate.settled_at)
        )
    return tuple(letters)


def _nodes(found: list[Any]) -> tuple[base.NodeRecord, ...]:
    leader, lead, *rows = found
    records: list[base.NodeRecord] = []
    for name, packed, agents in rows:
        node = _node(packed)
        records.append(
            base.NodeRecord(
                node=name.decode(),
                role=node.role,
                address=node.address,
                alive=node.alive,
                since=node.since,
                beat_at=node.beat_at,
                agents=agents,
                lead=int(lead) if name == leader else 0,
            )
        )
    records.sort(key=lambda record: record.node)
    return tuple(records)


def _revocations(found: list[bytes]) -> tuple[base.Revocation, ...]:
    """Fields and values of the hash, see lua/sessions.lua."""
    revoked: list[base.Revocation] = []
    for field, value in zip(found[::2], found[1::2], strict=True):
        kind, _, name = field.decode().partition(":")
        before, until = (int(part) for part in value.split())
        token, agent = (name, "") if kind == "t" else ("", name)
        revoked.append(base.Revocation(token, agent, before, until if until >= 0 else None))
    revoked.sort(key=lambda each: (each.token_id, each.agent))
    return tuple(revoked)


def _archives(found: list[list[Any]]) -> tuple[base.ArchiveRecord, ...]:
    records: list[base.ArchiveRecord] = []
    for node, packed, heads, digests in found:
        archiver = _archiver(packed)
        records.append(
            base.ArchiveRecord(
                node=node.decode(),
                upto=archiver.upto,
                at=archiver.at,
                heads=merge_heads((), map(_head, heads)),
                digests=tuple((number, digest.decode()) for number, digest in digests),
                dropped=archiver.dropped,
            )
        )
    records.sort(key=lambda record: record.node)
    return tuple(records)
