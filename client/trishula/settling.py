"""Settling: what the application says about what it was given."""

from __future__ import annotations

import asyncio
from time import time_ns
from typing import Any, Final

from trishula import state_dir
from trishula.compose import compose
from trishula.inbox import Delivery, Stage
from trishula.outbox import Outgoing
from trishula.receipt import Receipt
from trishula.sending import Sending
from trishula.tracing import Headers, answer_headers
from trishula_protocol import limits
from trishula_protocol.address import HUB

_FINISHED: Final = Stage.FINISHED


class Settling:
    """What an agent says about its mail. With a state directory it is written down first."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._core = sending.core
        self._inbox = sending.core.inbox

    def take(self, delivery: Delivery) -> None:
        """It is handed to the application."""
        self._inbox.take(delivery)
        self._sending.touch()

    async def done(self, delivery: Delivery) -> None:
        """The application has finished with it."""
        sending = self._sending
        if delivery.stage is _FINISHED:
            return
        if sending.state is None or not self._inbox.settleable(delivery):
            self._inbox.done(delivery)
            sending.touch()
        else:
            await self._finish(delivery, None)

    async def reject(self, delivery: Delivery, reason: str, requeue: bool) -> None:
        """The application refuses it."""
        if len(reason) > limits.REASON_LENGTH:
            raise ValueError(
                f"reason: {limits.REASON_LENGTH} characters at most, not {len(reason)}"
            )
        if delivery.stage is Stage.FINISHED:
            return
        if self._sending.state is None or requeue or not self._core.inbox.settleable(delivery):
            self._core.reject(delivery, reason, requeue)
            self._sending.touch()
        else:
            await self._finish(delivery, reason)

    async def _finish(self, delivery: Delivery, reason: str | None) -> None:
        assert self._sending.state is not None

        def stored() -> None:
            if reason is None:
                self._core.done(delivery)
            else:
                self._core.reject(delivery, reason, requeue=False)
            self._sending.touch()

        # Shielded: when the caller is cancelled it is written, and said, all the same.
        outcome = self._sending.state.submit([state_dir.finish(delivery.key, reason)], stored)
        outcome.add_done_callback(_retrieved)
        await asyncio.shield(outcome)

    async def answer(
        self, delivery: Delivery, type: str, payload: Any, receipt: bool = False, **fields: Any
    ) -> Receipt:
        """Answer and settle; wait until that is accepted."""
        out = await self.queue_answer(delivery, type, payload, receipt, **fields)
        found = Receipt(out.id, receipt)
        if receipt:
            self._sending.receipts[out.id] = found
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
        fields["headers"] = self._headers(delivery, fields.get("headers"))
        now = time_ns() // 1_000_000
        id = self._sending.make_id()

        def written() -> bytes:
            settles = delivery.seq if delivery.stage is not Stage.FINISHED else None
            body = compose(
                id, now, type, sender, payload, receipt=receipt, settles=settles, **fields
            )
            self._sending.check_size(body)
            return body

        encoded = written()
        if self._sending.crowded:
            await self._sending.wait_for_room()
            encoded = written()  # the seq may have changed, and others may have settled it
        # A message of the shared folder has no seq; its answer settles it all the same.
        finishes = delivery.stage is not Stage.FINISHED and self._core.inbox.settleable(delivery)
        by_file = self._sending.by_file is not None and self._sending.by_file(sender)
        out = Outgoing(
            id,
            encoded,
            self._sending.make_waiter(),
            patient=patient,
            held=by_file or self._sending.state is not None,
            by_file=by_file,
        )
        if finishes:
            self._core.answer(delivery, out)
        if self._sending.state is not None:
            more = [state_dir.finish(delivery.key, None)] if finishes else []
            self._sending.store(out, more)
        else:
            if not finishes:
                self._core.send(out)
            if out.by_file:
                self._sending.write_file(out)
        self._sending.touch()
        return out

    async def progress(self, delivery: Delivery, payload: Any) -> Receipt:
        """A STATUS about it, to its sender."""
        sender, id = delivery.key
        thread = delivery.envelope.thread or id
        headers = self._headers(delivery, None)
        return await self._sending.send(
            "STATUS", sender, payload, reply_to=id, thread=thread, headers=headers
        )

    def _headers(self, delivery: Delivery, headers: Headers | None) -> Headers | None:
        return answer_headers(self._sending.tracing, delivery.envelope.headers, headers)


def _retrieved(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
