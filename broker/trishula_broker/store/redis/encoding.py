"""Operations as the commit script takes them, and outcomes as it answers.

An operation is an array: its name, then its arguments, in the order written here. Seqs are text
where they only name something. An outcome is an array whose first item is 0, or -1 and the
current epoch when the operation was fenced, but where it says otherwise here. Redis has neither
booleans nor None in answers: 1 is True, None stands for both False and None.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from trishula_broker.store import base
from trishula_broker.store.redis.messages import Header, body_of, copies, encode, text
from trishula_broker.store.revoked import REVOCATION_SPARE_MS
from trishula_protocol import limits
from trishula_protocol.address import HUB, Address

Arguments = tuple[Any, ...]


def operation(op: base.Operation, hint: Callable[[base.Hint], bytes]) -> Arguments:
    """``op`` as the script takes it."""
    match op:
        case base.Accept():
            return _accept(op)
        case base.Settle():
            return _settle(op)
        case base.Read():
            zeros = [0] * len(op.seqs)
            seqs = _texts(op.seqs)
            return ("read", op.agent, op.epoch, seqs, zeros, op.lease_ms, op.want)
        case base.Delivered():
            seqs = _texts(seq for seq, _ in op.seqs)
            return ("delivered", op.agent, op.epoch, seqs, [at for _, at in op.seqs])
        case base.Requeue():
            return ("requeue", op.agent, op.epoch, _texts(op.seqs))
        case base.Fetch():
            return ("fetch", op.agent, op.epoch, op.after, op.limit, op.limit_bytes)
        case base.Discard():
            return _discard(op)
        case base.Register():
            return _register(op)
        case base.Leave():
            return ("leave", op.agent, op.epoch, _texts(op.unread))
        case base.Update():
            return ("update", op.agent, op.epoch, op.status, op.join, op.leave)
        case base.Forget():
            return ("forget", op.agent, op.epoch)
        case base.Pause():
            return ("pause", op.agent, op.on, op.reason, op.limit, op.again)
        case base.OrderFolder():
            return ("order_folder", op.on, op.reason)
        case base.Assign():
            return ("assign", op.capability, op.limit)
        case base.Unassign():
            return ("unassign", op.agent)
        case base.Sweep():
            return ("sweep", op.limit, op.node, op.lead, op.after)
        case base.Retry():
            return ("retry", op.agent, str(op.seq))
        case base.Beat():
            beat = (op.node, op.life, op.role, op.address, op.lease_ms, op.leads, op.last)
            return ("beat", *beat)
        case base.EndNode():
            return ("end_node", op.node, op.lead, op.limit)
        case base.Tell():
            return ("tell", op.agent, text(hint(op.hint)), op.node)
        case base.Introduce():
            return ("introduce", op.agent, limits.LEASE_DEFAULT_MS)
        case base.Revoke():
            what = op.what
            told = text(hint(base.Revoked(what)))
            spare = REVOCATION_SPARE_MS
            times = what.issued_before, what.until
            return ("revoke", revoked_name(what), *times, told, spare, what.agent)
        case base.Archive():
            heads = [(head.chain, msgspec.json.encode(head).decode()) for head in op.heads]
            return ("archive", op.node, op.upto, heads, op.digests, op.ends)


def _settle(op: base.Settle) -> Arguments:
    firsts: list[int] = []
    counts: list[int] = []
    ats: list[int] = []
    following, before = 0, -1
    for seq, delivered_at in zip(op.seqs, op.delivered_at, strict=True):
        at = delivered_at or 0
        if seq == following and at == before:
            counts[-1] += 1
        else:
            firsts.append(seq)
            counts.append(1)
            ats.append(at)
        following, before = seq + 1, at
    return ("settles", op.agent, op.epoch, firsts, counts, ats)


def revoked_name(what: base.Revocation) -> str:
    """The field of a revocation, see lua/sessions.lua."""
    return f"t:{what.token_id}" if what.token_id else f"a:{what.agent}"


def _texts(seqs: Any) -> list[str]:
    return [str(seq) for seq in seqs]


@lru_cache(maxsize=4096)
def _address(address: Address) -> tuple[str, str, str]:
    return address.kind.value, address.name, str(address)


def _accept(op: base.Accept) -> Arguments:
    kind, name, to = _address(op.address)
    thread = None if op.thread == op.id else op.thread
    header = Header(op.id, op.sender, op.type, to, op.priority, thread, op.receipt, op.ttl)
    # What the answer before the last field is for is the trail's alone, which has all of it.
    return (
        "accept",
        op.sender,
        op.epoch,
        kind,
        name,
        op.id,
        op.priority,
        op.thread,
        op.ttl,
        text(encode(header)),
        text(op.body),
        None if op.settles is None else str(op.settles),
        _told(op),
        op.reply_to,
        op.delivered_at,
    )


def _told(op: base.Accept) -> Arguments | None:
    told = op.full_notice
    if told is None:
        return None
    header = _notice_header(told.id, op.sender, told.thread)
    return (told.id, header, text(told.head), text(told.tail), told.thread)


def _discard(op: base.Discard) -> Arguments:
    told = op.notice
    notice = None
    if told is not None:
        header = _notice_header(told.id, told.to, told.thread)
        notice = (told.to, told.id, header, text(told.body), told.thread)
    return (
        "discard",
        op.agent,
        op.epoch,
        str(op.seq),
        op.outcome,
        op.reason,
        notice,
        op.unread_only,
        op.node,
        op.offline_only,
    )


def _register(op: base.Register) -> Arguments:
    return (
        "register",
        op.agent,
        op.node,
        op.receive,
        op.ephemeral,
        op.lease_ms,
        _tags(op.capabilities),
        _tags(op.groups),
        op.replaces,
        _texts(op.unread),
        op.session,
        op.folder,
    )


def _tags(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else sorted(set(names))


def _notice_header(id_: str, to: str, thread: str | None) -> msgspec.Raw:
    header = Header(id_, HUB, "ERROR", to, limits.PRIORITY_DEFAULT, thread, False, None)
    return text(encode(header))


# --- outcomes -------------------------------------------------------------------------------


def outcome(op: base.Operation, found: Any, now: int) -> base.Outcome:
    """What became of ``op``, of what the script answered at ``now``."""
    if type(found) is int:  # a message to one agent was accepted; the commonest of all
        assert isinstance(op, base.Accept)
        return base.Accepted(found, now, (op.address.name,))
    if found[0] == -1:
        return base.Fenced(found[1])
    match op:
        case base.Accept():
            return _accepted(op, found, now)
        case base.Settle():
            return _marked(op.seqs, found)
        case base.Read():
            if type(found[0]) is list:
                return _marked(op.seqs, found[0], copies(found[1]))
            return _marked(op.seqs, found)
        case base.Delivered():
            return _marked(tuple(seq for seq, _ in op.seqs), found)
        case base.Requeue():
            requeued = tuple((row[0], row[1], row[2]) for row in found[1])
            return base.Requeued(requeued, tuple(found[2]), tuple(found[3]))
        case base.Fetch():
            if len(found) == 1:
                return base.Fetched((), False, None, paused=True)
            return base.Fetched(copies(found[1]), found[2] == 1, found[3])
        case base.Discard():
            return _discarded(op, found, now)
        case base.Register():
            _, epoch, capabilities, groups, pools = found
            return base.Registered(epoch, names(capabilities), names(groups), names(pools))
        case base.Leave():
            return base.Left(found[1])
        case base.Update():
            return base.Updated(names(found[1]))
        case base.Forget():
            return base.Forgotten(found[1], found[2] == 1)
        case base.Pause():
            return _paused(found)
        case base.OrderFolder():
            return base.FolderOrdered(found[1] == 1, _order(found[2]))
        case base.Assign():
            taken = zip(names(found[1]), copies(found[2]), strict=True)
            return base.Assigned(tuple(taken), found[3] == 1)
        case base.Unassign():
            return base.Unassigned(names(found[1]), tuple(found[2]))
        case base.Sweep():
            return _swept(found)
        case base.Retry():
            return base.Retried(copies(found[1:])[0] if len(found) > 1 else None)
        case base.Beat():
            member, lead, leader, alone, at, order = found[1:]
            return base.Beating(member == 1, lead, leader.decode(), alone == 1, at, _order(order))
        case base.EndNode():
            return base.NodeEnded(names(found[1]), found[2] == 1, found[3])
        case base.Tell():
            return base.Told()
        case base.Introduce() | base.Revoke():
            return base.Noted(found[1] == 1)
        case base.Archive():
            return base.Archived(found[1], found[2])


def _paused(found: list[Any]) -> base.Paused:
    if found[1] != 1:
        return base.Paused(False)
    _, _, pools, takers, rows, more, overtaken = found
    taken = zip(names(takers), copies(rows), strict=True)
    return base.Paused(True, names(pools), tuple(taken), more == 1, overtaken == 1)


def _order(found: bytes | None) -> base.FolderOrder | None:
    """See lua/sessions.lua."""
    if found is None:
        return None
    since, _, reason = found.partition(b" ")
    return base.FolderOrder(reason.decode(), int(since))


def names(found: list[bytes]) -> tuple[str, ...]:
    """Names as Redis answers them."""
    return tuple(name.decode() for name in found)


def _marked(
    seqs: tuple[int, ...], found: list[int], shown: tuple[base.Copy, ...] = ()
) -> base.Marked:
    """``found`` has the places, from 1, of those that are stale, and those that were so before
    with the place below zero."""
    if len(found) == 1:
        return base.Marked(seqs, (), shown)
    places = {place - 1 for place in found[1:] if place > 0}
    good = tuple(seq for n, seq in enumerate(seqs) if n not in places)
    stale = tuple(seqs[n] for n in sorted(places))
    return base.Marked(good, stale, shown, tuple(seqs[-n - 1] for n in found[1:] if n < 0))


def _accepted(op: base.Accept, found: list[Any], now: int) -> base.Outcome:
    match found[0]:
        case 1:
            return base.Duplicate(found[1], body_of(found[2]))
        case 2:
            return base.Refused("unknown_recipient")
        case 3:
            return base.Refused("mailbox_full", names(found[1]))
        case 4:
            return base.Refused("stale_ack")
    _, seq, recipients, found_full, pool, behind, notice_seq = found
    full = names(found_full)
    notice = None
    if notice_seq is not None:
        told = op.full_notice
        assert told is not None
        body = told.head + b'["' + b'","'.join(found_full) + b'"]' + told.tail
        notice = _notice(notice_seq, told.id, op.sender, told.thread, now, body)
    return base.Accepted(
        seq=seq,
        accepted_at=now,
        recipients=names(recipients),
        full=full,
        pool=pool.decode() if pool is not None else None,
        notice=notice,
        behind=behind == 1,
    )


def _discarded(op: base.Discard, found: list[Any], now: int) -> base.Discarded:
    _, done, current, notice_seq, again = found
    notice = None
    if notice_seq is not None:
        told = op.notice
        assert told is not None
        notice = _notice(notice_seq, told.id, told.to, told.thread, now, told.body)
    ended = current.decode() if current is not None else None
    return base.Discarded(done == 1, ended, notice, again == 1)


def _notice(seq: int, id_: str, to: str, thread: str | None, now: int, body: bytes) -> base.Message:
    priority = limits.PRIORITY_DEFAULT
    return base.Message(seq, id_, HUB, "ERROR", to, priority, thread, False, now, None, body)


def _swept(found: list[Any]) -> base.Swept:
    _, boxes, expired, orphans, ghosts, next_at, pools, dead, more = found
    return base.Swept(
        expired=tuple(zip(names(boxes), copies(expired), strict=True)),
        orphans=names(orphans),
        ghosts=names(ghosts),
        next_at=next_at,
        pools=names(pools),
        dead=names(dead),
        more=None if more is None else (more[0], more[1], more[2].decode()),
    )
