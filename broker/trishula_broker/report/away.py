"""Who could not connect: agents that were cut off, and addresses that were turned away.

An agent that left by itself is not missed. One whose connection was lost, that was silent, or
whose hub ended its session, wants to be back; until it registers, at whichever hub, it is away.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

NAMES: Final = 10_000
"""Agents and addresses watched at a time; of more the ones known longest are forgotten."""
KEPT: Final = 100
"""Of those that were away so many are told, the longest."""
PAUSE_MS: Final = 15 * 60_000
"""Attempts further apart than this are not one."""

K = TypeVar("K")
V = TypeVar("V")


class Away(NamedTuple):
    """From ``begin`` to ``end``, milliseconds since the epoch; ``back`` when it got in then."""

    who: str
    begin: int
    end: int
    why: str
    back: bool


class Session(NamedTuple):
    """An agent's last one."""

    name: str
    node: str


class WhoIsAway:
    """Follows sessions in the order of time; times are milliseconds since the epoch."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._away: dict[str, tuple[int, str]] = {}
        self._turned: dict[tuple[str, str], tuple[int, int]] = {}
        """(Address, reason) → the first and the last attempt."""
        self._over: list[Away] = []

    def registered(self, at: int, agent: str, session: str, node: str) -> None:
        """An agent is there, wherever."""
        _put(self._sessions, agent, Session(session, node))
        begun = self._away.pop(agent, None)
        if begun is not None:
            self._note(agent, begun[0], at, begun[1], True)

    def disconnected(self, at: int, agent: str, session: str, why: str, *, wanted: bool) -> None:
        """A session ended; when it is ``wanted`` by its agent that is not missed."""
        current = self._sessions.get(agent)
        if current is None or current.name != session:
            return  # a newer one has taken over, or it was a side session
        del self._sessions[agent]
        if not wanted:
            _put(self._away, agent, (at, why))

    def hub_began(self, last: int, node: str) -> None:
        """A hub was started; it was heard at ``last`` before, and its sessions are over."""
        gone = [agent for agent, session in self._sessions.items() if session.node == node]
        for agent in gone:
            del self._sessions[agent]
            _put(self._away, agent, (last, "its hub died"))

    def forgotten(self, agent: str) -> None:
        """Nobody waits for it any more."""
        self._sessions.pop(agent, None)
        self._away.pop(agent, None)

    def let_in(self, at: int, address: str) -> None:
        """Somebody of that address connected."""
        for key in [key for key in self._turned if key[0] == address]:
            first, last = self._turned.pop(key)
            self._note(f"somebody at {address}", first, last, key[1], True)

    def turned_away(self, at: int, address: str, reason: str) -> None:
        """Somebody of that address did not."""
        key = address, reason
        first, last = self._turned.get(key, (at, at))
        if at - last > PAUSE_MS:
            self._note(f"somebody at {address}", first, last, reason, False)
            first = at
        _put(self._turned, key, (first, at))

    def all(self, end: int) -> list[Away]:
        """All of them up to ``end``, the longest first."""
        found = list(self._over)
        found += [Away(agent, at, end, why, False) for agent, (at, why) in self._away.items()]
        found += [
            Away(f"somebody at {address}", first, last, reason, False)
            for (address, reason), (first, last) in self._turned.items()
        ]
        return sorted(found, key=lambda each: each.begin - each.end)[:KEPT]

    def _note(self, who: str, begin: int, end: int, why: str, back: bool) -> None:
        self._over.append(Away(who, begin, end, why, back))
        if len(self._over) >= 2 * KEPT:
            self._over.sort(key=lambda each: each.begin - each.end)
            del self._over[KEPT:]


def _put(found: dict[K, V], key: K, value: V) -> None:
    if key not in found and len(found) >= NAMES:
        found.pop(next(iter(found)))
    found[key] = value
