"""What the operations of the store in memory share: the log, its counters, mail from the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trishula_broker.store import base
from trishula_broker.store.memory.space import Entry, Mailbox, Space
from trishula_protocol import limits
from trishula_protocol.address import HUB


@dataclass(slots=True, eq=False)
class Books:
    """All namespaces and the one log. ``seq`` and ``epoch`` are the last ones given out."""

    limits: base.MailboxLimits
    spaces: dict[str, Space] = field(default_factory=dict)
    log: dict[int, Entry] = field(default_factory=dict)
    log_bytes: int = 0
    seq: int = 0
    epoch: int = 0

    def append(self, space: Space, now: int, op: base.Accept) -> Entry:
        """Log what ``op`` accepts."""
        self.seq += 1
        message = base.Message(
            seq=self.seq,
            id=op.id,
            sender=op.sender,
            type=op.type,
            to=str(op.address),
            priority=op.priority,
            thread=None if op.thread == op.id else op.thread,
            receipt=op.receipt,
            accepted_at=now,
            expires_at=None if op.ttl is None else now + op.ttl,
            body=op.body,
        )
        return self._log(space, message)

    def post(
        self, space: Space, now: int, to: str, id_: str, thread: str | None, body: bytes
    ) -> base.Message | None:
        """Mail from the hub to ``to``; None when it is not known or has it already."""
        if to not in space.agents or (HUB, id_) in space.ids:
            return None
        self.seq += 1
        priority = limits.PRIORITY_DEFAULT
        message = base.Message(
            self.seq, id_, HUB, "ERROR", to, priority, thread, False, now, None, body
        )
        space.point(self._log(space, message), to, None)
        return message

    def _log(self, space: Space, message: base.Message) -> Entry:
        entry = self.log[message.seq] = Entry(space, message)
        self.log_bytes += len(message.body)
        space.log(entry)
        return entry

    def is_full(self, space: Space, name: str, sender: str, size: int) -> bool:
        """Whether the mailbox ``name`` cannot take ``size`` bytes from ``sender``."""
        box = space.mailbox(name)
        return sender != HUB and (
            box.messages + 1 > self.limits.messages or box.bytes + size > self.limits.bytes
        )


def fence(space: Space, name: str, epoch: int) -> base.Fenced | None:
    """What an operation of ``name`` comes back as when ``epoch`` is not current."""
    if epoch == 0:
        return None
    agent = space.agents.get(name)
    current = agent.epoch if agent else 0
    return None if epoch == current else base.Fenced(current)


def end_unread(box: Mailbox, seqs: Iterable[int]) -> None:
    """A session ended that had delivered ``seqs``: those nobody read have one more delivery."""
    for seq in dict.fromkeys(seqs):
        record = box.unsettled(seq)
        if record and record.lease_until is None:
            record.deliveries += 1


def end_reads(box: Mailbox, now: int) -> None:
    """Attempts that were read have ended."""
    for _, seq in box.queue:
        record = box.copies[seq]
        if record.lease_until is not None:
            record.end_attempt(now)
