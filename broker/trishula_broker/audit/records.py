"""What a commit did, as the archive's records: entries in, JSON out. No files, no clock.

A record is made as JSON without its braces, so that the chain can put its number before it and
its hash behind it. This is the hot path: a stored envelope is spliced in as it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from trishula_broker.audit.redaction import Redactor
from trishula_broker.audit.settings import AuditSettings, Body
from trishula_broker.audit.times import iso
from trishula_broker.store import base
from trishula_broker.store.trail import Entry
from trishula_protocol.address import Kind

_encode: Final = msgspec.json.Encoder().encode
_sha256: Final = hashlib.sha256
_PAYLOAD: Final = b'"payload":'
_HEADERS: Final = b'"headers":'
_BEHIND_HEADERS: Final = b"}," + _PAYLOAD
_NULL: Final = b"null"
SLICE: Final = 100
"""Operations whose records are made in one go: less than a millisecond."""


class _Record(msgspec.Struct, omit_defaults=True, gc=False):
    event: str


class _Marked(_Record, gc=False):
    agent: str
    seqs: tuple[int, ...]
    delivered_at: list[str | None] | None = None
    answer: int | None = None
    """The seq of the answer that settled it."""


class _Head(msgspec.Struct):
    """What is looked for in a stored envelope."""

    reply_to: str | None = None


_head: Final = msgspec.json.Decoder(_Head).decode


def payload_of(body: bytes) -> bytes:
    """The payload of a stored envelope, as it stands there."""
    # It is the last field. Before it there are names, which hold no quotation marks, and headers,
    # one of which may be called payload: behind their object it is what follows at once. Inside a
    # string neither can be, for its quotation marks are escaped.
    at = body.find(_PAYLOAD)
    if at < 0:
        return _NULL
    if body.find(_HEADERS, 0, at) >= 0:
        at = body.find(_BEHIND_HEADERS) + 2
        if at < 2:
            return _NULL
    return body[at + len(_PAYLOAD) : -1]


class Records:
    """Makes the records of one namespace.

    Args:
        namespace: whose entries they are.
        settings: what becomes of bodies.
    """

    def __init__(self, namespace: str, settings: AuditSettings) -> None:
        self._namespace = namespace
        self._body: Body = settings.body
        self._redact = Redactor(settings.redact) if settings.redact else None

    def of(self, entry: Entry) -> list[bytes]:
        """All that ``entry`` tells, each as JSON without its braces, in order."""
        return [record for some in self.slices(entry) for record in some]

    def slices(self, entry: Entry) -> Iterator[list[bytes]]:
        """The same, a bounded piece of work each."""
        head = _encode(
            {"pos": entry.pos, "at": iso(entry.at), "node": entry.node, "ns": self._namespace}
        )[1:-1]
        for start in range(0, len(entry.done), SLICE):
            found: list[bytes] = []
            for op, outcome in entry.done[start : start + SLICE]:
                # Most are these two.
                if type(op) is base.Accept and type(outcome) is base.Accepted:
                    found.append(self._accepted(head, op, outcome))
                    if op.settles is not None:
                        done = _Marked("done", op.sender, (op.settles,), None, outcome.seq)
                        found.append(_joined(head, done))
                elif type(op) is base.Settle and type(outcome) is base.Marked:
                    found.append(_joined(head, _settled(op, outcome)))
                else:
                    make = _OTHERS.get(type(op))
                    found.append(
                        _joined(head, _plain(op, outcome) if make is None else make(op, outcome))
                    )
                notice = getattr(outcome, "notice", None)
                if notice is not None:
                    found.append(self._notice(head, notice))
            yield found

    def _accepted(self, head: bytes, op: base.Accept, outcome: base.Accepted) -> bytes:
        address, more = op.address, ""
        if op.thread is not None:
            more = f',"thread":"{op.thread}"'
        if op.reply_to is not None:
            more += f',"reply_to":"{op.reply_to}"'
        if op.ttl is not None:
            more += f',"expires_at":"{iso(outcome.accepted_at + op.ttl)}"'
        if outcome.full:  # they got no copy, for their mailbox was full
            more += f',"full":[{_names(outcome.full)}]'
        if outcome.pool is not None:  # the capability that it waits for
            more += f',"pool":"{outcome.pool}"'
        return self._message(
            head,
            outcome.seq,
            op.id,
            op.sender,
            address.name if address.kind is Kind.AGENT else str(address),
            outcome.recipients,
            op.type,
            op.priority,
            op.body,
            more,
        )

    def _notice(self, head: bytes, message: base.Message) -> bytes:
        """The hub's own mail."""
        more = "" if message.thread is None else f',"thread":"{message.thread}"'
        reply_to = _head(message.body).reply_to if message.body else None
        if reply_to is not None:
            more += f',"reply_to":"{reply_to}"'
        return self._message(
            head,
            message.seq,
            message.id,
            message.sender,
            message.to,
            (message.to,),
            message.type,
            message.priority,
            message.body,
            more,
        )

    def _message(
        self,
        head: bytes,
        seq: int,
        id_: str,
        sender: str,
        to: str,
        recipients: tuple[str, ...],
        type_: str,
        priority: int,
        body: bytes,
        more: str,
    ) -> bytes:
        # Written out, for an encoder takes half as long again. Names, ids and types hold nothing
        # that JSON escapes.
        text = (
            f',"event":"accepted","seq":{seq},"id":"{id_}","from":"{sender}","to":"{to}",'
            f'"recipients":[{_names(recipients)}],"type":"{type_}","priority":{priority},'
            f'"size":{len(body)}{more}'
        )
        if self._body == "none" or not body:
            return head + text.encode()
        text += f',"sha256":"{_sha256(payload_of(body)).hexdigest()}"'
        if self._body == "digest":
            return head + text.encode()
        if self._redact is not None:
            body = self._redact(body)
        return b'%b%b,"body":%b' % (head, text.encode(), body)


