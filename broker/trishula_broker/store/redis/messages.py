"""Messages and copies as they are kept in Redis, and as the store knows them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trishula_broker.store import base

_ENTRY: Final = struct.Struct(">dII")
"""Begins an entry of the log: accepted_at, size of the body, the message's number among its
sender's. A header follows, then the body."""


BY_CAPABILITY: Final = 2
EXPIRES: Final = 4
"""Parts of what a copy is; see lua/space.lua."""


class Header(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the sender's hub knows of a message; the scripts know the places of the fields."""

    id: str
    sender: str
    type: str
    to: str
    priority: int
    thread: str | None
    receipt: bool
    ttl: int | None


class Held(msgspec.Struct, array_like=True, gc=False):
    """A copy. Times are 0 until they come; see lua/space.lua."""

    size: int
    kind: int
    attempts: int = 0
    deliveries: int = 0
    due_at: int = 0
    delivered_at: int = 0
    read_at: int = 0
    lease_until: int = 0
    settled_at: int = 0
    outcome: base.Settled | None = None
    reason: str | None = None

    def fate(self, mailbox: str) -> base.Fate:
        """As :class:`base.Trace` tells it."""
        return base.Fate(
            agent=mailbox,
            attempts=self.attempts,
            deliveries=self.deliveries,
            delivered_at=self.delivered_at or None,
            read_at=self.read_at or None,
            settled_at=self.settled_at or None,
            outcome=self.outcome,
            reason=self.reason,
            due_at=self.due_at or None,
            lease_until=self.lease_until or None,
        )


encode: Final = msgspec.msgpack.Encoder().encode
_header: Final = msgspec.msgpack.Decoder(Header).decode
held: Final = msgspec.msgpack.Decoder(Held).decode


def text(data: bytes) -> msgspec.Raw:
    """``data`` as MessagePack's text, which it need not be: Redis reads nothing newer."""
    size = len(data)
    if size < 1 << 8:
        return msgspec.Raw(b"\xd9" + size.to_bytes(1) + data)
    if size < 1 << 16:
        return msgspec.Raw(b"\xda" + size.to_bytes(2) + data)
    return msgspec.Raw(b"\xdb" + size.to_bytes(4) + data)


def accepted_at(entry: bytes) -> int:
    """When the message of an entry of the log was accepted."""
    return int(_ENTRY.unpack_from(entry)[0])


def body_of(entry: bytes) -> bytes:
    """The body in an entry of the log; empty once it is trimmed."""
    _, size, _ = _ENTRY.unpack_from(entry)
    return entry[len(entry) - size :]


def message(seq: int, entry: bytes) -> base.Message:
    """The message at ``seq``, of its entry in the log."""
    accepted, size, _ = _ENTRY.unpack_from(entry)
    at, end = int(accepted), len(entry) - size
    header = _header(memoryview(entry)[_ENTRY.size : end])
    return base.Message(
        seq,
        header.id,
        header.sender,
        header.type,
        header.to,
        header.priority,
        header.thread,
        header.receipt,
        at,
        None if header.ttl is None else at + header.ttl,
        entry[end:],
    )


def copy(seq: int, kind: int, attempts: int, deliveries: int, entry: bytes) -> base.Copy:
    """A copy as the scripts show it."""
    found = message(seq, entry)
    if found.expires_at is not None and not kind & EXPIRES:  # a dead letter that was retried
        found = msgspec.structs.replace(found, expires_at=None)
    via = found.to[1:] if kind & BY_CAPABILITY else None
    return base.Copy(found, attempts, deliveries, via)


def copies(rows: Sequence[Sequence[Any]]) -> tuple[base.Copy, ...]:
    """Those that the scripts show."""
    return tuple(copy(int(row[0]), *row[1:]) for row in rows)
