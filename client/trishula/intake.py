"""Where deliveries wait for the application: handlers by type, and ``messages()`` for the rest."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from trishula.engine import Engine
from trishula.errors import AgentClosed, Refused, RemoteError, TrishulaError
from trishula.inbox import Delivery, Stage
from trishula.message import Message
from trishula_protocol import limits

Handler = Callable[[Message], Awaitable[Any] | Any]

UNSETTLED: Final = limits.PREFETCH_MAX
"""Messages the application may have without settling them; then it is handed no more."""

_log = logging.getLogger("trishula")


class Intake:
    """Hands every delivery to one handler, or to one reader of :meth:`messages`.

    Args:
        concurrency: handlers that may run at the same time.
    """

    def __init__(self, concurrency: int) -> None:
        self.engine: Engine
        self._concurrency = concurrency
        self._handlers: dict[str, Handler] = {}
        self._any: Handler | None = None
        self._unread: deque[Delivery] = deque()
        self._jobs: deque[tuple[Delivery, Handler]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._readers: deque[asyncio.Future[None]] = deque()
        self._closing = False
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return (
            f"<Intake {len(self._unread)} unread, {len(self._jobs)} for handlers, "
            f"{len(self._workers)} running>"
        )

    @property
    def running(self) -> int:
        """Handlers that are at work."""
        return len(self._workers)

    def handle(self, type: str | None, handler: Handler) -> None:
        """Give messages of ``type``, or None for all others, to ``handler``."""
        if type is None:
            self._any = handler
        else:
            self._handlers[type] = handler
        waiting, self._unread = self._unread, deque()
        self.deliver(list(waiting))

    # what the engine tells

    def deliver(self, deliveries: list[Delivery]) -> None:
        """New mail."""
        if self._handlers or self._any is not None:
            for delivery in deliveries:
                handler = self._handlers.get(delivery.envelope.type, self._any)
                if handler is None:
                    self._keep_unread(delivery)
                else:
                    self._jobs.append((delivery, handler))
            self._start_workers()
        else:
            self._unread.extend(deliveries)
        self._wake()

    def lost(self) -> None:
        """What was not begun and is not held any more is the hub's again; what lies in the shared
        folder stays."""
        holds = self.engine.core.inbox.holds
        self._unread = deque(delivery for delivery in self._unread if holds(delivery))
        self._jobs = deque(job for job in self._jobs if holds(job[0]))

    def changed(self) -> None:
        """The agent may have failed: readers look."""
        if self.engine.failure is not None:
            for reader in self._readers:
                if not reader.done():
                    reader.set_result(None)

    async def close(self, seconds: float) -> None:
        """Begin nothing more; let what runs finish for ``seconds``, then cancel it."""
        self._closing = True
        self._jobs.clear()
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        workers = set(self._workers)
        if workers:
            try:
                await asyncio.wait(workers, timeout=seconds)
            finally:
                for worker in workers:
                    worker.cancel()
            await asyncio.wait(workers)

    # readers

    async def next(self) -> Message:
        """The next message nobody handles.

        Raises:
            StopAsyncIteration: the agent was closed.
            TrishulaError: it failed for good.
        """
        engine = self.engine
        while True:
            if self._unread and not self._closing and engine.core.inbox.taken < UNSETTLED:
                delivery = self._unread.popleft()
                settling = engine.settling
                settling.take(delivery)
                return Message(settling, delivery)
            failure = engine.failure
            if self._closing or isinstance(failure, AgentClosed):
                raise StopAsyncIteration
            if failure is not None:
                raise failure.with_traceback(None)
            reader: asyncio.Future[None] = engine.sending.make_waiter()
            self._readers.append(reader)
            try:
                await reader
            except BaseException:
                # Woken and cancelled at once: the message is still there, for somebody else.
                if reader.done() and not reader.cancelled():
                    self._wake()
                raise
            finally:
                if self._readers and reader in self._readers:
                    self._readers.remove(reader)

    def settled(self) -> None:
        """The application may have room for more."""
        if self._unread and self._readers:
            self._wake()

    def give_back(self, delivery: Delivery) -> None:
        """It was taken, and nobody got it: it is the next one again."""
        if delivery.stage is Stage.TAKEN:
            self.engine.core.inbox.give_back(delivery)
            self._unread.appendleft(delivery)
            self._wake()

    def _wake(self) -> None:
        free = len(self._unread)
        while self._readers and free > 0:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                free -= 1

    def _keep_unread(self, delivery: Delivery) -> None:
        self._unread.append(delivery)
        type = delivery.envelope.type
        if not self._readers and type not in self._warned:
            self._warned.add(type)
            _log.warning(
                "%s: %s waits: no handler takes it and nobody reads messages()",
                self._agent,
                delivery,
            )

    # handlers

    def _start_workers(self) -> None:
        free = min(self._concurrency - len(self._workers), len(self._jobs))
        for _ in range(0 if self._closing else free):
            worker = self.engine.loop.create_task(self._work(), name="trishula-handler")
            self._workers.add(worker)
            worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        # What came between its last look and here found its place taken.
        self._workers.discard(worker)
        self._start_workers()

    async def _work(self) -> None:
        while self._jobs and not self._closing:
            delivery, handler = self._jobs.popleft()
            self.engine.settling.take(delivery)
            message = Message(self.engine.settling, delivery)
            tracing = self.engine.sending.tracing
            if tracing is None:
                await self._run(message, delivery, handler)
                continue
            token = tracing.enter(delivery.envelope.headers)
            try:
                await self._run(message, delivery, handler)
            finally:
                tracing.leave(token)

    async def _run(self, message: Message, delivery: Delivery, handler: Handler) -> None:
        command = message.type == "COMMAND"
        try:
            result = handler(message)
            if inspect.isawaitable(result):
                result = await result
            if command and not message.settled:
                await self._answer(delivery, "RESULT", result)
            elif not message.settled:
                await message.done()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            await self._failed(delivery, RemoteError("handler_failed", "it was cancelled"))
        except Exception as error:
            await self._failed(delivery, error)

    async def _failed(self, delivery: Delivery, error: Exception) -> None:
        """A handler raised: ERROR for a command, another attempt for anything else."""
        if delivery.stage >= Stage.ANSWERED:
            self._log_failure("a handler failed after settling", delivery, error)
            return
        try:
            if delivery.envelope.type != "COMMAND":
                self._log_failure("a handler failed for", delivery, error)
                reason = _described(error)[: limits.REASON_LENGTH]
                await self.engine.settling.reject(delivery, reason, requeue=True)
                return
            if not isinstance(error, RemoteError):
                self._log_failure("a handler failed for", delivery, error)
                details = {"exception": type(error).__name__}
                error = RemoteError("handler_failed", _described(error)[:4096], details=details)
            await self._answer(delivery, "ERROR", error.body())
        except (TrishulaError, ValueError, TypeError) as problem:
            _log.error("%s: could not answer %s: %s", self._agent, delivery, problem)

    def _log_failure(self, what: str, delivery: Delivery, error: Exception) -> None:
        _log.error("%s: %s %s", self._agent, what, delivery, exc_info=error)

    @property
    def _agent(self) -> str:
        return self.engine.core.register.agent

    async def _answer(self, delivery: Delivery, type: str, payload: Any) -> None:
        """Queue the answer; the handler's place is free while its acceptance is awaited."""
        out = await self.engine.settling.queue_answer(delivery, type, payload, patient=True)

        def accepted(outcome: asyncio.Future[None]) -> None:
            error = None if outcome.cancelled() else outcome.exception()
            if isinstance(error, Refused):
                _log.error("%s: the answer to %s was refused: %s", self._agent, delivery, error)
                self.engine.core.reject(
                    delivery, f"answer refused: {error}"[: limits.REASON_LENGTH], False
                )
                self.engine.sending.touch()

        out.waiter.add_done_callback(accepted)


class Messages:
    """What ``Agent.messages`` returns."""

    __slots__ = ("_intake",)

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def __aiter__(self) -> Messages:
        return self

    def __anext__(self) -> Awaitable[Message]:
        return self._intake.next()


def _described(error: Exception) -> str:
    """``KeyError: 'x'``; the type alone says what a text such as ``'x'`` does not."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
