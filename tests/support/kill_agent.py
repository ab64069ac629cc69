"""An agent in a process of its own that sends, handles and logs, to be killed at any moment.

``python -m tests.support.kill_agent SETTINGS`` (JSON of :class:`Settings`). It says ``ready``
on its standard output, begins to send when it reads ``go``, tells of its progress in lines of
JSON, and leaves in good order when it reads ``stop``.

Its log is also its memory: started again it goes on with what it had not sent.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from tests.support import history
from tests.support.history import (
    Accepted,
    Ended,
    Handed,
    Log,
    MessageKey,
    Sent,
    Stale,
    Started,
    digest,
    read_log,
)
from trishula import Agent, Message, Refused
from trishula.inbox import Delivery
from trishula_protocol.envelope import Envelope

CAPABILITY: Final = "work"
GROUP: Final = "ops"
IN_FLIGHT: Final = 300
"""Messages that wait for acceptance at once."""
AHEAD: Final = 150
"""Messages sent beyond what the agent has itself been handed, about."""


class Settings(msgspec.Struct, frozen=True):
    """What the process is told. ``names`` are all agents; all but the first offer ``@work``."""

    name: str
    names: tuple[str, ...]
    url: str
    log: str
    messages: int
    seed: int
    state_dir: str | None = None


class Progress(msgspec.Struct, frozen=True):
    """A line of its standard output."""

    registered_at: float
    """When it registered last, seconds of the system's monotonic clock."""
    accepted: int
    handed: int
    """Different messages so far, over all its lives."""
    again: int
    """Deliveries in this life that the SDK did not hand out, being repetitions."""


class Plan(NamedTuple):
    """What the agent's ``number``-th message is; the same in every life."""

    to: str
    kind: str
    priority: int
    payload: dict[str, Any]
    expects: tuple[str, ...]


def offering(settings: Settings) -> tuple[str, ...]:
    """Who offers the capability."""
    return settings.names[1:]


def plan(settings: Settings, number: int) -> Plan:
    """The ``number``-th message of this agent."""
    rng = Random(f"{settings.seed} {settings.name} {number}")
    others = tuple(name for name in settings.names if name != settings.name)
    fate = rng.random()
    kind = "STATUS"
    if fate < 0.05:
        to, expects = f"#{GROUP}", others
    elif fate < 0.15:
        takers = tuple(name for name in offering(settings) if name != settings.name)
        to, expects = f"@{CAPABILITY}", takers
    else:
        to = rng.choice(others)
        expects = (to,)
        if fate < 0.30:
            kind = "COMMAND"
    payload = {"n": number, "fails": kind == "STATUS" and rng.random() < 0.005, "text": "x" * 50}
    return Plan(to, kind, rng.choice((1, 3, 3, 3)), payload, expects)


def hand_overs(settings: Settings) -> int:
    """How many hand-overs this agent's messages must lead to, answers included."""
    plans = (plan(settings, number) for number in range(1, settings.messages + 1))
    return sum((len(p.expects) if p.to[0] == "#" else 1) + (p.kind == "COMMAND") for p in plans)


_answering: ContextVar[Message] = ContextVar("answering")