def _names(names: tuple[str, ...]) -> str:
    return f'"{names[0]}"' if len(names) == 1 else ",".join([f'"{name}"' for name in names])


def _joined(head: bytes, record: _Record | _Plain) -> bytes:
    return b"%b,%b" % (head, _encode(record)[1:-1])


_Plain = dict[str, Any]


def _settled(op: base.Settle, outcome: base.Marked) -> _Marked:
    times = op.delivered_at
    if outcome.seqs != op.seqs:
        at = dict(zip(op.seqs, times, strict=True))
        times = tuple(at[seq] for seq in outcome.seqs)
    texts = {at: None if at is None else iso(at) for at in set(times)}
    told = [texts[at] for at in times]
    return _Marked("done", op.agent, outcome.seqs, told if any(told) else None)


def _delivered(op: base.Delivered, outcome: base.Marked) -> _Plain:
    at = dict(op.seqs)
    return {
        "event": "delivered",
        "agent": op.agent,
        "seqs": outcome.seqs,
        "delivered_at": [iso(at[seq]) for seq in outcome.seqs],
    }


def _read(op: base.Read, outcome: base.Marked) -> _Plain:
    return {"event": "read", "agent": op.agent, "seqs": outcome.seqs, "lease_ms": op.lease_ms}


def _requeued(op: base.Requeue, outcome: base.Requeued) -> _Plain:
    return {
        "event": "requeued",
        "agent": op.agent,
        "seqs": [seq for seq, _, _ in outcome.copies],
        "attempts": [attempts for _, attempts, _ in outcome.copies],
        "due_at": [iso(due_at) for _, _, due_at in outcome.copies],
    }


ENDED: Final[dict[base.Settled, str]] = {"dead": "dead-lettered"}
"""How a copy ended, where the record calls it otherwise."""


def _discarded(op: base.Discard, outcome: base.Discarded) -> _Plain:
    return {
        "event": ENDED.get(op.outcome, op.outcome),
        "agent": op.agent,
        "seqs": [op.seq],
        "reason": op.reason,
    }


