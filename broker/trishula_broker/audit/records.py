"""What a commit did, as the archive's records: entries in, JSON out. No files, no clock.

A record is made with its number and without its end, so that the chain can put its hash behind it.
This is the hot path: a stored envelope is spliced in as it is, and what many agents did in one
commit is one record.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from trishula_broker.audit.redaction import Redactor
from trishula_broker.audit.settings import AuditSettings, Body
from trishula_broker.audit.times import iso
from trishula_broker.store import base
from trishula_broker.store.base import Accept, Accepted, Marked, Settle
from trishula_broker.store.trail import Entry
from trishula_protocol.address import Kind

_encode: Final = msgspec.json.Encoder().encode
_sha256: Final = hashlib.sha256
_PAYLOAD: Final = b'"payload":'
_HEADERS: Final = b'"headers":'
_BEHIND_HEADERS: Final = b"}," + _PAYLOAD
_NULL: Final = b"null"
_AGENT: Final = Kind.AGENT  # Python 3.11 is slow to look a member of an Enum up
SLICE: Final = 100
"""Operations whose records are made in one go: less than a millisecond."""


class _Done(msgspec.Struct, omit_defaults=True, gc=False):
    """What was done with in one commit: by one agent, or by one of ``agents`` each."""

    event: str
    agent: str | None = None
    agents: list[str] | None = None
    seqs: Sequence[int] = ()
    delivered_at: list[str | None] | None = None
    answer: int | None = None
    """The seq of the answer that settled it."""
    answers: list[int] | None = None
    """Of the answers that settled each."""


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
        self._as_it_is = settings.body == "full" and self._redact is None

    def of(self, entry: Entry, number: int = 1, merged: bool = True) -> list[bytes]:
        """All that ``entry`` tells, in order: lines as the chain closes them, from ``number`` on.

        Args:
            merged: in the form of now; archives of version 1 have a record an operation.
        """
        return [line for some in self.slices(entry, number, merged) for line in some]

    def slices(self, entry: Entry, number: int, merged: bool = True) -> Iterator[list[bytes]]:
        """The same, a bounded piece of work each."""
        common = _encode(
            {"pos": entry.pos, "at": iso(entry.at), "node": entry.node, "ns": self._namespace}
        )[1:-1]
        head = common.decode()
        done, settled, answered = entry.done, _Settled(), _Answered()
        accepted = self._accepted
        number -= 1
        for start in range(0, len(done), SLICE):
            found: list[bytes] = []
            for op, outcome in done[start : start + SLICE]:
                notice = None
                # Most are these two.
                if type(op) is Accept and type(outcome) is Accepted:
                    number += 1
                    found.append(accepted(number, head, op, outcome))
                    notice = outcome.notice
                    if op.settles is not None:
                        answered.add(op.sender, op.settles, outcome.seq, op.delivered_at)
                elif type(op) is Settle and type(outcome) is Marked:
                    settled.add(op, outcome)
                else:
                    number += 1
                    make = _OTHERS.get(type(op))
                    told = _plain(op, outcome) if make is None else make(op, outcome)
                    found.append(_joined(number, common, told))
                    notice = getattr(outcome, "notice", None)
                if not merged:
                    for each in (answered.take(), settled.take()):
                        if each is not None:
                            number += 1
                            found.append(_joined(number, common, each))
                if notice is not None:
                    number += 1
                    found.append(self._notice(number, head, notice))
            if found:
                yield found
        answered.leave_out(settled)
        last = [each for each in (answered.take(), settled.take()) if each is not None]
        if last:
            yield [_joined(number + n, common, each) for n, each in enumerate(last, 1)]

    def _accepted(self, number: int, head: str, op: Accept, outcome: Accepted) -> bytes:
        address, recipients, more = op.address, outcome.recipients, ""
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
        to = address.name if address.kind is _AGENT else str(address)
        names = f'"{recipients[0]}"' if len(recipients) == 1 else _names(recipients)
        body = op.body
        if self._as_it_is and body:
            digest = _sha256(payload_of(body)).hexdigest()
            more = f'{more},"sha256":"{digest}","body":'
        # Written out, for an encoder takes half as long again. Names, ids and types hold nothing
        # that JSON escapes.
        text = (
            f'{{"n":{number},{head},"event":"accepted","seq":{outcome.seq},"id":"{op.id}",'
            f'"from":"{op.sender}","to":"{to}","recipients":[{names}],"type":"{op.type}",'
            f'"priority":{op.priority},"size":{len(body)}{more}'
        )
        return text.encode() + body if self._as_it_is else self._with_body(text, body)

    def _with_body(self, text: str, body: bytes) -> bytes:
        if self._body == "none" or not body:
            return text.encode()
        digest = _sha256(payload_of(body)).hexdigest()
        if self._body == "digest":
            return f'{text},"sha256":"{digest}"'.encode()
        if self._redact is not None:
            body = self._redact(body)
        return f'{text},"sha256":"{digest}","body":'.encode() + body

    def _notice(self, number: int, head: str, message: base.Message) -> bytes:
        """The hub's own mail."""
        more = "" if message.thread is None else f',"thread":"{message.thread}"'
        reply_to = _head(message.body).reply_to if message.body else None
        if reply_to is not None:
            more += f',"reply_to":"{reply_to}"'
        return self._with_body(
            f'{{"n":{number},{head},"event":"accepted","seq":{message.seq},"id":"{message.id}",'
            f'"from":"{message.sender}","to":"{message.to}","recipients":["{message.to}"],'
            f'"type":"{message.type}","priority":{message.priority},'
            f'"size":{len(message.body)}{more}',
            message.body,
        )


