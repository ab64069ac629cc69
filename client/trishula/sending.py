"""Sending and asking: from a call to the outbox, and back from the hub's word to the caller.

Every coroutine may be cancelled at any await: what was queued stays queued, what was not is not.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from trishula import state_dir
from trishula.compose import check_id, compose, compose_plain
from trishula.core import AgentCore
from trishula.errors import AgentClosed, Refused
from trishula.outbox import Outgoing
from trishula.receipt import Receipt
from trishula.tracing import find_tracing
from trishula_protocol import limits
from trishula_protocol.address import HUB
from trishula_protocol.bodies import Op
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode
from trishula_protocol.ids import IdMaker

_log = logging.getLogger("trishula")

Waiter = asyncio.Future[None]
ProgressCallback = Callable[[Any], object]


class Expected(msgspec.Struct, gc=False):
    """A command somebody waits for."""

    future: asyncio.Future[Envelope]
    on_progress: ProgressCallback | None


class Sending:
    """What an agent sends and asks.

    Attributes:
        failure: why nothing can be sent; None while it can.
        state: where messages are written down before they go out, if anywhere.
        by_file: whether an agent is to be written to in the shared folder although a hub answers;
            None without a folder. ``write_file`` does it.
        make_waiter: makes a future, of the engine's loop once that is known: to ask for the one
            that runs is a call of the system each time.
        receipts: of the messages whose sender wants to hear what becomes of them.
        tracing: puts the current span into what is sent; None without OpenTelemetry.
    """

    def __init__(self, core: AgentCore) -> None:
        self.core = core
        self.touch: Callable[[], None] = _nothing
        self.failure: Exception | None = AgentClosed(core.register.agent, "was not entered yet")
        self.state: state_dir.StateDir | None = None
        self.by_file: Callable[[str], bool] | None = None
        self.write_file: Callable[[Outgoing], None] = _nowhere
        self.make_waiter: Callable[[], asyncio.Future[Any]] = _make_waiter
        self.receipts: WeakValueDictionary[str, Receipt] = WeakValueDictionary()
        self.tracing = find_tracing()
        self._ids = IdMaker(secrets.randbits(62))
        self._room: deque[Waiter] = deque()

    def make_id(self) -> str:
        """A new id, later than every one before."""
        return self._ids(time_ns() // 1_000_000)

    def fail(self, failure: Exception) -> None:
        """Nothing more will be accepted or answered: tell whoever waits."""
        self.failure = failure
        waiters: list[Any] = [out.waiter for out in self.core.outbox]
        waiters += [expected.future for expected in self.core.commands.expected.values()]
        for waiter in [*waiters, *self._room]:
            if waiter is not None and not waiter.done():
                waiter.set_exception(failure)
                waiter.exception()  # whoever was cancelled meanwhile will not ask for it
        for receipt in self.receipts.values():
            receipt.fail(failure)

    async def send(
        self,
        type: str,
        to: str,
        payload: Any,
        id: str | None = None,
        receipt: bool = False,
        priority: int = limits.PRIORITY_DEFAULT,
        ttl: float | None = None,
        reply_to: str | None = None,
        thread: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Receipt:
        """Send, and wait until it is accepted."""
        now = time_ns() // 1_000_000
        id = self._ids(now) if id is None else check_id(id)
        if self.tracing is not None:
            headers = self.tracing.sent(headers)
        if (
            reply_to is None
            and thread is None
            and ttl is None
            and headers is None
            and not receipt
            and priority == limits.PRIORITY_DEFAULT
        ):
            encoded = compose_plain(id, now, type, to, payload)
        else:
            encoded = compose(
                id, now, type, to, payload, priority, ttl, reply_to, thread, headers, receipt
            )
        core = self.core
        if len(encoded) > core.frame_bytes:
            self.check_size(encoded)
        if self.failure is not None or self._room or core.outbox.full:  # as in `crowded`
            await self.wait_for_room()
        found = Receipt(id, receipt)
        if receipt:
            self.receipts[id] = found
        waiter = self.make_waiter()
        if self.state is None and self.by_file is None:
            core.outbox.add(Outgoing(id, encoded, waiter))
            self.touch()
        else:
            self._send_by_disk(to, Outgoing(id, encoded, waiter))
        await waiter
        return found

    def _send_by_disk(self, to: str, out: Outgoing) -> None:
        """It is to be written down, or goes by the shared folder perhaps."""
        out.by_file = self.by_file is not None and self.by_file(to)
        out.held = out.by_file or self.state is not None
        if self.state is None:
            self.core.send(out)
            if out.by_file:
                self.write_file(out)
            self.touch()
        else:
            self.store(out, [])

    def store(self, out: Outgoing, more: list[state_dir.Statement]) -> None:
        """Write a message down before it goes out."""
        assert self.state is not None
        if out.answers is None:
            self.core.send(out)

        def stored() -> None:
            if out.by_file:
                self.write_file(out)
            else:
                self.core.outbox.release([out])
            self.touch()

        def written(outcome: asyncio.Future[None]) -> None:
            error = outcome.exception()
            if error is not None:
                self.core.withdraw(out)
                if not out.waiter.done():
                    out.waiter.set_exception(error)
                self.make_room()

        outcome = self.state.submit([state_dir.keep(out.id, out.encoded), *more], stored)
        outcome.add_done_callback(written)

    def check_size(self, encoded: bytes) -> None:
        """Raise :class:`Refused` for what no frame of the hub can hold."""
        limit = self.core.frame_bytes
        if len(encoded) > limit:
            text = f"payload: the envelope has {len(encoded)} bytes, the hub takes {limit}"
            raise Refused(ErrorCode.TOO_LARGE, text)

    @property
    def crowded(self) -> bool:
        """Whether :meth:`wait_for_room` comes before the next message."""
        return self.failure is not None or bool(self._room) or self.core.outbox.full

    async def wait_for_room(self) -> None:
        """Wait for a place in the outbox, in turn; raises :attr:`failure`."""
        self.check()
        first = True
        while self.core.outbox.full or (first and self._room):
            waiter = self.make_waiter()
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
                self.make_room()
                raise
            self.check()

    def make_room(self) -> None:
        """Something left the outbox."""
        free = self.core.outbox.room
        while self._room and free > 0:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    def check(self) -> None:
        """Raise :attr:`failure`."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # it may be raised many times

    async def ask(self, op: Op) -> Any:
        """Ask the hub; wait for its answer."""
        self.check()
        out = self._question(op)
        waiter = out.waiter = self.make_waiter()
        try:
            return await waiter
        finally:
            if not waiter.done() or waiter.cancelled():
                self.core.withdraw(out)
                self.make_room()

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
        id: str | None = None,
        **fields: Any,
    ) -> Envelope:
        """Send a COMMAND; wait for the RESULT or ERROR that answers it."""
        self.check()
        id = self.make_id() if id is None else check_id(id)
        future: asyncio.Future[Envelope] = self.make_waiter()
        self.core.commands.expect(id, Expected(future, on_progress))
        try:
            if timeout is None:
                await self.send("COMMAND", to, payload, id, **fields)
                return await future
            async with asyncio.timeout(timeout) as limit:
                await self.send("COMMAND", to, payload, id, **fields)
                return await future
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"no answer to command {id} within {timeout} s") from error
        finally:
            self.core.commands.abandon(id)

    # --- what the hub said ---

    def accepted(self, outs: list[Outgoing]) -> None:
        """The hub has these."""
        for out in outs:
            waiter = out.waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        if self.state is not None:
            self.state.note([state_dir.drop(out.id) for out in outs])
        if self._room:
            self.make_room()

    def refused(self, out: Outgoing, error: Refused) -> None:
        """The hub does not want it."""
        if out.waiter is None:
            _log.warning("%s: %s was refused: %s", self.core.register.agent, out.id, error)
        elif not out.waiter.done():
            out.waiter.set_exception(error)
        if self.state is not None and out.stored:
            statements = [state_dir.drop(out.id)]
            if out.answers is not None:
                statements.append(state_dir.unfinish(out.answers.key))
            self.state.note(statements)
        self.make_room()


def _make_waiter() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _nothing() -> None:
    """There is no connection to write to."""


def _nowhere(out: Outgoing) -> None:
    """There is no shared folder to write to."""
