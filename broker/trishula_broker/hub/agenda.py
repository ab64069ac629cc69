"""What to do when: one heap for all deadlines of a hub."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from trishula_broker.hub.now import Now

Task = Callable[[Now], None]


class Agenda:
    """Deadlines by key. A key has one deadline; asking for a later one changes nothing.

    That is what every user wants: whoever is woken looks at what is really due and asks again.
    So a busy session costs no heap operation a message.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, object]] = []
        self._due: dict[object, tuple[int, Task]] = {}
        self._count = 0

    def at(self, due: int, key: object, task: Task) -> None:
        """Call ``task`` at ``due`` (mono), unless ``key`` is to be woken before that anyway."""
        known = self._due.get(key)
        if known is not None and known[0] <= due:
            return
        self._due[key] = (due, task)
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))

    def cancel(self, key: object) -> None:
        """Forget a deadline."""
        self._due.pop(key, None)

    def next(self) -> int | None:
        """The earliest deadline."""
        while self._heap:
            due, _, key = self._heap[0]
            known = self._due.get(key)
            if known is not None and known[0] == due:
                return due
            heapq.heappop(self._heap)
        return None

    def due(self, now: int) -> Iterator[Task]:
        """Take what is due, in order."""
        while (due := self.next()) is not None and due <= now:
            _, _, key = heapq.heappop(self._heap)
            yield self._due.pop(key)[1]
