"""Entries of the trail as the commit script keeps them: the way back from ``encoding.py``.

The script packs operations as they were given and its answers as they went out, so that a commit
pays nearly nothing for its entry; who reads it pays here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from trishula_broker.store import base
from trishula_broker.store.message import Settled
from trishula_broker.store.recorded import recorded
from trishula_broker.store.redis.encoding import outcome
from trishula_broker.store.redis.messages import Header
from trishula_broker.store.redis.page import Page, parts
from trishula_protocol.address import Address, Kind

_Seqs = tuple[str, ...]
_header: Final = msgspec.msgpack.Decoder(Header).decode


class _Op(
    msgspec.Struct, array_like=True, gc=False, tag_field="$", tag=lambda name: name[1:].lower()
):
    """An operation as ``encoding.operation`` gives it; those without fields are not recorded."""

    def op(self) -> base.Operation:
        """The operation."""
        raise NotImplementedError


class _Accept(_Op):
    sender: str
    epoch: int
    kind: Kind
    name: str
    id: str
    priority: int
    thread: str | None
    ttl: int | None
    header: Raw
    body: Raw
    settles: str | None
    told: tuple[str, Raw, Raw, Raw, str | None] | None
    reply_to: str | None = None
    delivered_at: int | None = None

    def op(self) -> base.Operation:
        header = _header(_blob(self.header))
        told = None
        if self.told is not None:
            id_, _, head, tail, thread = self.told
            told = base.FullNotice(id_, bytes(_blob(head)), bytes(_blob(tail)), thread)
        return base.Accept(
            self.sender,
            self.epoch,
            Address(self.kind, self.name),
            self.id,
            header.type,
            self.priority,
            self.thread,
            self.reply_to,
            header.receipt,
            self.ttl,
            bytes(_blob(self.body)),
            None if self.settles is None else int(self.settles),
            told,
            self.delivered_at,
        )


class _Run(_Op):
    """See ``runs.py``; the messages are in a page of their own."""

    sender: str
    epoch: int
    name: str
    priority: int
    count: int
    ends: Raw

    def ops(self, page: Page) -> list[base.Operation]:
        """The operations that were joined."""
        address = Address(Kind.AGENT, self.name)
        return [
            base.Accept(
                self.sender,
                self.epoch,
                address,
                id_,
                type_,
                self.priority,
                None,
                None,
                receipt,
                None,
                body,
            )
            for id_, type_, receipt, body in parts(page, _blob(self.ends))
        ]


class _Sends(_Op):
    """A run as versions before schema 4 have it in the trail."""

    sender: str
    epoch: int
    name: str
    priority: int
    ids: tuple[str, ...]
    sizes: tuple[int, ...]
    rests: tuple[Raw, ...]

    def ops(self) -> list[base.Operation]:
        """The operations that were joined."""
        address = Address(Kind.AGENT, self.name)
        return [
            self._accept(address, id_, size, _blob(rest))
            for id_, size, rest in zip(self.ids, self.sizes, self.rests, strict=True)
        ]

    def _accept(self, to: Address, id_: str, size: int, rest: memoryview) -> base.Accept:
        end = len(rest) - size
        header, body = _header(rest[:end]), bytes(rest[end:])
        return base.Accept(
            self.sender,
            self.epoch,
            to,
            id_,
            header.type,
            self.priority,
            None,
            None,
            header.receipt,
            None,
            body,
        )


class _Settles(_Op):
    agent: str
    epoch: int
    firsts: tuple[int, ...]
    counts: tuple[int, ...]
    ats: tuple[int, ...]

    def op(self) -> base.Operation:
        seqs: list[int] = []
        ats: list[int | None] = []
        for first, count, at in zip(self.firsts, self.counts, self.ats, strict=True):
            seqs += range(first, first + count)
            ats += [at or None] * count
        return base.Settle(self.agent, self.epoch, tuple(seqs), tuple(ats))


class _Settle(_Op):
    agent: str
    epoch: int
    seqs: _Seqs
    ats: tuple[int, ...]

    def op(self) -> base.Operation:
        ats = tuple([at or None for at in self.ats])
        return base.Settle(self.agent, self.epoch, _ints(self.seqs), ats)


class _Read(_Op):
    agent: str
    epoch: int
    seqs: _Seqs
    zeros: Raw
    lease_ms: int
    want: bool

    def op(self) -> base.Operation:
        return base.Read(self.agent, self.epoch, _ints(self.seqs), self.lease_ms, self.want)


class _Delivered(_Op):
    agent: str
    epoch: int
    seqs: _Seqs
    ats: tuple[int, ...]

    def op(self) -> base.Operation:
        pairs = tuple(zip(_ints(self.seqs), self.ats, strict=True))
        return base.Delivered(self.agent, self.epoch, pairs)


class _Requeue(_Op):
    agent: str
    epoch: int
    seqs: _Seqs

    def op(self) -> base.Operation:
        return base.Requeue(self.agent, self.epoch, _ints(self.seqs))


class _Discard(_Op):
    agent: str
    epoch: int
    seq: str
    outcome: Settled
    reason: str
    told: tuple[str, str, Raw, Raw, str | None] | None
    unread_only: bool
    node: str
    offline_only: bool

    def op(self) -> base.Operation:
        notice = None
        if self.told is not None:
            to, id_, _, body, thread = self.told
            notice = base.Notice(to, id_, thread, bytes(_blob(body)))
        return base.Discard(
            self.agent,
            self.epoch,
            int(self.seq),
            self.outcome,
            self.reason,
            notice,
            self.unread_only,
            self.node,
            self.offline_only,
        )


class _Register(_Op):
    agent: str
    node: str
    receive: bool
    ephemeral: bool
    lease_ms: int
    capabilities: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    replaces: int
    unread: _Seqs
    session: str = ""
    folder: bool = False

    def op(self) -> base.Operation:
        return base.Register(
            self.agent,
            self.node,
            self.session,
            self.receive,
            self.ephemeral,
            self.lease_ms,
            self.capabilities,
            self.groups,
            self.replaces,
            _ints(self.unread),
            self.folder,
        )


class _Leave(_Op):
    agent: str
    epoch: int
    unread: _Seqs

    def op(self) -> base.Operation:
        return base.Leave(self.agent, self.epoch, _ints(self.unread))


class _Forget(_Op):
    agent: str
    epoch: int

    def op(self) -> base.Operation:
        return base.Forget(self.agent, self.epoch)


class _Pause(_Op):
    agent: str
    on: bool
    reason: str
    limit: int = 0
    again: bool = False

    def op(self) -> base.Operation:
        return base.Pause(self.agent, self.on, self.reason, self.limit, self.again)


class _OrderFolder(_Op, tag="order_folder"):
    on: bool
    reason: str

    def op(self) -> base.Operation:
        return base.OrderFolder(self.on, self.reason)


class _Assign(_Op):
    capability: str
    limit: int

    def op(self) -> base.Operation:
        return base.Assign(self.capability, self.limit)


class _Unassign(_Op):
    agent: str

    def op(self) -> base.Operation:
        return base.Unassign(self.agent)


class _Retry(_Op):
    agent: str
    seq: str

    def op(self) -> base.Operation:
        return base.Retry(self.agent, int(self.seq))


class _EndNode(_Op, tag="end_node"):
    node: str
    lead: int
    limit: int

    def op(self) -> base.Operation:
        return base.EndNode(self.node, self.lead, self.limit)


class _Introduce(_Op):
    agent: str

    def op(self) -> base.Operation:
        return base.Introduce(self.agent)


class _Revoke(_Op):
    name: str
    issued_before: int
    until: int | None
    told: Raw
    spare: int
    agent: str

    def op(self) -> base.Operation:
        token_id = self.name[2:] if self.name.startswith("t:") else ""
        what = base.Revocation(token_id, self.agent, self.issued_before, self.until)
        return base.Revoke(what)


class _Update(_Op):
    pass


class _Fetch(_Op):
    pass


class _Sweep(_Op):
    pass


class _Beat(_Op):
    pass


class _Tell(_Op):
    pass


class _Archive(_Op):
    pass


_Any = (
    _Accept | _Run | _Sends | _Settles | _Settle | _Read | _Delivered | _Requeue | _Discard
    | _Register | _Leave | _Forget | _Pause | _Assign | _Unassign | _Retry | _EndNode | _Introduce
    | _Revoke | _Update
    | _Fetch | _Sweep | _Beat | _Tell | _Archive | _OrderFolder
)  # fmt: skip
_entry: Final = msgspec.msgpack.Decoder(tuple[int, str, list[_Any], list[Raw]]).decode

# Answers with entries of the log in them, which are not text.
_Shown = tuple[str, int, int, int, Raw]


class _PauseAnswer(msgspec.Struct, array_like=True, gc=False):
    """Of earlier versions only what has no default."""

    zero: int
    known: int | bool
    pools: list[str]
    takers: list[str] = []
    rows: list[_Shown] = []
    more: int | bool = False
    overtaken: int | bool = False


_read_answer: Final = msgspec.msgpack.Decoder(list[Raw]).decode
_assign_answer: Final = msgspec.msgpack.Decoder(
    tuple[int, list[str], list[_Shown], int | bool]
).decode
_pause_answer: Final = msgspec.msgpack.Decoder(_PauseAnswer).decode
_retry_answer: Final = msgspec.msgpack.Decoder(tuple[int, _Shown]).decode
_answer: Final = msgspec.msgpack.Decoder().decode
_NOTHING: Final = memoryview(b"\xc2")


class Packed:
    """The entry at ``pos``, of which the pages of runs are still to be found.

    Raises:
        StoreUnavailable: a node of a newer version made it.
    """

    def __init__(self, pos: int, packed: bytes) -> None:
        try:
            self._parts = _entry(packed)
        except msgspec.ValidationError as error:
            raise base.StoreUnavailable(
                f"entry {pos} of the trail was made by a newer version ({error}): "
                "run that version on this node, too; the trail waits for it"
            ) from error
        self.pos = pos
        _, _, ops, answers = self._parts
        self.firsts = [
            _first(answer)
            for op, answer in zip(ops, answers, strict=True)
            if isinstance(op, _Run) and memoryview(answer) != _NOTHING
        ]
        """Of each run the first seq that it was accepted as: its page goes by that."""

    def __repr__(self) -> str:
        return f"<Packed {self.pos}, {len(self.firsts)} runs>"

    def entry(self, pages: Mapping[int, Page]) -> base.Entry:
        """The entry, with the pages of its runs.

        Raises:
            StoreUnavailable: one of them is gone.
        """
        try:
            return _made_of(self.pos, *self._parts, pages)
        except KeyError as missing:
            raise base.StoreUnavailable(
                f"entry {self.pos} of the trail has lost its messages from {missing} on"
            ) from missing


def _first(answer: Raw) -> int:
    found = _answer(answer)
    return next(seq for seq in found if seq) if isinstance(found, list) else int(found)


def _made_of(
    pos: int,
    at: int,
    node: str,
    ops: Sequence[_Any],
    answers: Sequence[Raw],
    pages: Mapping[int, Page],
) -> base.Entry:
    given: list[base.Operation] = []
    outcomes: list[base.Outcome] = []
    for packed_op, packed_answer in zip(ops, answers, strict=True):
        answer = memoryview(packed_answer)
        if answer == _NOTHING:
            continue
        if isinstance(packed_op, _Run | _Sends):
            if isinstance(packed_op, _Run):
                run = packed_op.ops(pages[_first(packed_answer)])
            else:
                run = packed_op.ops()
            accepted = _accepted(run, answer)
            given += [op for op, _ in accepted]
            outcomes += [outcome(op, seq, at) for op, seq in accepted]
            continue
        op = packed_op.op()
        given.append(op)
        outcomes.append(outcome(op, _found(op, answer), at))
    return base.Entry(pos, at, node, tuple(recorded(given, outcomes)))


def _accepted(
    run: Sequence[base.Operation], answer: memoryview
) -> list[tuple[base.Operation, int]]:
    """Those of a run that were accepted, with their seqs."""
    found = _answer(answer)
    seqs = range(found, found + len(run)) if isinstance(found, int) else found
    return [(op, seq) for op, seq in zip(run, seqs, strict=True) if seq is not False]


def _found(op: base.Operation, answer: memoryview) -> Any:
    """An answer as it went out."""
    match op:
        case base.Read(want=True):
            found = _read_answer(answer)
            first = _answer(found[0])
            return first if isinstance(first, list) else [first, *map(_answer, found[1:])]
        case base.Assign():
            _, takers, rows, more = _assign_answer(answer)
            return [0, _bytes(takers), [_shown(row) for row in rows], more]
        case base.Pause():
            paused = _pause_answer(answer)
            given = [_bytes(paused.pools), _bytes(paused.takers), [*map(_shown, paused.rows)]]
            return [0, paused.known, *given, paused.more, paused.overtaken]
        case base.Retry():
            return [0, _shown(_retry_answer(answer)[1])]
    return _as_answered(_answer(answer))


def _bytes(names: Sequence[str]) -> list[bytes]:
    return [name.encode() for name in names]


def _shown(row: _Shown) -> list[Any]:
    return [*row[:4], bytes(_blob(row[4]))]


def _as_answered(found: Any) -> Any:
    """MessagePack's values as Redis answers them: text is bytes, False is nothing."""
    if type(found) is int:
        return found
    if isinstance(found, str):
        return found.encode()
    if isinstance(found, list):
        return [_as_answered(each) for each in found]
    return None if found is False else found


def _ints(seqs: Sequence[str]) -> tuple[int, ...]:
    return tuple(map(int, seqs))


_HEADS: Final[dict[int, int]] = {0xD9: 2, 0xDA: 3, 0xDB: 5, 0xC4: 2, 0xC5: 3, 0xC6: 5}


def _blob(raw: Raw) -> memoryview:
    """The bytes of what is MessagePack's text only by name; see ``messages.text``."""
    data = memoryview(raw)
    return data[_HEADS.get(data[0], 1) :]
