"""The head of a mailbox: waiting copies that are at hand.

The store has the whole queue. The window contains *every* waiting copy up to its ``horizon``,
and all of them while the horizon is None. So a copy that was just committed either belongs into
the window or will be fetched later, and strict priority holds without looking at the store
again. Memory is bounded whatever the mailbox's depth.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from trishula_broker.store.base import Copy
from trishula_protocol import limits

Place = tuple[int, int]
"""Where a copy stands in its mailbox: (priority, seq)."""

NOTHING: Final[Place] = (0, 0)
"""Before every copy: the window knows nothing."""


class Window:
    """Waiting copies by priority, then seq.

    One queue a priority, because copies come in order of seq but for the rare one that was
    fetched again: adding and taking cost the same whatever the depth.
    """

    __slots__ = ("_first", "_queues", "count", "horizon", "size")

    def __init__(self) -> None:
        self.horizon: Place | None = NOTHING
        self.count = 0
        self.size = 0
        """Bytes of bodies."""
        self._first = limits.PRIORITY_FIRST
        # Made when first needed: an empty deque has 760 bytes, and most mailboxes are empty.
        self._queues: list[deque[Copy] | None] = [None] * (limits.PRIORITY_LAST + 1)

    def covers(self, copy: Copy) -> bool:
        """Whether the place of ``copy`` is within the horizon."""
        horizon = self.horizon
        message = copy.message
        return horizon is None or (message.priority, message.seq) <= horizon

    def add(self, copy: Copy) -> None:
        """Put ``copy`` where it belongs; nothing when it is there."""
        message = copy.message
        priority = message.priority
        queue = self._queues[priority]
        if queue is None:
            self._queues[priority] = deque((copy,))
        elif not queue or queue[-1].message.seq < message.seq:
            queue.append(copy)
        elif not _insert(queue, copy):
            return
        self.count += 1
        self.size += len(message.body)
        if priority < self._first:
            self._first = priority

    def pop(self) -> Copy:
        """Take the first copy; there must be one."""
        queues = self._queues
        while not (queue := queues[self._first]):
            self._first += 1
        copy = queue.popleft()
        self.count -= 1
        self.size -= len(copy.message.body)
        return copy

    def take_all(self) -> list[Copy]:
        """Take every copy, in order."""
        copies: list[Copy] = []
        queues = self._queues
        for priority, queue in enumerate(queues):
            if queue is not None:
                copies += queue
                queues[priority] = None  # as `shed`, but not all of it is young then
        self.count = 0
        self.size = 0
        return copies

    def remove(self, seq: int) -> None:
        """Take the copy with this seq out, if it is there."""
        for queue in self._queues:
            for copy in queue or ():
                if copy.message.seq == seq:
                    assert queue is not None
                    queue.remove(copy)
                    self.count -= 1
                    self.size -= len(copy.message.body)
                    return

    def shed(self) -> None:
        """Give the memory of the queues back; what they hold is forgotten."""
        self._queues = [None] * (limits.PRIORITY_LAST + 1)

    def clear(self) -> None:
        """Know nothing."""
        self.shed()
        self.count = 0
        self.size = 0
        self.horizon = NOTHING

    def halve(self) -> None:
        """Forget the later half; the horizon moves to the last one kept."""
        keep = max(1, self.count // 2)
        for queue in reversed(self._queues):
            while queue and self.count > keep:
                self.count -= 1
                self.size -= len(queue.pop().message.body)
            if queue:
                last = queue[-1].message
                self.horizon = (last.priority, last.seq)
                return


def _insert(queue: deque[Copy], copy: Copy) -> bool:
    seq = copy.message.seq
    for n, other in enumerate(queue):
        if other.message.seq >= seq:
            if other.message.seq == seq:
                return False
            queue.insert(n, copy)
            return True
    queue.append(copy)
    return True
