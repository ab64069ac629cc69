"""Mail that was delivered and is not settled for good; it outlives connections.

Pure: no clock, no randomness, no asyncio. Time is monotonic milliseconds.

A delivery waits (the hub may give it to somebody else), is taken by the application (``read`` is
said, and renewed), is then finished: settled, rejected, or answered by a message that settles it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec

from trishula.recent import Recent
from trishula_protocol.bodies import AgentAck, Read, Reject, Settle
from trishula_protocol.envelope import Envelope

FINISHED: Final = 100_000
"""Ids of finished messages kept, so that redeliveries of them are settled and not seen again."""
RENEWALS: Final = 3
"""``read`` is said again this many times in a lease: before half of it, with room for delay."""

Key = tuple[str, str]
"""``(sender, id)``: what makes two deliveries the same message."""


class Stage(IntEnum):
    """How far the application is with a delivery."""

    WAITING = 0
    TAKEN = 1
    ANSWERED = 2
    FINISHED = 3


_WAITING: Final = Stage.WAITING
_TAKEN: Final = Stage.TAKEN
_FINISHED: Final = Stage.FINISHED


class Delivery(msgspec.Struct, eq=False, gc=False):
    """One message from the hub; a redelivery updates it.

    Attributes:
        seq: None: it needs no settling.
    """

    # Without gc: what it holds are values, none of which leads back to it.
    envelope: Envelope
    key: Key
    seq: int | None = None
    attempt: int = 1
    stage: Stage = _WAITING

    @classmethod
    def of(cls, envelope: Envelope) -> Delivery:
        """What has just come."""
        key = (envelope.sender or "", envelope.id or "")
        return cls(envelope, key, envelope.seq, envelope.attempt or 1)

    def __str__(self) -> str:
        """For the log: what it is, whose, and which."""
        return f"{self.envelope.type} {self.key[1]} from {self.key[0]}"

    def __repr__(self) -> str:
        return f"<Delivery {self.key[0]}/{self.key[1]} seq={self.seq} {self.stage.name.lower()}>"


class Inbox:
    """What the hub has given us, and what we have to tell it about that.

    Args:
        lease_ms: how long the hub lets a read message be without a sign; renewed in time.
        finished: how many finished ids are remembered at most.
    """

    def __init__(self, lease_ms: int, finished: int = FINISHED) -> None:
        self.finished: Recent[Key, str | None] = Recent(finished)
        """Each with the reason when it was rejected, None when it was done."""
        self._renew_ms = max(1, lease_ms // RENEWALS)
        self._renew_at: int | None = None
        self._held: dict[Key, Delivery] = {}
        self._taken: dict[int, Delivery] = {}
        self.filed: set[Key] = set()
        """Messages whose file lies in the shared folder: settling puts that away."""
        self._taken_files: set[Key] = set()
        self._put_away: list[tuple[Key, str | None]] = []
        self._again: list[Key] = []
        self._begun: list[Delivery] = []
        """Taken since `read` was said last: who is done with one in the same turn says no more."""
        self._reads: dict[int, None] = {}
        self._done: list[int] = []
        self._rejects: dict[tuple[str, bool], list[int]] = {}
        self._unconfirmed: dict[int, str | None] = {}
        self._connected = False

    def __repr__(self) -> str:
        return (
            f"<Inbox {len(self._held)} held, {len(self._taken)} taken, "
            f"{len(self._unconfirmed)} settled and unconfirmed>"
        )

    @property
    def taken(self) -> int:
        """Deliveries that are with the application."""
        return len(self._taken) + len(self._taken_files)

    @property
    def unconfirmed(self) -> int:
        """Settlements the hub has not confirmed yet."""
        return len(self._unconfirmed)

    @property
    def waiting(self) -> bool:
        """Whether :meth:`acks` would return something."""
        return bool(self._done or self._begun or self._reads or self._rejects)

    # what arrives

    def offer(self, envelopes: Iterable[Envelope]) -> list[Delivery]:
        """Deliveries the application has not seen; of the others it remembers what is new."""
        fresh: list[Delivery] = []
        held = self._held
        finished = self.finished
        for envelope in envelopes:
            key = (envelope.sender or "", envelope.id or "")
            seq = envelope.seq
            if seq is None:
                fresh.append(Delivery.of(envelope))
            elif (known := held.get(key)) is not None:
                self._redelivered(known, envelope)
            elif key in finished:
                self._settle_again(seq, finished[key])
            else:
                delivery = held[key] = Delivery(envelope, key, seq, envelope.attempt or 1)
                fresh.append(delivery)
        return fresh

    def offer_filed(self, envelopes: Iterable[Envelope]) -> list[Delivery]:
        """The same for files of the shared folder, which have no ``seq``."""
        fresh: list[Delivery] = []
        for envelope in envelopes:
            key = (envelope.sender or "", envelope.id or "")
            self.filed.add(key)
            if key in self.finished:
                self._put_away.append((key, self.finished[key]))
            elif key not in self._held:
                delivery = self._held[key] = Delivery.of(envelope)
                fresh.append(delivery)
        return fresh

    def holds(self, delivery: Delivery) -> bool:
        """Whether it is still to be handed out, or with the application."""
        return self._held.get(delivery.key) is delivery

    def settleable(self, delivery: Delivery) -> bool:
        """Whether anybody is told when the application has finished with it."""
        return delivery.seq is not None or delivery.key in self.filed

    def put_away(self) -> list[tuple[Key, str | None]]:
        """Finished messages whose files are to be put away, each with why it was rejected."""
        found, self._put_away = self._put_away, []
        return found

    @property
    def has_put_away(self) -> bool:
        """Whether :meth:`put_away` would return something."""
        return bool(self._put_away)

    def give_up(self, key: Key, reason: str) -> None:
        """A message that only the folder has is not attempted any more."""
        self.finished.add(key, reason)
        self._put_away.append((key, reason))

    def again(self) -> list[Key]:
        """Messages the application could not handle now, which only the folder has."""
        found, self._again = self._again, []
        return found

    def _redelivered(self, delivery: Delivery, envelope: Envelope) -> None:
        old, new = delivery.seq, envelope.seq
        delivery.attempt = envelope.attempt or 1
        delivery.envelope.attempt = envelope.attempt
        delivery.envelope.seq = delivery.seq = new
        if delivery.stage is not Stage.WAITING and new is not None:
            if old is not None:
                self._taken.pop(old, None)
            else:
                self._taken_files.discard(delivery.key)
            self._taken[new] = delivery
            self._reads[new] = None

    def _settle_again(self, seq: int, rejected: str | None) -> None:
        self._unconfirmed[seq] = rejected
        if rejected is None:
            self._done.append(seq)
        else:
            self._rejects.setdefault((rejected, False), []).append(seq)

    def confirmed(self, seqs: Iterable[int]) -> None:
        """The hub has settled these for good."""
        unconfirmed = self._unconfirmed
        for seq in seqs:
            unconfirmed.pop(seq, None)

    def stale(self, seqs: Iterable[int]) -> list[Delivery]:
        """These are not ours any more. Those still with the application are returned; those that
        wait for it are not held any more."""
        lost: list[Delivery] = []
        others: set[int] = set()
        for seq in seqs:
            self._unconfirmed.pop(seq, None)
            delivery = self._taken.pop(seq, None)
            if delivery is not None:
                self._reads.pop(seq, None)
                lost.append(delivery)
            else:
                others.add(seq)
        if others:
            self._take_back(
                delivery
                for delivery in self._held.values()
                if delivery.stage is _WAITING and delivery.seq in others
            )
        return lost

    def _take_back(self, deliveries: Iterable[Delivery]) -> None:
        """The hub's copies of these are the hub's again; a file in the shared folder stays."""
        for delivery in list(deliveries):
            if delivery.key in self.filed:
                delivery.seq = None
            else:
                del self._held[delivery.key]

    # what the application says

    def take(self, delivery: Delivery) -> None:
        """It is handed to the application."""
        delivery.stage = _TAKEN
        seq = delivery.seq
        if seq is not None:
            self._taken[seq] = delivery
            self._begun.append(delivery)
        elif delivery.key in self.filed:
            self._taken_files.add(delivery.key)

    def give_back(self, delivery: Delivery) -> None:
        """The application did not get it after all. The hub may know it as read: renew no more."""
        delivery.stage = Stage.WAITING
        self._taken_files.discard(delivery.key)
        if delivery.seq is not None:
            self._taken.pop(delivery.seq, None)
            self._reads.pop(delivery.seq, None)

    def done(self, delivery: Delivery) -> None:
        """The application has finished with it; a repetition is ignored."""
        seq = delivery.seq
        if seq is not None and not self.filed and delivery.stage is not _FINISHED:
            delivery.stage = _FINISHED  # as nearly always: what _finish does, in fewer steps
            key = delivery.key
            self._held.pop(key, None)
            self._taken.pop(seq, None)
            if self._reads:
                self._reads.pop(seq, None)
            self.finished.add(key, None)
            self._unconfirmed[seq] = None
            self._done.append(seq)
        elif self._finish(delivery, None) and delivery.seq is not None:
            self._unconfirmed[delivery.seq] = None
            self._done.append(delivery.seq)

    def reject(self, delivery: Delivery, reason: str, requeue: bool) -> None:
        """The application refuses it: for good, or for now with ``requeue``."""
        seq = delivery.seq
        if requeue:
            if delivery.stage is Stage.FINISHED or not self.settleable(delivery):
                return
            delivery.stage = Stage.FINISHED
            self._held.pop(delivery.key, None)
            self._taken_files.discard(delivery.key)
            # Not kept for the next connection: the end of this one ends the attempt as well.
            if self._connected and seq is not None:
                self._rejects.setdefault((reason, True), []).append(seq)
            elif delivery.key in self.filed:
                self._again.append(delivery.key)
            if seq is not None:
                self._taken.pop(seq, None)
                self._reads.pop(seq, None)
        elif self._finish(delivery, reason) and seq is not None:
            self._unconfirmed[seq] = reason
            self._rejects.setdefault((reason, False), []).append(seq)

    def _finish(self, delivery: Delivery, rejected: str | None) -> bool:
        if delivery.stage is Stage.FINISHED:
            return False
        delivery.stage = Stage.FINISHED
        seq = delivery.seq
        if seq is not None:
            self._held.pop(delivery.key, None)
            self._taken.pop(seq, None)
            self._reads.pop(seq, None)
            self.finished.add(delivery.key, rejected)
        if self.filed and delivery.key in self.filed:
            self._held.pop(delivery.key, None)
            self._taken_files.discard(delivery.key)
            self.finished.add(delivery.key, rejected)
            self._put_away.append((delivery.key, rejected))
        return True

    def answered(self, delivery: Delivery) -> None:
        """A message that settles it is on its way; its lease is renewed until that is accepted."""
        delivery.stage = Stage.ANSWERED

    def answer_accepted(self, delivery: Delivery) -> None:
        """That message was accepted, which settled the delivery."""
        if self.filed and delivery.key in self.filed:
            self.done(delivery)  # the hub may have got it since, and the answer did not name that
        else:
            self._finish(delivery, None)

    def answer_refused(self, delivery: Delivery) -> None:
        """That message was refused: the application still has the delivery."""
        if delivery.stage is Stage.ANSWERED:
            delivery.stage = _TAKEN
            self._begun.append(delivery)  # it may not be known as read: the answer did without

    # connections and time

    def connected(self, now: int) -> None:
        """Registered anew: say what is still in progress, and settle what may not have been."""
        self._connected = True
        self._renew_at = now + self._renew_ms
        self._begun = []
        self._reads = dict.fromkeys(self._taken)
        self._done = [seq for seq, reason in self._unconfirmed.items() if reason is None]
        self._rejects = {}
        for seq, reason in self._unconfirmed.items():
            if reason is not None:
                self._rejects.setdefault((reason, False), []).append(seq)

    def disconnected(self) -> None:
        """The hub takes back what the application has not begun; it will deliver it again."""
        self._connected = False
        self._renew_at = None
        self._take_back(each for each in self._held.values() if each.stage is _WAITING)
        self._rejects = {key: seqs for key, seqs in self._rejects.items() if not key[1]}

    def acks(self) -> list[AgentAck]:
        """What is to be said to the hub now, once; of any length."""
        acks: list[AgentAck] = []
        if self._begun:
            taken = self._taken
            for delivery in self._begun:
                seq = delivery.seq
                # Of one that is answered nothing is said: what is on its way settles it.
                if delivery.stage is _TAKEN and seq is not None and seq in taken:
                    self._reads[seq] = None
            self._begun = []
        if self._reads:
            acks.append(Read(list(self._reads)))
            self._reads = {}
        if self._done:
            acks.append(Settle(self._done))
            self._done = []
        if self._rejects:
            for (reason, requeue), seqs in self._rejects.items():
                acks.append(Reject(seqs, reason, requeue))
            self._rejects = {}
        return acks

    def next_timeout(self) -> int | None:
        """When :meth:`timeout` has something to do."""
        return self._renew_at

    def timeout(self, now: int) -> None:
        """Renew the lease of all that is in progress."""
        if self._renew_at is not None and now >= self._renew_at:
            self._renew_at = now + self._renew_ms
            self._reads.update(dict.fromkeys(self._taken))
