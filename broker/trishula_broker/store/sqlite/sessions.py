"""Sessions and the directory, in SQLite: one function an operation."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trishula_broker.store import base
from trishula_broker.store.revoked import REVOCATION_SPARE_MS, joined
from trishula_broker.store.sqlite.directory import SQL, Space
from trishula_broker.store.sqlite.mail import fence
from trishula_broker.store.sqlite.mailbox import Mailbox
from trishula_broker.store.sqlite.work import Work
from trishula_protocol import limits


def end_sessions(work: Work) -> None:
    """Sessions of before the store was opened have ended, and with them their attempts."""
    for space in work.directory.spaces.values():
        for box in space.mailboxes.values():
            if box.cut_off:
                box.cut_off = False
                box.since = work.now
                work.save(space, box)
            work.end_reads(box)


def register(work: Work, space: Space, op: base.Register) -> base.Registered:
    box = work.mailbox(space, op.agent)
    new = not box.known
    capabilities = box.capabilities
    if new:
        _make_known(work, box)
        capabilities = ()
    if op.capabilities is not None:
        capabilities = tuple(sorted(set(op.capabilities)))
        for name in capabilities:
            work.mailbox(space, "@" + name)
    if op.groups is not None:
        box.groups = tuple(sorted(set(op.groups)))
    if op.receive or new:
        box.node = op.node
        box.session = op.session
        box.ephemeral = op.ephemeral
        box.lease_ms = op.lease_ms
    elif not op.ephemeral:
        box.ephemeral = False
    epoch = 0
    if op.receive:
        if op.replaces and op.replaces == box.epoch:
            _end_unread(work, box, op.unread)
        work.directory.epoch += 1
        epoch = box.epoch = work.directory.epoch
        box.online = True
        box.since = work.now
        box.folder = op.folder
        work.end_reads(box)
    space.changed(box, capabilities)
    work.save(space, box)
    pools = tuple(name for name in capabilities if space.mailboxes["@" + name].unsettled)
    return base.Registered(epoch, capabilities, box.groups, pools)


def _make_known(work: Work, box: Mailbox) -> None:
    """Nothing is left of who had the name before."""
    box.known = True
    box.groups = ()
    box.status = box.paused = None
    box.resuming = False
    box.folder = False
    box.since = work.now


def introduce(work: Work, space: Space, op: base.Introduce) -> base.Noted:
    box = work.mailbox(space, op.agent)
    if box.known:
        if not box.ephemeral:
            return base.Noted(False)
        box.ephemeral = False
        space.changed(box, box.capabilities)
    else:
        _make_known(work, box)
        box.node = box.session = ""
        box.ephemeral = False
        box.lease_ms = limits.LEASE_DEFAULT_MS
        space.changed(box, ())
    work.save(space, box)
    return base.Noted(True)


def revoke(work: Work, space: Space, op: base.Revoke) -> base.Noted:
    what = op.what
    work.write()
    SQL["end_revocations"].execute(work.db, space.id, work.now - REVOCATION_SPARE_MS)
    key = (space.id, what.token_id, what.agent)
    row = SQL["revocation"].execute(work.db, *key).fetchone()
    before = None if row is None else base.Revocation(what.token_id, what.agent, *row)
    now = joined(before, what)
    SQL["put_revocation"].execute(work.db, *key, now.issued_before, now.until)
    return base.Noted(now != before)


def leave(work: Work, space: Space, op: base.Leave) -> base.Left | base.Fenced:
    box = space.mailboxes.get(op.agent)
    if fenced := fence(box, op.epoch):
        return fenced
    if box is None or not box.known:
        return base.Left(None)
    _end_unread(work, box, op.unread)
    work.end_reads(box)
    if box.online:
        box.online = False
        box.epoch = 0
        box.since = work.now
        work.save(space, box)
    due = [at for at in (box.orphan_at, box.ghost_at) if at is not None]
    return base.Left(min(due, default=None))


def _end_unread(work: Work, box: Mailbox, seqs: Sequence[int]) -> None:
    """A session ended that had delivered ``seqs``: those nobody read have one more delivery."""
    work.load((box, seq) for seq in seqs)
    for seq in dict.fromkeys(seqs):
        record = work.unsettled(box, seq)
        if record is not None and record.lease_until is None:
            record.deliveries += 1
            work.change(record)


def update(work: Work, space: Space, op: base.Update) -> base.Updated | base.Fenced:
    box = space.mailboxes.get(op.agent)
    if fenced := fence(box, op.epoch):
        return fenced
    if box is None or not box.known:
        return base.Updated(())
    if op.status is not None:
        box.status = op.status
    groups = set(box.groups)
    if op.join is not None:
        groups.add(op.join)
    if op.leave is not None:
        groups.discard(op.leave)
    box.groups = tuple(sorted(groups))
    space.changed(box, box.capabilities)
    work.save(space, box)
    return base.Updated(box.groups)


def forget(work: Work, space: Space, op: base.Forget) -> base.Forgotten | base.Fenced:
    box = space.mailboxes.get(op.agent)
    if fenced := fence(box, op.epoch):
        return fenced
    if box is None or not box.known:
        return base.Forgotten(0, again=True)
    if box.online and op.epoch == 0:
        return base.Fenced(box.epoch)
    if box.unsettled:
        return base.Forgotten(box.unsettled)
    box.known = box.online = False
    box.epoch = 0
    space.changed(box, ())
    work.save(space, box)
    return base.Forgotten(0)


def order_folder(work: Work, space: Space, op: base.OrderFolder) -> base.FolderOrdered:
    before = space.folder_order
    since = work.now if before is None else before.since
    order = base.FolderOrder(op.reason, since) if op.on else None
    work.write()
    text = None if order is None else msgspec.json.encode(order).decode()
    SQL["order_folder"].execute(work.db, text, space.id)
    space.folder_order = order
    return base.FolderOrdered(order != before, order)
