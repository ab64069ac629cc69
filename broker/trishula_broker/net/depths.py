"""How full the mailboxes are: the store is asked now and then, whoever wants to know.

To ask takes as long as there are agents, so what was found is kept for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from trishula_broker.store import base
from trishula_broker.store.base import Store

EVERY_S: Final = 30.0
"""A namespace is asked for at most so often,"""
SHARE: Final = 200
"""and not before so many times as long have passed as the answer took."""


class Depth(NamedTuple):
    """How full the mailboxes of a namespace are, in unsettled messages.

    Attributes:
        known: agents that can be addressed.
        paused: those that are handed no mail.
        messages: in all mailboxes.
        largest: in the fullest; ``fullest`` is whose that is.
        waiting: mailboxes that hold anything.
    """

    known: int = 0
    paused: int = 0
    messages: int = 0
    largest: int = 0
    waiting: int = 0
    fullest: str = ""


class Depths:
    """What was found.

    Args:
        seconds: a clock that never jumps.

    Attributes:
        known: by namespace, as it was when the store was asked last.
    """

    def __init__(self, store: Store, seconds: Callable[[], float]) -> None:
        self._store = store
        self._seconds = seconds
        self._due: dict[str, float] = {}
        self.known: dict[str, Depth] = {}

    def __repr__(self) -> str:
        return f"<Depths of {sorted(self.known)}>"

    async def look(self, namespaces: Iterable[str]) -> None:
        """Ask for those of which it is long ago.

        Raises:
            StoreError: the store cannot tell.
        """
        for namespace in namespaces:
            began = self._seconds()
            if began < self._due.get(namespace, began):
                continue
            records = await self._store.query(namespace, base.Agents())
            self.known[namespace] = _depth(records)
            took = self._seconds() - began
            self._due[namespace] = began + max(EVERY_S, SHARE * took)


def _depth(records: Iterable[base.AgentRecord]) -> Depth:
    known = paused = messages = largest = waiting = 0
    fullest = ""
    for record in records:
        known += 1
        paused += record.paused is not None
        messages += record.unsettled
        waiting += record.unsettled > 0
        if record.unsettled > largest:
            largest, fullest = record.unsettled, record.id
    return Depth(known, paused, messages, largest, waiting, fullest)
