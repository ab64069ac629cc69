"""Operations that are no core's: on their way into the next commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from trishula_broker.hub.now import Now
from trishula_broker.store.base import Batch, Operation, Outcome, StoreUnavailable


class Errand:
    """One operation, and whoever waits for its outcome."""

    def __init__(self, op: Operation, done: asyncio.Future[Outcome]) -> None:
        self.op = op
        self._done = done

    def committed(self, outcomes: Sequence[Outcome], now: Now) -> None:
        """It is durable."""
        if not self._done.done():
            self._done.set_result(outcomes[0])

    def commit_failed(self, why: str, now: Now) -> None:
        """What became of it is unknown."""
        if not self._done.done():
            self._done.set_exception(StoreUnavailable(why))


class Errands:
    """The queue of them."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Errand]] = []

    def add(self, namespace: str, op: Operation) -> asyncio.Future[Outcome]:
        """Have ``op`` committed before what the cores do next; its outcome, or
        :class:`StoreUnavailable`."""
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((namespace, Errand(op, done)))
        return done

    def take(self) -> list[tuple[Errand, Batch]]:
        """A batch each, in order."""
        waiting, self._waiting = self._waiting, []
        return [(errand, Batch(namespace, [errand.op])) for namespace, errand in waiting]

    def fail(self, why: str, now: Now) -> None:
        """None of them will be committed."""
        for errand, _ in self.take():
            errand.commit_failed(why, now)