class _Settled:
    """What agents were done with in a commit."""

    def __init__(self) -> None:
        self._ops: list[tuple[Settle, Marked]] = []

    def add(self, op: Settle, outcome: Marked) -> None:
        self._ops.append((op, outcome))

    def among(self, seqs: set[int]) -> set[tuple[str, int]]:
        """Agent and seq of those that ``seqs`` names."""
        return {
            (op.agent, seq)
            for op, outcome in self._ops
            if not seqs.isdisjoint(outcome.seqs)
            for seq in outcome.seqs
        }

    def take(self) -> _Done | None:
        """All of it as one record; None for nothing."""
        ops, self._ops = self._ops, []
        if not ops:
            return None
        seqs: list[int] = []
        times: list[int | None] = []
        agents: list[str] = []
        for op, outcome in ops:
            at: Sequence[int | None] = op.delivered_at
            if outcome.seqs != op.seqs:
                known = dict(zip(op.seqs, at, strict=True))
                at = [known[seq] for seq in outcome.seqs]
            seqs += outcome.seqs
            times += at
            agents += [op.agent] * len(outcome.seqs)
        return _Done("done", *_who(agents), seqs, _times(times))


class _Answered:
    """What was done with in a commit by being answered."""

    def __init__(self) -> None:
        self._found: list[tuple[str, int, int, int | None]] = []

    def add(self, agent: str, seq: int, answer: int, delivered_at: int | None) -> None:
        self._found.append((agent, seq, answer, delivered_at))

    def leave_out(self, settled: _Settled) -> None:
        """Drop what was done with before its answer came; the store tells the reverse itself.

        An agent that comes back settles again all that it has finished, and then sends the answers
        it has not seen accepted: such an answer is accepted, and settles nothing any more.
        """
        if self._found and (before := settled.among({each[1] for each in self._found})):
            self._found = [each for each in self._found if each[:2] not in before]

    def take(self) -> _Done | None:
        """All of it as one record; None for nothing."""
        found, self._found = self._found, []
        if not found:
            return None
        names, seqs, answers, times = map(list, zip(*found, strict=True))
        who, told = _who(names), _times(times)
        if len(found) == 1:
            return _Done("done", *who, seqs, told, answer=answers[0])
        return _Done("done", *who, seqs, told, answers=answers)


def _who(agents: list[str]) -> tuple[str | None, list[str] | None]:
    """The agent of all, or that of each."""
    return (agents[0], None) if agents.count(agents[0]) == len(agents) else (None, agents)


def _times(times: list[int | None]) -> list[str | None] | None:
    """When each went out, None where none is known."""
    texts = {at: None if at is None else iso(at) for at in set(times)}
    return [texts[at] for at in times] if any(texts.values()) else None


def _names(names: tuple[str, ...]) -> str:
    return f'"{names[0]}"' if len(names) == 1 else ",".join([f'"{name}"' for name in names])


def _joined(number: int, common: bytes, record: _Done | _Plain) -> bytes:
    return b'{"n":%d,%b,%b' % (number, common, _encode(record)[1:-1])


_Plain = dict[str, Any]


def _delivered(op: base.Delivered, outcome: Marked) -> _Plain:
    at = dict(op.seqs)
    return {
        "event": "delivered",
        "agent": op.agent,
        "seqs": outcome.seqs,
        "delivered_at": [iso(at[seq]) for seq in outcome.seqs],
    }


def _read(op: base.Read, outcome: Marked) -> _Plain:
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


def _folder_ordered(op: base.OrderFolder, outcome: base.FolderOrdered) -> _Plain:
    return {"event": "folder-mode", "on": op.on, "reason": op.reason}


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
    base.OrderFolder: _folder_ordered,
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


def own_record(
    event: str,
    fields: dict[str, Any],
    at: int,
    node: str,
    namespace: str,
    pos: int | None = None,
) -> bytes:
    """A record that is no entry's, of the archive itself or of this node alone: JSON without its
    braces. Fields with a record's own name are called ``NAME_given``."""
    record: _Plain = {} if pos is None else {"pos": pos}
    record |= {"at": iso(at), "node": node, "ns": namespace, "event": event}
    for key, value in fields.items():
        record[f"{key}_given" if key in OWN else key] = value
    return _encode(record)[1:-1]
