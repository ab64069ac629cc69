"""Who listens to what passes: sessions here, or another node; see :mod:`.taps`.

Sessions that want the same are told of it together: what passes is looked at and encoded once,
however many pages are open.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.render import envelope_of
from trishula_broker.store import base
from trishula_protocol.address import HUB
from trishula_protocol.codec import Codec
from trishula_protocol.envelope import Envelope
from trishula_protocol.hub_session import HubSession

TELL_BYTES: Final = 256 << 10
"""Bytes told to another node at once, but for the last copy; what comes until these have gone is
not told of when it is more. Other hints go the same way, and must not wait for long."""
SLICES: Final = 5
"""Parts of a second over which the copies of one are spread."""
COPY_BYTES: Final = 200
"""Of a copy, beside its body."""


def fits(wanted: base.Wanted, passed: base.Passed) -> bool:
    """Whether who wants this wants to hear of that."""
    message = passed.message
    return (
        (wanted.sender is None or wanted.sender == message.sender)
        and (wanted.to is None or wanted.to == message.to or wanted.to in passed.agents)
        and (wanted.type is None or wanted.type == message.type)
        and (wanted.thread is None or wanted.thread == (message.thread or message.id))
    )


class Group:
    """Sessions here that want the same copies, as many a second, in the same encoding.

    Attributes:
        members: by link.
        missed: copies that there were too many of in their second, of all that ever listened.
    """

    def __init__(self, wanted: base.Wanted, most: int | None, codec: Codec) -> None:
        self.wanted = wanted
        self.members: dict[int, Here] = {}
        self.missed = 0
        self._most = most
        self._codec = codec
        self._left = 0
        self._until = 0

    def __repr__(self) -> str:
        return f"<Group {len(self.members)} most={self._most} missed={self.missed}>"

    @property
    def paced(self) -> bool:
        """Whether it is told of so many copies a second only."""
        return self._most is not None

    def hear(self, passed: base.Passed, node: str, now: Now) -> None:
        """Something passed at ``node``."""
        if self._most is not None and not self._in_time(self._most, now.mono):
            self.missed += 1
            return
        part: list[bytes] = []
        for here in self.members.values():
            # Who is paced hears what it missed once a second, and not before each copy.
            if here.has_room(now.wall, telling=not self.paced):
                part = part or [self._codec.encode(_news(_describe(passed, node), now.wall))]
                here.session.deliver(part)
            else:
                here.missed += 1

    def _in_time(self, most: int, mono: int) -> bool:
        """Whether there is one more now; they are spread over a second."""
        if mono >= self._until:
            self._until = mono + 1_000 // min(most, SLICES)
            self._left = max(1, most // SLICES)
        self._left -= 1
        return self._left >= 0


class Here:
    """A session that listens.

    Attributes:
        missed: copies it was not told of, since it was told how many; besides its group's.
    """

    def __init__(self, session: HubSession, group: Group, room: int, missed: int) -> None:
        self.group = group
        self.session = session
        self.missed = missed
        self._told = group.missed
        self._room = room

    def __repr__(self) -> str:
        return f"<Here {self.session!r} missed={self.all_missed}>"

    @property
    def all_missed(self) -> int:
        """What it has to be told that it missed."""
        return self.missed + self.group.missed - self._told

    def has_room(self, wall: int, *, telling: bool = True) -> bool:
        """Whether it can be told more now. Tells what it missed first, if ``telling``."""
        session = self.session
        if session.stalled_at is not None or session.buffered >= self._room or session.closed:
            return False
        if telling and (missed := self.all_missed):
            self.missed, self._told = 0, self.group.missed
            session.say(_news({"tap": "missed", "missed": missed}, wall))
        return True


class Elsewhere:
    """A node where somebody listens, and what it is to be told of.

    Attributes:
        until: when it is forgotten (mono), unless it says again that somebody listens there.
        busy: something is on its way to it.
    """

    def __init__(self, node: str, since: int) -> None:
        self.node = node
        self.since = since
        self.wanted: tuple[base.Wanted, ...] = ()
        self.until = 0
        self.busy = False
        self.waiting: list[base.Passed] = []
        self._first = 0
        self._count = 0
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Elsewhere {self.node} count={self._count} waiting={len(self.waiting)}>"

    def add(self, passed: base.Passed) -> None:
        """Something passed here; it is told of when there is room."""
        if not self.waiting:
            self._first = self._count
        self._count += 1
        if self._bytes < TELL_BYTES:
            if passed.outcome is not None:
                message = msgspec.structs.replace(passed.message, body=b"")
                passed = msgspec.structs.replace(passed, message=message)
            self.waiting.append(passed)
            self._bytes += len(passed.message.body) + COPY_BYTES

    def take(self, node: str) -> base.Tapped:
        """What it is told now by ``node``: nothing, if only how much has passed."""
        first = self._first if self.waiting else self._count
        waiting, self.waiting, self._bytes = self.waiting, [], 0
        return base.Tapped(node, self.since, first, tuple(waiting))


def _news(payload: dict[str, Any], wall: int) -> Envelope:
    return Envelope("STATUS", sender=HUB, timestamp=wall, payload=payload)


def _describe(passed: base.Passed, node: str) -> dict[str, Any]:
    message = passed.message
    if passed.outcome is None:
        return {
            "tap": "accepted",
            "node": node,
            "agents": passed.agents,
            **({} if passed.pool is None else {"pool": passed.pool}),
            "envelope": envelope_of(message),
        }
    return {
        "tap": "settled",
        "node": node,
        "agents": passed.agents,
        "outcome": passed.outcome,
        "envelope": {
            "type": message.type,
            "id": message.id,
            "from": message.sender,
            "to": message.to,
            "thread": message.thread or message.id,
            "seq": message.seq,
            "accepted_at": message.accepted_at,
        },
    }
