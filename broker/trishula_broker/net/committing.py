"""What the cores decided on its way to the store, one commit at a time, and the outcomes back.

What comes while a commit is under way is the next one: no timer collects it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeGuard

from trishula_broker.hub.now import Now
from trishula_broker.net.errands import Errands
from trishula_broker.net.meter import Meter
from trishula_broker.net.ports import Committer, Core, Log
from trishula_broker.net.spans import Spans
from trishula_broker.store.base import Batch, Outcome, Store, StoreUnavailable

Outcomes = list[list[Outcome]]
FAILURE_PAUSE_S: Final = 0.2
"""Rest after a commit failed, so that a store that fails at once is not hammered."""


class Committing:
    """Commits what cores and errands have.

    Args:
        store: what it is committed to.
        cores: whose operations these are, by namespace; more may come.
        errands: operations that are no core's.
        meter: is told of each commit.
        spans: likewise; None without tracing.
        clock: the time.
        log: where failures go.
        confused: called with who failed when it was told an outcome.
        wake: called when cores have heard of outcomes.
    """

    def __init__(
        self,
        store: Store,
        cores: Mapping[str, Core],
        errands: Errands,
        meter: Meter,
        spans: Spans | None,
        clock: Callable[[], Now],
        log: Log,
        confused: Callable[[Committer], None],
        wake: Callable[[], None],
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        """Ends once nothing is left to commit; None while nothing is."""
        self.trouble: str | None = None
        """Why the last commit failed; None when it did not."""
        self._store = store
        self._cores = cores
        self._errands = errands
        self._meter = meter
        self._spans = spans
        self._clock = clock
        self._log = log
        self._confused = confused
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Committing under_way={self.task is not None} trouble={self.trouble!r}>"

    def run(self) -> None:
        """Begin a commit when there is something to commit; :attr:`task` is None."""
        work = self._collect()
        if not work:
            return
        begun = self._begin(work)
        if _is_over(begun):
            self._tell(work, begun.result(), "")
            self._wake()
        else:
            self.task = self._loop.create_task(self._commit(work, begun))

    def stop(self) -> None:
        """Begin no more; one that is under way ends in its :attr:`task`."""
        self._closed = True

    def _collect(self, ahead: bool = False) -> list[tuple[Committer, Batch]]:
        work: list[tuple[Committer, Batch]] = [*self._errands.take()]
        for namespace, core in self._cores.items():
            if ops := core.ops_to_commit(ahead):
                work.append((core, Batch(namespace, ops)))
        self._meter.collected(bool(work))
        if self._spans is not None:
            self._spans.collected(bool(work))
        return work

    def _begin(self, work: list[tuple[Committer, Batch]]) -> Awaitable[Outcomes]:
        try:
            return self._store.commit(self._clock().wall, [batch for _, batch in work])
        except Exception as error:
            failed: asyncio.Future[Outcomes] = self._loop.create_future()
            failed.set_exception(error)
            return failed

    async def _commit(
        self, work: list[tuple[Committer, Batch]], begun: Awaitable[Outcomes]
    ) -> None:
        """Wait for ``work`` to be committed, then for what has come meanwhile, until nothing is
        left.

        The next commit begins before the cores hear of the last one: the store works while they
        do. While the store fails, commits of nothing ask it whether it is well again: who waits
        for that, such as a load balancer, may be why nothing arrives.
        """
        while work or (self.trouble is not None and not self._closed):
            why = ""
            outcomes: Outcomes = []
            try:
                outcomes = await begun
            except StoreUnavailable as error:
                why = str(error) or "the store is unavailable"
            except Exception as error:
                self._log.error("bug", during="commit", exc_info=error)
                why = "internal error of the store"
            following = [] if why or self._closed else self._collect(ahead=True)
            if following:
                begun = self._begin(following)
            self._tell(work, outcomes, why)
            self._wake()
            if why:
                await asyncio.sleep(FAILURE_PAUSE_S)
            work = following
            if not work:
                work = [] if self._closed else self._collect()
                if work or (self.trouble is not None and not self._closed):
                    begun = self._begin(work)
        self.task = None
        self._wake()

    def _tell(self, work: list[tuple[Committer, Batch]], outcomes: Outcomes, why: str) -> None:
        if why and self.trouble is None:
            self._log.error("store_unavailable", why=why)
        elif self.trouble is not None and not why:
            self._log.info("store_available")
        self.trouble = why or None
        now = self._clock()
        batches = [batch for _, batch in work]
        self._meter.committed(batches, outcomes)
        if self._spans is not None:
            self._spans.committed(batches, outcomes, why)
        for n, (core, batch) in enumerate(work):
            try:
                if why:
                    core.commit_failed(why, now)
                else:
                    core.committed(outcomes[n], now)
            except Exception as error:
                # What the rest of this commit did is lost on the core. Its clients come back
                # and send again under the same ids; nobody waits for ever.
                self._log.error("bug", during="committed", ops=len(batch.ops), exc_info=error)
                self._confused(core)


def _is_over(begun: Awaitable[Outcomes]) -> TypeGuard[asyncio.Future[Outcomes]]:
    """Whether the store has done at once what it was to do."""
    return isinstance(begun, asyncio.Future) and begun.done() and begun.exception() is None
