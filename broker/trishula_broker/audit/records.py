"""What a commit did, as the archive's records: entries in, JSON out. No files, no clock.

A record is made with its number and without its end, so that the chain can put its hash behind it.
This is the hot path: messages that were accepted in one commit are one record
(:mod:`trishula_broker.audit.messages`), and so is what agents were done with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

from trishula_broker.audit.messages import Messages
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.times import iso
from trishula_broker.store import base
from trishula_broker.store.base import Accept, Accepted, Marked, Settle
from trishula_broker.store.trail import Entry

_encode: Final = msgspec.json.Encoder().encode
SLICE: Final = 100
"""Operations whose records are made in one go: less than a millisecond."""
SLICE_BYTES: Final = 128 << 10
"""Of bodies that are in one record together, but for the last."""
VERSION: Final = 3
"""Of the form of records. In version 1 each operation had a record of its own, in version 2 each
message that was accepted."""


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


class Records:
    """Makes the records of one namespace.

    Args:
        namespace: whose entries they are.
        settings: what becomes of bodies.
    """

    def __init__(self, namespace: str, settings: AuditSettings) -> None:
        self._namespace = namespace
        self._messages = Messages(settings)
        self._where: dict[str, bytes] = {}
        """What records of each node say of that and of the namespace."""

    def of(self, entry: Entry, number: int = 1, version: int = VERSION) -> list[bytes]:
        """All that ``entry`` tells, in order: lines as the chain closes them, from ``number`` on.

        Args:
            version: how many records it is, as in archives of that version.
        """
        return [line for some in self.slices(entry, number, version) for line in some]

    def slices(self, entry: Entry, number: int, version: int = VERSION) -> Iterator[list[bytes]]:
        """The same, a bounded piece of work each."""
        where = self._where.get(entry.node) or self._place(entry.node)
        common = b'"pos":%d,"at":"%b",%b' % (entry.pos, iso(entry.at).encode(), where)
        done, settled, answered = entry.done, _Settled(), _Answered()
        messages = self._messages
        messages.clear()
        accepted = messages.add
        found: list[bytes] = []
        together = version >= 3

        def close() -> None:
            nonlocal number
            if messages.count:
                found.append(messages.take(number, common))
                number += 1

        def add(record: _Done | _Plain) -> None:
            nonlocal number
            close()
            found.append(_joined(number, common, record))
            number += 1

        for start in range(0, len(done), SLICE):
            for op, outcome in done[start : start + SLICE]:
                notice = None
                # Most are these two.
                if type(op) is Accept and type(outcome) is Accepted:
                    accepted(op, outcome)
                    notice = outcome.notice
                    if op.settles is not None:
                        answered.add(op.sender, op.settles, outcome.seq, op.delivered_at)
                elif type(op) is Settle and type(outcome) is Marked:
                    settled.add(op, outcome)
                elif type(op) is base.Pause and type(outcome) is base.Paused:
                    for record in _paused(op, outcome):
                        add(record)
                else:
                    make = _OTHERS.get(type(op))
                    add(_plain(op, outcome) if make is None else make(op, outcome))
                    notice = getattr(outcome, "notice", None)
                if not together or messages.size > SLICE_BYTES:
                    close()
                if version == 1:
                    for each in (answered.take(), settled.take()):
                        if each is not None:
                            add(each)
                if notice is not None:
                    messages.add_notice(notice)
                    if not together:
                        close()
            close()
            if found:
                yield found
                found = []
        answered.leave_out(settled)
        for each in (answered.take(), settled.take()):
            if each is not None:
                add(each)
        if found:
            yield found

    def _place(self, node: str) -> bytes:
        self._where[node] = text = _encode({"node": node, "ns": self._namespace})[1:-1]
        return text


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
    return _taken(op.capability, outcome.copies)


def _taken(capability: str, copies: Iterable[tuple[str, base.Copy]]) -> _Plain:
    taken = list(copies)
    return {
        "event": "assigned",
        "capability": capability,
        "seqs": [copy.message.seq for _, copy in taken],
        "agents": [agent for agent, _ in taken],
    }


def _unassigned(op: base.Unassign, outcome: base.Unassigned) -> _Plain:
    return {
        "event": "unassigned",
        "agent": op.agent,
        "pools": outcome.pools,
        "seqs": outcome.seqs,
    }


def _paused(op: base.Pause, outcome: base.Paused) -> Iterator[_Plain]:
    for capability, copies in groupby(outcome.copies, lambda taken: taken[1].via or ""):
        yield _taken(capability, copies)
    if not outcome.more:
        event = "paused" if op.on else "resumed"
        yield {"event": event, "agent": op.agent, "reason": op.reason}


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
