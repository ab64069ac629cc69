"""A connection of the driver's that has no socket: the API's side of a session with the hub.

The hub sees an agent like any other. What that one says and hears is in JSON frames, as on a wire,
so that nothing passes here that would not pass there. It knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, Final

import msgspec

from trishula_broker.api.failures import Failure, ended, late, refused
from trishula_broker.api.news import Memo, News
from trishula_broker.api.waits import let_go, resolve
from trishula_broker.auth.identity import Identity
from trishula_broker.net.driver import Driver
from trishula_broker.net.ports import Core
from trishula_protocol import bodies
from trishula_protocol.address import HUB
from trishula_protocol.client_session import (
    Accepted,
    Answer,
    ClientSession,
    Closed,
    Mail,
    Opened,
    Refused,
    Settled,
)
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError

ANSWER_S: Final = 20.0
"""What the hub has for an answer; less than a request may take."""
NEWS: Final = 1_000
"""Envelopes that wait for who listens; at that the hub is told that nothing more is taken."""
NEWS_BYTES: Final = 1 << 20
"""Or bytes of them: each may have a megabyte."""
PREFETCH: Final = 32
"""Messages a receiving link holds that nobody has polled: each may have a megabyte."""
HEARTBEAT_MS: Final = 60_000
"""The longest there is: :class:`.links.Links` says that each is alive."""

_encode: Final = msgspec.json.Encoder().encode


class Link:
    """One session.

    Args:
        driver: where it is connected.
        namespace: whose hub.
        agent: as whom.
        identity: what was proven of the caller; None on a hub without keys.
        peer: where the caller is.
        receive: whether it takes the agent's mail.
        lease_ms: what ``read`` lasts.
        memo: shared with others that may be told the same; None for one of its own.
    """

    link: int
    core: Core

    def __init__(
        self,
        driver: Driver,
        namespace: str,
        agent: str,
        identity: Identity | None,
        peer: str,
        *,
        receive: bool = False,
        lease_ms: int = 60_000,
        memo: Memo | None = None,
    ) -> None:
        self._memo = memo or Memo()
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        self.agent = agent
        self.receive = receive
        self.lease_ms = lease_ms
        self.users = 0
        """Requests that use it now."""
        self.closed = False
        self._asked = 0
        self._code, self._reason = 1001, "nobody used it for a while"
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._opened.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        """By the id of what was said."""
        self._settling: dict[int, asyncio.Future[bool]] = {}
        """By seq; whether it was settled, not stale."""
        self._free = asyncio.Event()
        self._free.set()
        self._something = asyncio.Event()
        self._mail: deque[Envelope] = deque()
        self._news: deque[News] = deque()
        self._news_bytes = 0
        self._full = False
        register = bodies.Register(
            agent,
            prefetch=PREFETCH,
            lease_ms=lease_ms,
            heartbeat_ms=HEARTBEAT_MS,
            receive=receive,
            ephemeral=identity is None and not receive,
        )
        self._session = ClientSession(register, "register", JSON, 0)
        driver.connect(namespace, self, JSON, peer, identity)
        self._write()

    def __repr__(self) -> str:
        kind = "receiving" if self.receive else "side"
        return f"<Link {self.link} {self.agent} {kind} {self._session.state.value}>"

    # --- what requests want ---

    async def ready(self) -> None:
        """Wait until it is registered.

        Raises:
            Failure: it was refused.
        """
        await self._in_time(asyncio.shield(self._opened))

    async def ask(self, **payload: Any) -> Any:
        """The hub's answer to an operation.

        Raises:
            Failure: it was refused.
        """
        id_ = self._id()
        return await self._say(id_, {"type": "COMMAND", "to": HUB, "id": id_, "payload": payload})

    def _id(self) -> str:
        """For a question: no message that waits for its answer has it."""
        while True:
            self._asked += 1
            id_ = f"http-{self._asked}"
            if id_ not in self._waiting:
                return id_

    async def post(self, envelope: dict[str, Any]) -> None:
        """Have a message accepted: it is stored when this returns.

        Raises:
            Failure: it was refused.
        """
        id_ = envelope["id"]
        while id_ in self._waiting:  # answers name an id only
            await asyncio.wait([self._waiting[id_]])
        await self._say(id_, envelope)

    async def mail(self, limit: int, wait_s: float) -> list[Envelope]:
        """The next messages, at most ``limit``, as read; none when none came in time.

        Raises:
            Failure: the session has ended.
        """
        try:
            async with asyncio.timeout(wait_s):
                while not self._mail:
                    await self._next()
        except TimeoutError:
            pass
        found = [self._mail.popleft() for _ in range(min(limit, len(self._mail)))]
        if found:
            self.acknowledge("read", [each.seq for each in found if each.seq is not None])
        return found

    def acknowledge(self, stage: str, seqs: list[int], **more: Any) -> None:
        """Say what became of mail."""
        self._put({"type": "ACK", "to": HUB, "payload": {"stage": stage, "seqs": seqs, **more}})

    async def settle(self, stage: str, seqs: list[int], **more: Any) -> tuple[list[int], list[int]]:
        """Settle mail: those that are settled for good now, and those that were not ours.

        Raises:
            Failure: it is not known what became of them.
        """
        while busy := [self._settling[seq] for seq in seqs if seq in self._settling]:
            await asyncio.wait(busy)
        made = {seq: self._loop.create_future() for seq in seqs}
        self._settling |= made
        try:
            await self._in_time(self._settled(made, stage, **more))
        finally:
            for seq, done in made.items():
                self._settling.pop(seq, None)
                let_go(done)
        settled = [seq for seq, done in made.items() if done.result()]
        self._mail = deque(each for each in self._mail if each.seq not in settled)
        return settled, [seq for seq, done in made.items() if not done.result()]

    async def _settled(
        self, made: dict[int, asyncio.Future[bool]], stage: str, **more: Any
    ) -> None:
        await self._free.wait()
        self.acknowledge(stage, list(made), **more)
        await asyncio.gather(*made.values())

    async def news(self) -> News:
        """The next thing the hub tells unasked.

        Raises:
            Failure: the session has ended.
        """
        while not self._news:
            await self._next()
        return self._take_news()

    def all_news(self) -> list[News]:
        """What it has told by now, besides."""
        return [self._take_news() for _ in range(len(self._news))]

    def _take_news(self) -> News:
        found = self._news.popleft()
        self._news_bytes -= found.size
        if self._full and not self._has_news(2):
            self._full = False
            self._driver.writable(self, True)
        return found

    def _has_news(self, share: int) -> bool:
        """Whether a ``share`` of what may wait does."""
        return len(self._news) * share >= NEWS or self._news_bytes * share >= NEWS_BYTES

    async def _next(self) -> None:
        if self.closed:
            raise self._failure()
        self._something.clear()
        await self._something.wait()

    def alive(self) -> None:
        """Its caller is there."""
        if not self.closed:
            self._driver.alive(self)

    async def _say(self, id_: str, envelope: dict[str, Any]) -> Any:
        answer = self._waiting[id_] = self._loop.create_future()
        try:
            return await self._in_time(self._said(envelope, answer))
        finally:
            self._waiting.pop(id_, None)
            let_go(answer)

    async def _said(self, envelope: dict[str, Any], answer: asyncio.Future[Any]) -> Any:
        await self._free.wait()
        self._put(envelope)
        return await answer

    async def _in_time(self, answer: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise late() from None

    # --- to the hub ---

    def _put(self, envelope: dict[str, Any]) -> None:
        if self.closed:
            raise self._failure()
        try:
            self._session.send(_encode(envelope))
        except ProtocolError as error:
            raise refused(bodies.ErrorBody(error.code, error.message)) from None
        self._write()

    def _write(self) -> None:
        for frame in self._session.frames():
            try:
                items = JSON.decode(frame)
                for item in items:
                    if isinstance(item, ProtocolError):
                        raise item
            except ProtocolError as error:  # in what a request said; the session is well
                raise refused(bodies.ErrorBody(error.code, error.message)) from None
            self._driver.receive(self, items, len(frame))

    # --- from the hub: net.ports.Connection ---

    def registered(self) -> None:
        """Nobody counts it as a stranger."""

    def send(self, frame: bytes, binary: bool) -> None:
        """What the hub says."""
        memo = self._memo
        if frame == memo.frame:
            self._hear_news(memo.news)
            return
        items = JSON.decode(frame, from_hub=True)
        events = self._session.receive(items, 0)
        if len(events) == 1 and isinstance(events[0], Mail):
            size = len(frame) // len(items)
            found = [News(each, size) for each in events[0].envelopes if each.seq is None]
            if len(found) == len(items):
                memo.frame, memo.news = frame, found
                self._hear_news(found)
                return
        for event in events:
            if isinstance(event, Accepted):
                for id_ in event.ids:
                    resolve(self._waiting.get(id_), None)
            elif isinstance(event, Answer):
                resolve(self._waiting.get(event.reply_to), event.payload)
            elif isinstance(event, Settled):
                for seq in event.seqs:
                    resolve(self._settling.get(seq), True)
            elif isinstance(event, Mail):
                self._heard(event.envelopes, len(frame) // len(items))
            elif isinstance(event, Refused):
                self._refused(event)
            elif isinstance(event, Opened):
                resolve(self._opened, None)
            elif isinstance(event, Closed):
                if event.error is not None and not self._opened.done():
                    self._opened.set_exception(refused(event.error))
                self.end()

    def _heard(self, envelopes: list[Envelope], size: int) -> None:
        self._mail += [each for each in envelopes if each.seq is not None]
        self._hear_news([News(each, size) for each in envelopes if each.seq is None])

    def _hear_news(self, news: list[News]) -> None:
        self._news += news
        self._news_bytes += sum([each.size for each in news])
        if self._has_news(1) and not self._full:
            self._full = True
            # Not from within the driver's turn, which has sent this.
            self._loop.call_soon(self._driver.writable, self, False)
        self._something.set()

    def _refused(self, event: Refused) -> None:
        error = event.error
        if event.reply_to is not None:
            waits = self._waiting.get(event.reply_to)
            if waits is not None and not waits.done():
                waits.set_exception(refused(error))
        elif error.code == ErrorCode.STALE_ACK and error.details is not None:
            gone = error.details.get("seqs", ())
            for seq in gone:
                resolve(self._settling.get(seq), False)
            # What nobody has polled may have been recalled.
            self._mail = deque(each for each in self._mail if each.seq not in gone)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self, code: int, reason: str) -> None:
        """The hub ends the session."""
        if not self.closed:
            self._code, self._reason = code, reason
            self._fail()
            self._loop.call_soon(self._driver.disconnect, self, f"closed: {code} {reason}")

    def abort(self) -> None:
        """Cut it."""
        self.close(1001, "cut off")

    def pause(self) -> None:
        """The hub takes nothing more for now."""
        self._free.clear()

    def resume(self) -> None:
        """It takes more."""
        self._free.set()

    # --- the end ---

    def end(self) -> None:
        """Nobody uses it any more."""
        if not self.closed:
            self._fail()
            self._loop.call_soon(self._driver.disconnect, self, "closed by the HTTP API")

    def expired(self) -> None:
        """Nobody has used it for a while."""
        self.end()

    def _fail(self) -> None:
        self.closed = True
        self._free.set()
        self._something.set()
        for each in (self._opened, *self._waiting.values(), *self._settling.values()):
            if not each.done():
                each.set_exception(self._failure())

    def _failure(self) -> Failure:
        return ended(self._code, self._reason)
