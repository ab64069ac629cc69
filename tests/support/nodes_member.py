"""One agent of the campaigns over several hubs: it sends, handles and logs, in this process."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from tests.support import history
from tests.support.history import Accepted, Ended, Handed, Log, MessageKey, Sent, Stale, digest
from trishula import Agent, Message, Receipt, Refused, State
from trishula.outbox import Outgoing
from trishula_protocol.bodies import ErrorBody
from trishula_protocol.errors import ErrorCode

CAPABILITY: Final = "work"
GROUP: Final = "ops"
IN_FLIGHT: Final = 100
"""Messages of one agent that wait for acceptance at once."""

_answering: ContextVar[Message] = ContextVar("answering")


class Acceptance(NamedTuple):
    """When a message was given to the SDK, when its acceptance was heard, and from which hub."""

    sent: float
    at: float
    url: str | None


class Audience(Protocol):
    """Whom members tell what happens; what they wait for."""

    def progressed(self) -> None:
        """Something has happened."""

    def expect(self, count: int) -> None:
        """So many more hand-overs must come."""

    def handed(self, key: MessageKey, by: str | None) -> None:
        """A message was handed to the agent ``by``; None: to one of those who may have it."""

    def accepted(self, acceptance: Acceptance) -> None:
        """A message was accepted."""

    async def may_send(self) -> None:
        """Return when the next message is due."""


class Member:
    """One agent and what its application saw.

    Args:
        names: all agents; all but the first offer ``@work``.
        urls: its hubs in order.
    """

    def __init__(
        self, name: str, names: tuple[str, ...], urls: list[str], seed: int, audience: Audience
    ) -> None:
        self.name = name
        self.urls = urls
        self.log = Log(name)
        self.active_at = 0.0
        """When it registered last."""
        self.receipts: list[Receipt] = []
        """Of the messages whose fate it wanted to hear."""
        self._others = tuple(each for each in names if each != name)
        self._takers = tuple(each for each in names[1:] if each != name)
        self._audience = audience
        self._rng = Random(f"{seed} {name}")
        self._seqs: dict[int, MessageKey] = {}
        self._sent_at: dict[str, float] = {}
        self._answer_ids: dict[tuple[str, str], str] = {}
        self.agent = Agent(
            name,
            urls,
            groups=[GROUP],
            capabilities=[CAPABILITY] if name != names[0] else [],
            lease=5,
            connect_timeout=None,
        )
        self.agent.on_message(self._handle)
        self.agent.on_state(self._note)
        self._tap()
        self.log(history.Started, fresh=True)

    def __repr__(self) -> str:
        return f"<Member {self.name} {self.agent.state} at {self.agent.url}>"

    def _tap(self) -> None:
        """Log answers before they leave, and what the SDK keeps to itself: that the hub could not
        promise anything, and that a settlement came too late."""
        engine = self.agent._engine
        make_id = engine.sending.make_id
        inbox, outbox = engine.core.inbox, engine.core.outbox
        stale, refuse = inbox.stale, outbox.refuse

        def noted_refusal(id: str, error: ErrorBody, now: int) -> Outgoing | None:
            if error.code == ErrorCode.UNAVAILABLE:
                self.log(history.Refused, id=id, code=error.code, retryable=True)
            return refuse(id, error, now)

        def logged_id() -> str:
            message = _answering.get(None)
            return make_id() if message is None else self._answer_id(message)

        def noted(seqs: Any) -> Any:
            found = list(seqs)
            for seq in found:
                if seq in self._seqs:
                    key = self._seqs[seq]
                    self.log(Stale, sender=key.sender, id=key.id)
            return stale(found)

        engine.sending.make_id = logged_id  # type: ignore[method-assign]
        inbox.stale = noted  # type: ignore[method-assign]
        outbox.refuse = noted_refusal  # type: ignore[method-assign]

    def _note(self, state: State) -> None:
        if state is State.ACTIVE:
            self.active_at = time.monotonic()
        self._audience.progressed()

    # --- sending ---

    async def send_all(self, count: int) -> None:
        """Send ``count`` messages, each when it is due."""
        room = asyncio.Semaphore(IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            for number in range(1, count + 1):
                await self._audience.may_send()
                await room.acquire()
                group.create_task(self._send(number, room))

    async def _send(self, number: int, room: asyncio.Semaphore) -> None:
        fate = self._rng.random()
        kind, to = "STATUS", self._rng.choice(self._others)
        expects: tuple[str, ...] = (to,)
        if fate < 0.02:
            to, expects = f"#{GROUP}", self._others
        elif fate < 0.10:
            to, expects = f"@{CAPABILITY}", self._takers
        elif fate < 0.30:
            kind = "COMMAND"
        self._audience.expect((1 if to[0] == "@" else len(expects)) + (kind == "COMMAND"))
        id, payload = f"{self.name}.{number}", {"n": number, "text": "x" * 50}
        priority = self._rng.choice((1, 3, 3, 3))
        self._sent(id, kind, to, priority, None, payload, expects)
        wanted = to[0] not in "#@" and self._rng.random() < 0.1
        try:
            receipt = await self.agent.send(
                to, payload, type=kind, priority=priority, id=id, receipt=wanted
            )
            self._accepted(id)
            if wanted:
                self.receipts.append(receipt)
        finally:
            room.release()

    def _accepted(self, id: str) -> None:
        sent = self._sent_at.pop(id)
        self._audience.accepted(Acceptance(sent, time.monotonic(), self.agent.url))
        self.log(Accepted, id=id)

    def _sent(
        self,
        id: str,
        kind: str,
        to: str,
        priority: int,
        reply_to: str | None,
        payload: Any,
        expects: tuple[str, ...],
    ) -> None:
        self._sent_at[id] = time.monotonic()
        self.log(
            Sent,
            id=id,
            to=to,
            priority=priority,
            n=self.log.number(to, priority),
            expects=expects,
            digest=digest(kind, to, priority, reply_to, payload),
            reply_to=reply_to,
            settles=reply_to is not None,
        )

    # --- handling ---

    async def _handle(self, message: Message) -> None:
        key = MessageKey(message.sender, message.id)
        assert message.seq is not None
        self._seqs[message.seq] = key
        self.log(
            Handed,
            sender=key.sender,
            id=key.id,
            seq=message.seq,
            attempt=message.attempt,
            priority=message.priority,
            digest=digest(
                message.type, message.to or "", message.priority, message.reply_to, message.payload
            ),
        )
        # What was for a capability may move to another when a hub is away for longer than a lease.
        self._audience.handed(key, None if (message.to or "").startswith("@") else self.name)
        if message.type == "COMMAND":
            await self._answer(message)
        else:
            await message.done()
        self.log(Ended, sender=key.sender, id=key.id, how="done")

    async def _answer(self, message: Message) -> None:
        _answering.set(message)
        try:
            receipt = await message.reply({"of": message.payload["n"]})
        except Refused as error:
            # It was cut off for longer than its lease: somebody else has the command by now.
            self.log(history.Refused, id=self._answer_ids[message.key], code=error.code)
            self.log(Stale, sender=message.sender, id=message.id)
            await message.done()
        else:
            self._accepted(receipt.id)

    def _answer_id(self, message: Message) -> str:
        id = f"{self.name}.r{len(self._answer_ids) + 1}"
        self._answer_ids[message.key] = id
        to, payload = message.sender, {"of": message.payload["n"]}
        self._sent(id, "RESULT", to, message.priority, message.id, payload, (to,))
        return id
