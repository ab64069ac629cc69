"""What a receiver has had: which numbers of each sender, in which order.

Knows no messages: a sender counts from 0, and every number is looked for once.
"""

from __future__ import annotations


class Seen:
    """The numbers of one sender that have come, in little memory while they come in order."""

    def __init__(self) -> None:
        self._below = 0
        self._beyond: set[int] = set()

    def __len__(self) -> int:
        return self._below + len(self._beyond)

    def add(self, number: int) -> bool:
        """Note a number; False when it had come before."""
        if number < self._below or number in self._beyond:
            return False
        if number != self._below:
            self._beyond.add(number)
            return True
        self._below += 1
        while self._below in self._beyond:
            self._beyond.remove(self._below)
            self._below += 1
        return True


class Tally:
    """What one receiver has had of every sender.

    Attributes:
        received: messages, each counted once.
        duplicates: how often one came that had come before.
        disorder: how often one came after a later one of the same sender and priority
            (docs/protocol.md §5, Order).
    """

    def __init__(self) -> None:
        self.received = 0
        self.duplicates = 0
        self.disorder = 0
        self._seen: dict[int, Seen] = {}
        self._latest: dict[tuple[int, int], int] = {}

    def note(self, sender: int, number: int, priority: int) -> bool:
        """One has come; whether it is new."""
        if not self._seen.setdefault(sender, Seen()).add(number):
            self.duplicates += 1
            return False
        self.received += 1
        line = (sender, priority)
        if number < self._latest.get(line, -1):
            self.disorder += 1
        else:
            self._latest[line] = number
        return True