class Program:
    """The application."""

    def __init__(self, settings: Settings) -> None:
        path = Path(settings.log)
        before = read_log(path) if path.exists() else []
        self._settings = settings
        self._log = Log(settings.name, path=path)
        self._sent = {event.id for event in before if isinstance(event, Sent)}
        self._accepted = {event.id for event in before if isinstance(event, Accepted)}
        self._handed = {
            MessageKey(event.sender, event.id) for event in before if isinstance(event, Handed)
        }
        self._seqs: dict[int, MessageKey] = {}
        self._answers = sum(id.startswith(f"{settings.name}.r") for id in self._sent)
        self._answer_ids: dict[tuple[str, str], str] = {}
        self._again = 0
        self._dirty = True
        """A report is due; before ``ready`` none is made."""
        self._registered_at = 0.0
        self._more = asyncio.Event()
        self._agent = Agent(
            settings.name,
            settings.url,
            groups=[GROUP],
            capabilities=[CAPABILITY] if settings.name in offering(settings) else [],
            prefetch=64,
            lease=5,
            concurrency=8,
            state_dir=settings.state_dir,
            connect_timeout=None,
        )
        self._agent.on_message(self._handle)
        self._tap()
        self._log(Started, fresh=not before or settings.state_dir is None)

    def _tap(self) -> None:
        """Log the ids of answers before they leave, and see what the SDK keeps to itself."""
        engine = self._agent._engine
        make_id = engine.sending.make_id
        offer = engine.core.inbox.offer

        def logged_id() -> str:
            message = _answering.get(None)
            return make_id() if message is None else self._answer_id(message)

        def counted_offer(envelopes: Iterable[Envelope]) -> list[Delivery]:
            found = list(envelopes)
            fresh = offer(found)
            self._again += len(found) - len(fresh)
            return fresh

        connected = engine.core.inbox.connected

        def noted_connected(now: int) -> None:
            self._registered_at = time.monotonic()
            self._changed()
            connected(now)

        stale = engine.core.inbox.stale

        def noted_stale(seqs: Iterable[int]) -> list[Delivery]:
            found = list(seqs)
            for seq in found:
                if seq in self._seqs:
                    key = self._seqs[seq]
                    self._log(Stale, sender=key.sender, id=key.id)
            return stale(found)

        engine.core.inbox.connected = noted_connected  # type: ignore[method-assign]
        engine.core.inbox.stale = noted_stale  # type: ignore[method-assign]
        engine.sending.make_id = logged_id  # type: ignore[method-assign]
        engine.core.inbox.offer = counted_offer  # type: ignore[method-assign]

    async def run(self) -> None:
        """Until told to stop."""
        commands = read_lines()
        async with self._agent:
            print("ready", flush=True)
            self._report()
            sending: asyncio.Task[None] | None = None
            async for line in commands:
                if line == "stop":
                    break
                sending = asyncio.create_task(self._send_all())
            if sending is not None:
                await sending
        self._log.close()

    # --- sending ---

    async def _send_all(self) -> None:
        room = asyncio.Semaphore(IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            for number in range(1, self._settings.messages + 1):
                id = f"{self._settings.name}.{number}"
                if id not in self._accepted:
                    await self._pace(number)
                    await room.acquire()
                    group.create_task(self._send(id, plan(self._settings, number), room))

    async def _pace(self, number: int) -> None:
        """Keep in step with what comes in, so that there is something in flight at every kill."""
        while len(self._handed) < number * 0.8 - AHEAD:
            self._more.clear()
            await self._more.wait()

    async def _send(self, id: str, what: Plan, room: asyncio.Semaphore) -> None:
        try:
            self._log_sent(id, what.to, what.kind, what.priority, None, what.payload, what.expects)
            await self._agent.send(
                what.to, what.payload, type=what.kind, priority=what.priority, id=id
            )
        except ValueError:
            return  # an earlier life had stored it, and the SDK is sending it again
        else:
            self._log(Accepted, id=id)
            self._accepted.add(id)
            self._changed()
        finally:
            room.release()

    def _log_sent(
        self,
        id: str,
        to: str,
        kind: str,
        priority: int,
        reply_to: str | None,
        payload: Any,
        expects: tuple[str, ...],
        settles: bool = False,
    ) -> None:
        self._log(
            Sent,
            id=id,
            to=to,
            priority=priority,
            n=self._log.number(to, priority),
            expects=expects,
            digest=digest(kind, to, priority, reply_to, payload),
            reply_to=reply_to,
            settles=settles,
        )

    # --- handling ---

    async def _handle(self, message: Message) -> None:
        envelope = message.envelope
        key = MessageKey(message.sender, message.id)
        if message.seq is not None:
            self._seqs[message.seq] = key
        self._log(
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
        self._handed.add(key)
        self._more.set()
        self._changed()
        if envelope.type == "COMMAND":
            await self._answer(message)
        elif message.payload.get("fails") and message.attempt == 1:
            self._log(Ended, sender=key.sender, id=key.id, how="failed")
            await message.reject("as planned", requeue=True)
            return
        else:
            await message.done()
        self._log(Ended, sender=key.sender, id=key.id, how="done")

    async def _answer(self, message: Message) -> None:
        _answering.set(message)
        try:
            receipt = await message.reply({"of": message.payload["n"]})
        except Refused as error:
            # It was away for longer than its lease: somebody else has the command by now.
            self._log(history.Refused, id=self._answer_ids[message.key], code=error.code)
            self._log(Stale, sender=message.sender, id=message.id)
            await message.done()
        else:
            self._log(Accepted, id=receipt.id)

    def _answer_id(self, message: Message) -> str:
        self._answers += 1
        id = f"{self._settings.name}.r{self._answers}"
        self._answer_ids[message.key] = id
        payload = {"of": message.payload["n"]}
        self._log_sent(
            id,
            message.sender,
            "RESULT",
            message.priority,
            message.id,
            payload,
            (message.sender,),
            settles=True,
        )
        return id

    # --- telling ---

    def _changed(self) -> None:
        if not self._dirty:
            self._dirty = True
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        self._dirty = False
        line = Progress(self._registered_at, len(self._accepted), len(self._handed), self._again)
        print(msgspec.json.encode(line).decode(), flush=True)


async def read_lines() -> AsyncIterator[str]:
    """The lines of standard input."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        yield line.decode().strip()


if __name__ == "__main__":
    asyncio.run(Program(msgspec.json.decode(sys.argv[1], type=Settings)).run())
