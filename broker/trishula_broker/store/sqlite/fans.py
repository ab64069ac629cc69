"""Fan-outs that are in no table yet: one value a message, not one a copy.

A copy of a message to many mostly ends as it began, done at its first attempt, and then it is four
values in its message's page (pages.py). Until that is written all copies of the message are kept
together here: which mailboxes have not settled it, and when the others did. A copy to which
anything else happens becomes a row of its own (:meth:`Fan.part`), and so do those that are not
settled when the fan-out is folded.

It knows nothing of the tables, nor of what mailboxes count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from trishula_broker.store.sqlite.mailbox import CopyRecord

BYTES: Final = 48
"""What a copy takes in memory, done or not."""
PACKED: Final = 20
"""What it takes in the journal at most."""


class Fan:
    """The copies of one message, none of which came by ``@``.

    Attributes:
        open: the mailboxes whose copies wait or are held, in order.
        done: mailbox, delivered_at, read_at, settled_at of the others, laid end to end.
        whole: whether no copy has left for a row of its own.
        carried: how often it was left behind when others were folded.
    """

    __slots__ = ("carried", "done", "expires_at", "hub", "open", "priority", "seq", "size", "whole")

    def __init__(
        self,
        seq: int,
        priority: int,
        size: int,
        hub: int,
        expires_at: int | None,
        agents: Iterable[int],
        done: list[int | None],
    ) -> None:
        self.seq = seq
        self.priority = priority
        self.size = size
        self.hub = hub
        self.expires_at = expires_at
        self.open: dict[int, None] = dict.fromkeys(agents)
        self.done = done
        self.whole = True
        self.carried = 0

    def __repr__(self) -> str:
        return f"<Fan {self.seq} {len(self.open)} open, {len(self.done) // 4} done>"

    @property
    def bytes(self) -> int:
        """About what its copies take in memory."""
        return BYTES * (len(self.open) + len(self.done) // 4)

    @property
    def packed_bytes(self) -> int:
        """What it takes in the journal at most, with its message."""
        return self.size + PACKED * (len(self.open) + len(self.done) // 4)

    def settle(self, agent: int, delivered_at: int | None, now: int) -> None:
        """The open copy of ``agent`` is done."""
        del self.open[agent]
        self.done += (agent, delivered_at, None, now)

    def part(self, agent: int) -> CopyRecord | None:
        """The open copy of ``agent``, which is none of this from here on; None without one."""
        if agent not in self.open:
            return None
        del self.open[agent]
        self.whole = False
        return self._record(agent)

    def finished(self, agent: int) -> CopyRecord | None:
        """The copy of ``agent`` to look at, when it is done."""
        done = self.done
        for at in range(0, len(done), 4):
            if done[at] == agent:
                record = self._record(agent)
                _, record.delivered_at, record.read_at, record.settled_at = done[at : at + 4]
                record.outcome = "done"
                return record
        return None

    def rows(self) -> list[CopyRecord]:
        """The open copies, as rows of their own."""
        return [self._record(agent) for agent in self.open]

    def _record(self, agent: int) -> CopyRecord:
        return CopyRecord(
            agent, self.seq, self.priority, self.size, self.hub, None, self.expires_at, 0, 0,
            None, None, None, None, None, None, None, True,
        )  # fmt: skip

    def packed(self) -> Packed:
        """As a record of the journal has it, beside the message itself."""
        return self.seq, self.hub, list(self.open), self.done


Packed = tuple[int, int, list[int], list[int | None]]
"""seq, hub, open, done of a :class:`Fan`."""

Ended = tuple[int, int, Sequence[int], Sequence[int | None]]
"""Copies that one mailbox settled: mailbox, settled_at, their seqs, when each was delivered."""


def unpacked(packed: Packed, row: Sequence[Any]) -> Fan:
    """The way back; ``row`` is the message."""
    seq, hub, agents, done = packed
    return Fan(seq, row[5], row[10], hub, row[9], agents, done)
