"""Who listens to what passes: a session here, or another node; see :mod:`.taps`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trishula_broker.hub.operations.render import envelope_of
from trishula_broker.store import base
from trishula_protocol.address import HUB
from trishula_protocol.envelope import Envelope
from trishula_protocol.hub_session import HubSession

TELL_BYTES: Final = 256 << 10
"""Bytes told to another node at once, but for the last copy; what comes until these have gone is
not told of when it is more. Other hints go the same way, and must not wait for long."""
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


class Here:
    """A session that listens.

    Attributes:
        missed: copies it was not told of, since it was told how many.
    """

    def __init__(self, session: HubSession, wanted: base.Wanted, room: int, missed: int) -> None:
        self.wanted = wanted
        self.missed = missed
        self._session = session
        self._room = room

    def __repr__(self) -> str:
        return f"<Here {self._session!r} missed={self.missed}>"

    def hear(self, passed: base.Passed, node: str, wall: int) -> None:
        """Something passed at ``node``."""
        if self.has_room(wall):
            self._say(_describe(passed, node), wall)
        else:
            self.missed += 1

    def has_room(self, wall: int) -> bool:
        """Whether it can be told more now. Tells what it missed first."""
        session = self._session
        if session.stalled_at is not None or session.buffered >= self._room:
            return False
        if self.missed:
            missed, self.missed = self.missed, 0
            self._say({"tap": "missed", "missed": missed}, wall)
        return True

    def _say(self, payload: dict[str, Any], wall: int) -> None:
        self._session.say(Envelope("STATUS", sender=HUB, timestamp=wall, payload=payload))


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
