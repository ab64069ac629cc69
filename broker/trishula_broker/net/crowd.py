"""Room for connections of which nobody knows yet whose they are, shared fairly.

There are two such rooms: one from the moment a connection is accepted until it has said what it
wants, the other from its upgrade until its agent has registered. Whoever is in one has a
:class:`Place`. It knows neither sockets nor time.
"""

from __future__ import annotations

from collections.abc import Container


class Place:
    """One connection's."""

    __slots__ = ("_crowd", "address")

    def __init__(self, crowd: Crowd, address: str) -> None:
        self._crowd: Crowd | None = crowd
        self.address = address

    def leave(self) -> None:
        """Make room; a second time does nothing."""
        crowd, self._crowd = self._crowd, None
        if crowd is not None:
            crowd.left(self.address)


class Crowd:
    """Counts places by address.

    An address may have as many as are free (Choudhury and Hahne's dynamic thresholds, known from
    switches that share a memory): one alone gets half of the room, two a third each, and for a
    newcomer there is always some left.

    Args:
        most: places in all.
        proxies: addresses that many others are behind; to these only ``most`` applies.
    """

    def __init__(self, most: int, proxies: Container[str] = ()) -> None:
        self._most = most
        self._proxies = proxies
        self._by_address: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Crowd {self._count} of {self._most} from {len(self._by_address)} addresses>"

    def enter(self, address: str) -> Place | None:
        """A place for a connection from ``address``; None when there is none for it."""
        held = self._by_address.get(address, 0)
        free = self._most - self._count
        if free <= 0 or (held >= free and address not in self._proxies):
            return None
        self._by_address[address] = held + 1
        self._count += 1
        return Place(self, address)

    def left(self, address: str) -> None:
        """One of ``address`` has left; said by its :class:`Place`."""
        self._count -= 1
        held = self._by_address[address] - 1
        if held:
            self._by_address[address] = held
        else:
            del self._by_address[address]