def _assigned(op: base.Assign, outcome: base.Assigned) -> _Plain:
    return {
        "event": "assigned",
        "capability": op.capability,
        "seqs": [copy.message.seq for _, copy in outcome.copies],
        "agents": [agent for agent, _ in outcome.copies],
    }


def _unassigned(op: base.Unassign, outcome: base.Unassigned) -> _Plain:
    return {
        "event": "unassigned",
        "agent": op.agent,
        "pools": outcome.pools,
        "seqs": outcome.seqs,
    }


def _paused(op: base.Pause, outcome: base.Paused) -> _Plain:
    return {
        "event": "paused" if op.on else "resumed",
        "agent": op.agent,
        "reason": op.reason,
    }


def _revoked(op: base.Revoke, outcome: base.Noted) -> _Plain:
    """Of one token, or of all that an agent's were issued before a moment."""
    what = op.what
    until = None if what.until is None else iso(what.until)
    if what.token_id:
        return {"event": "revoked", "token": what.token_id, "until": until}
    before = iso(what.issued_before)
    return {"event": "revoked", "agent": what.agent, "issued_before": before, "until": until}


def _registered(op: base.Register, outcome: base.Registered) -> _Plain:
    return {
        "event": "registered",
        "agent": op.agent,
        "on": op.node,
        "session": op.session,
        "epoch": outcome.epoch,
        "receive": op.receive,
        "ephemeral": op.ephemeral,
        "capabilities": outcome.capabilities,
        "groups": outcome.groups,
        "replaces": op.replaces,
        "undelivered": op.unread,
    }


def _left(op: base.Leave, outcome: base.Left) -> _Plain:
    return {"event": "left", "agent": op.agent, "epoch": op.epoch, "undelivered": op.unread}


def _retried(op: base.Retry, outcome: base.Retried) -> _Plain:
    return {"event": "retried", "agent": op.agent, "seqs": [op.seq]}


def _forgotten(op: base.Forget, outcome: base.Forgotten) -> _Plain:
    return {"event": "forgotten", "agent": op.agent}


def _node_ended(op: base.EndNode, outcome: base.NodeEnded) -> _Plain:
    return {"event": "node-ended", "ended": op.node, "agents": outcome.agents}


_OTHERS: Final[dict[type[base.Op], Callable[[Any, Any], _Plain]]] = {
    base.Delivered: _delivered,
    base.Read: _read,
    base.Requeue: _requeued,
    base.Discard: _discarded,
    base.Assign: _assigned,
    base.Unassign: _unassigned,
    base.Register: _registered,
    base.Leave: _left,
    base.Retry: _retried,
    base.Forget: _forgotten,
    base.EndNode: _node_ended,
    base.Pause: _paused,
    base.Revoke: _revoked,
}

EVENTS: Final = {"Introduce": "introduced"}
"""What the other operations are called, where it is not their own name."""


def _plain(op: base.Op, outcome: base.Outcome) -> _Plain:
    """Of an operation that this module does not know better: its fields as they are."""
    name = type(op).__name__
    event = EVENTS.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
    fields = {k: v for k, v in msgspec.structs.asdict(op).items() if not _is_bytes(v)}
    record: _Plain = {"event": event}
    for key, value in fields.items():
        # A record's own names stay its own.
        record[f"{key}_given" if key in OWN else key] = value
    return record


def _is_bytes(value: object) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


OWN: Final = frozenset(("n", "pos", "at", "node", "ns", "event", "hash", "block"))
"""Names of what every record has."""


class Told(NamedTuple):
    """Something that is no entry's: of the archive itself, or of this node alone."""

    event: str
    fields: dict[str, Any]

    def record(self, at: int, node: str, namespace: str, pos: int | None = None) -> bytes:
        """As JSON without its braces. Fields with a record's own name are called ``NAME_given``."""
        record: _Plain = {} if pos is None else {"pos": pos}
        record |= {"at": iso(at), "node": node, "ns": namespace, "event": self.event}
        for key, value in self.fields.items():
            record[f"{key}_given" if key in OWN else key] = value
        return _encode(record)[1:-1]
