"""Joins the core, the connection and the state directory; futures for what the core reports.

``Agent`` is its public face. Every coroutine here may be cancelled at any await: what was queued
stays queued, what was not is not.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl as tls
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from random import random
from time import time_ns
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from trishula import state_dir
from trishula.compose import check_id, compose
from trishula.connector import Connector, Token
from trishula.core import AgentCore
from trishula.errors import AgentClosed, Refused
from trishula.events import (
    Accepted,
    Active,
    Answered,
    Event,
    Lost,
    NewMail,
    Presence,
    Progress,
    Receipts,
    Returned,
    StaleMail,
    Trouble,
)
from trishula.events import Refused as RefusedEvent
from trishula.inbox import Delivery, Stage
from trishula.outbox import Outgoing
from trishula.receipt import Receipt
from trishula_protocol.address import HUB
from trishula_protocol.bodies import Op, Register, Registered
from trishula_protocol.envelope import Envelope
from trishula_protocol.ids import IdMaker

_log = logging.getLogger("trishula")

Waiter = asyncio.Future[None]
ProgressCallback = Callable[[Any], object]


class Expected(msgspec.Struct, gc=False):
    """A command somebody waits for."""

    future: asyncio.Future[Envelope]
    on_progress: ProgressCallback | None


class Engine:
    """One agent's machinery.

    Args:
        on_mail: takes new deliveries.
        on_lost: the connection is gone; deliveries not taken are the hub's again.
        on_presence: takes the hub's news for watchers.
        on_change: the agent became active, lost its connection, or failed for good.
    """

    def __init__(
        self,
        register: Register,
        urls: Sequence[str],
        *,
        token: Token,
        ssl: tls.SSLContext | None,
        directory: Path | None,
        on_mail: Callable[[list[Delivery]], None],
        on_lost: Callable[[], None],
        on_presence: Callable[[Any], None],
        on_change: Callable[[], None],
    ) -> None:
        self.core = AgentCore(register, fraction=random)
        self.info: Registered | None = None
        self.failure: Exception | None = AgentClosed(register.agent, "was not entered yet")
        self._urls = urls
        self._token = token
        self._ssl = ssl
        self._directory = directory
        self._on_mail = on_mail
        self._on_lost = on_lost
        self._on_presence = on_presence
        self._on_change = on_change
        self._ids = IdMaker(secrets.randbits(62))
        self._state: state_dir.StateDir | None = None
        self._connector: Connector | None = None
        self._room: deque[Waiter] = deque()
        self._idle: list[Waiter] = []
        self._started: Waiter | None = None
        self.over: Waiter | None = None
        self._receipts: WeakValueDictionary[str, Receipt] = WeakValueDictionary()

    # --- life ---

    async def start(self, seconds: float | None) -> None:
        """Open the state directory and connect; see ``Agent.__aenter__``."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        try:
            if self._directory is not None:
                state = state_dir.StateDir(self._directory, self.core.register.agent)
                await state.open()
                self._state = state
                outs = [Outgoing(id, envelope) for id, envelope in state.unaccepted]
                self.core.resume(outs, state.finished)
            self.failure = None
            self._started = loop.create_future()
            self.over = loop.create_future()
            self._connector = Connector(
                self.core,
                self._urls,
                self._token,
                self._ssl,
                make_id=self.make_id,
                on_event=self._on_event,
                on_failure=self.fail,
            )
            self._connector.start()
            async with asyncio.timeout(seconds):
                await self._started
        except BaseException as error:
            connector = self._connector
            await self.stop()
            if isinstance(error, TimeoutError) and connector is not None:
                raise connector.not_connected() from error
            raise

    async def settled(self, seconds: float | None) -> bool:
        """Wait until all that was sent is accepted and all that was settled is confirmed."""
        try:
            async with asyncio.timeout(seconds):
                while not self.core.idle and self.failure is None:
                    waiter: Waiter = self._loop.create_future()
                    self._idle.append(waiter)
                    try:
                        await waiter
                    finally:
                        self._idle.remove(waiter)
        except TimeoutError:
            pass
        return self.core.idle

    async def stop(self) -> None:
        """End the connection; whoever waits gets :class:`AgentClosed`."""
        connector, self._connector = self._connector, None
        state, self._state = self._state, None
        self.fail(AgentClosed(self.core.register.agent))
        try:
            if connector is not None:
                await connector.stop()
        finally:
            if state is not None:
                await state.close()

    def fail(self, error: Exception) -> None:
        """Nothing more will be accepted or answered: tell whoever waits. The first one counts."""
        if self.failure is None:
            self.failure = error
        waiters: list[Any] = [out.waiter for out in self.core.outbox]
        waiters += [expected.future for expected in self.core.expected.values()]
        waiters += [*self._room, *self._idle, self._started]
        for waiter in waiters:
            if waiter is not None and not waiter.done():
                waiter.set_exception(self.failure)
                waiter.exception()  # whoever was cancelled meanwhile will not ask for it
        for receipt in self._receipts.values():
            receipt.fail(self.failure)
        _resolve(self.over, None)
        self._on_change()

    def make_id(self) -> str:
        """A new id, later than every one before."""
        return self._ids(time_ns() // 1_000_000)

    @property
    def url(self) -> str | None:
        """The hub this agent is connected to."""
        return self._connector.url if self._connector is not None else None

    def touch(self) -> None:
        """Something may have to be written."""
        if self._connector is not None:
            self._connector.touch()

    # --- sending ---

    async def send(
        self, type: str, to: str, payload: Any, id: str | None, receipt: bool, **fields: Any
    ) -> Receipt:
        """Send, and wait until it is accepted."""
        now = time_ns() // 1_000_000
        id = self._ids(now) if id is None else check_id(id)
        encoded = compose(id, now, type, to, payload, receipt=receipt, **fields)
        if self.failure is not None or self._room or self.core.outbox.full:
            await self._wait_for_room()
        found = Receipt(id)
        if receipt:
            self._receipts[id] = found
        waiter: Waiter = self._loop.create_future()
        if self._state is None:
            self.core.send(Outgoing(id, encoded, waiter))
            self.touch()
        else:
            self._store(Outgoing(id, encoded, waiter, held=True), [])
        await waiter
        return found

    def _store(self, out: Outgoing, more: list[state_dir.Statement]) -> None:
        """Write a message down before it goes out."""
        assert self._state is not None
        if out.answers is None:
            self.core.send(out)

        def stored() -> None:
            self.core.outbox.release([out])
            self.touch()

        def written(outcome: asyncio.Future[None]) -> None:
            error = outcome.exception()
            if error is not None:
                self.core.withdraw(out)
                if not out.waiter.done():
                    out.waiter.set_exception(error)

        outcome = self._state.submit([state_dir.keep(out.id, out.encoded), *more], stored)
        outcome.add_done_callback(written)

    async def _wait_for_room(self) -> None:
        self._check()
        first = True
        while self.core.outbox.full or (first and self._room):
            waiter: Waiter = self._loop.create_future()
            if first:
                self._room.append(waiter)
            else:
                self._room.appendleft(waiter)
            first = False
            try:
                await waiter
            except BaseException:
                if waiter in self._room:
                    self._room.remove(waiter)
                self._make_room()
                raise
            self._check()

    def _make_room(self) -> None:
        free = self.core.outbox.room
        while self._room and free > 0:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # it may be raised many times

    async def ask(self, op: Op) -> Any:
        """Ask the hub; wait for its answer."""
        self._check()
        out = self._question(op)
        waiter = out.waiter = self._loop.create_future()
        try:
            return await waiter
        finally:
            if not waiter.done() or waiter.cancelled():
                self.core.withdraw(out)

    def tell(self, op: Op) -> None:
        """Ask the hub, and let the answer be."""
        if self.failure is None:
            self._question(op)

    def _question(self, op: Op) -> Outgoing:
        id = self.make_id()
        encoded = self.core.encode(Envelope("COMMAND", id=id, to=HUB, payload=op))
        out = Outgoing(id, encoded, stored=False)
        self.core.ask(out)
        self.touch()
        return out

    async def command(
        self,
        to: str,
        payload: Any,
        timeout: float | None,
        on_progress: ProgressCallback | None,
        **fields: Any,
    ) -> Envelope:
        """Send a COMMAND; wait for the RESULT or ERROR that answers it."""
        self._check()
        id = self.make_id()
        expected = Expected(self._loop.create_future(), on_progress)
        self.core.expect(id, expected)
        try:
            async with asyncio.timeout(timeout):
                await self.send("COMMAND", to, payload, id, False, **fields)
                return await expected.future
        finally:
            self.core.abandon(id)

    # --- settling ---

    def take(self, delivery: Delivery) -> None:
        """It is handed to the application."""
        self.core.take(delivery)
        self.touch()

    async def done(self, delivery: Delivery) -> None:
        """The application has finished with it."""
        if delivery.stage is Stage.FINISHED:
            return
        if self._state is None or delivery.seq is None:
            self.core.done(delivery)
            self.touch()
        else:
            await self._finish(delivery, None)

    async def reject(self, delivery: Delivery, reason: str, requeue: bool) -> None:
        """The application refuses it."""
        if len(reason) > 1024:
            raise ValueError(f"reason: 1024 characters at most, not {len(reason)}")
        if delivery.stage is Stage.FINISHED:
            return
        if self._state is None or requeue or delivery.seq is None:
            self.core.reject(delivery, reason, requeue)
            self.touch()
        else:
            await self._finish(delivery, reason)

    async def _finish(self, delivery: Delivery, reason: str | None) -> None:
        assert self._state is not None

        def stored() -> None:
            if reason is None:
                self.core.done(delivery)
            else:
                self.core.reject(delivery, reason, requeue=False)
            self.touch()

        # Shielded: when the caller is cancelled it is written, and said, all the same.
        outcome = self._state.submit([state_dir.finish(delivery.key, reason)], stored)
        outcome.add_done_callback(_retrieved)
        await asyncio.shield(outcome)

    async def answer(
        self, delivery: Delivery, type: str, payload: Any, receipt: bool = False, **fields: Any
    ) -> Receipt:
        """Answer and settle; wait until that is accepted."""
        out = await self.queue_answer(delivery, type, payload, receipt, **fields)
        found = Receipt(out.id)
        if receipt:
            self._receipts[out.id] = found
        await out.waiter
        return found

    async def queue_answer(
        self,
        delivery: Delivery,
        type: str,
        payload: Any,
        receipt: bool = False,
        patient: bool = False,
        **fields: Any,
    ) -> Outgoing:
        """Answer and settle; its ``waiter`` hears of the acceptance."""
        sender, answered = delivery.key
        if sender == HUB:
            raise ValueError("the hub's own mail cannot be answered; settle it with done()")
        if delivery.stage is Stage.ANSWERED:
            raise ValueError(f"message {answered!r} has an answer on its way already")
        fields.setdefault("reply_to", answered)
        fields.setdefault("thread", delivery.envelope.thread or answered)
        fields.setdefault("priority", delivery.envelope.priority)
        now = time_ns() // 1_000_000
        id = self._ids(now)
        compose(id, now, type, sender, payload, receipt=receipt, **fields)
        if self.failure is not None or self._room or self.core.outbox.full:
            await self._wait_for_room()
        # Only now: the seq may have changed, and others may have settled it, while we waited.
        settles = None if delivery.stage is Stage.FINISHED else delivery.seq
        encoded = compose(
            id, now, type, sender, payload, receipt=receipt, settles=settles, **fields
        )
        out = Outgoing(
            id,
            encoded,
            self._loop.create_future(),
            patient=patient,
            held=self._state is not None,
        )
        if settles is not None:
            self.core.answer(delivery, out)
        if self._state is not None:
            more = [state_dir.finish(delivery.key, None)] if settles is not None else []
            self._store(out, more)
        elif settles is None:
            self.core.send(out)
        self.touch()
        return out

    async def progress(self, delivery: Delivery, payload: Any) -> Receipt:
        """A STATUS about it, to its sender."""
        sender, id = delivery.key
        thread = delivery.envelope.thread or id
        return await self.send("STATUS", sender, payload, None, False, reply_to=id, thread=thread)

    # --- what the core reports ---

    def _on_event(self, event: Event) -> None:
        match event:
            case Accepted():
                self._accepted(event.outs)
            case NewMail():
                self._on_mail(event.deliveries)
            case Returned():
                _resolve(event.waiter.future, event.envelope)
            case Progress():
                self._progressed(event.waiter, event.envelope.payload)
            case Answered():
                _resolve(event.out.waiter, event.payload)
                self._make_room()
            case RefusedEvent():
                self._refused(event.out, Refused.of(event.error))
            case Receipts():
                for id in event.ids:
                    receipt = self._receipts.get(id)
                    if receipt is not None:
                        receipt.note(event.stage, event.by)
            case Presence():
                self._on_presence(event.payload)
            case Active():
                self.info = event.info
                _resolve(self._started, None)
                self._on_change()
            case Lost():
                self._on_lost()
                self._on_change()
            case StaleMail():
                for delivery in event.deliveries:
                    _log.warning("%r went to another session while it was handled", delivery)
            case Trouble():
                _log.warning("hub: %s", event.reason)
            case _:
                pass
        if self._idle and self.core.idle:
            for waiter in self._idle:
                _resolve(waiter, None)

    def _accepted(self, outs: list[Outgoing]) -> None:
        for out in outs:
            waiter = out.waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        if self._state is not None:
            self._state.note([state_dir.drop(out.id) for out in outs])
        if self._room:
            self._make_room()

    def _refused(self, out: Outgoing, error: Refused) -> None:
        if out.waiter is None:
            _log.warning("%s was refused: %s", out.id, error)
        elif not out.waiter.done():
            out.waiter.set_exception(error)
        if self._state is not None and out.stored:
            statements = [state_dir.drop(out.id)]
            if out.answers is not None:
                statements.append(state_dir.unfinish(out.answers.key))
            self._state.note(statements)
        self._make_room()

    def _progressed(self, expected: Expected, payload: Any) -> None:
        if expected.on_progress is not None:
            try:
                expected.on_progress(payload)
            except Exception:
                _log.exception("on_progress")


def _resolve(future: asyncio.Future[Any] | None, value: Any) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _retrieved(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
