"""Hints from other nodes: one subscription a namespace, and a number that tells what is missing."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from trishula_broker.store import base
from trishula_broker.store.redis.failures import unavailable
from trishula_broker.store.redis.link import Link
from trishula_broker.store.redis.messages import copy
from trishula_broker.store.redis.page import Page, parts
from trishula_broker.store.redis.places import Place

HINT_BYTES: Final = 8 << 10
"""The biggest body that goes along with a hint; what is bigger is looked up."""
QUIET_SECONDS: Final = 1.0
"""Without a hint for so long, the number of the last one is asked for."""
CATCH_UP_SECONDS: Final = 0.25
"""How long a commit waits for hints that were sent before it. They are on their way."""
RETRY_SECONDS: Final = 0.1
"""Between attempts to subscribe again."""

_NUMBER: Final = struct.Struct(">Q")
_LENGTH: Final = struct.Struct(">I")
_KINDS: Final[dict[str, type[base.Hint]]] = {
    kind.__name__: kind
    for kind in (
        base.Mail,
        base.Withdrawn,
        base.Ended,
        base.Receipt,
        base.Presence,
        base.Revoked,
        base.Tapping,
        base.Tapped,
        base.Missed,
    )
}
_told: Final = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw]).decode


def encode_hint(hint: base.Hint) -> bytes:
    """What :class:`base.Tell` says, for the way."""
    return msgspec.msgpack.encode((type(hint).__name__, hint))


Pages = list[tuple[int, Page]]
"""Of runs, each with the seq of its first message."""


def decode_hints(
    message: bytes, before: Sequence[bytes] = ()
) -> tuple[int, list[base.Hint], Pages]:
    """The number of a message, its hints, and the pages of their runs; lua/hints.lua makes it.

    Args:
        before: heads and bodies of these runs, which came before it.
    """
    told = deque(before)
    pages: Pages = []
    (number,) = _NUMBER.unpack_from(message)
    words = _words(memoryview(message)[_NUMBER.size :])
    hints: list[base.Hint] = []
    for word in words:
        match bytes(word):
            case b"mail":
                agent, seq, kind, deliveries = (_text(next(words)) for _ in range(4))
                shown = copy(int(seq), int(kind), 0, int(deliveries), bytes(next(words)))
                hints.append(base.Mail(agent, shown))
            case b"mails":
                agent, first, count = (_text(next(words)) for _ in range(3))
                seqs = range(int(first), int(first) + int(count))
                hints += [base.Mail(agent, copy(n, 0, 0, 0, bytes(next(words)))) for n in seqs]
            case b"run":
                mailbox, sender, first, at, priority = (_text(next(words)) for _ in range(5))
                ends = next(words)
                if len(told) < 2:
                    hints.append(base.Missed())
                    break
                page = Page(told.popleft(), told.popleft())
                pages.append((int(first), page))
                who = sender, mailbox, int(priority), int(at)
                hints += _mail_of(page, ends, int(first), *who)
            case b"look":
                hints.append(base.Mail(_text(next(words)), None))
            case b"withdrawn":
                hints.append(base.Withdrawn(_text(next(words)), int(_text(next(words)))))
            case b"ended":
                hints.append(base.Ended(_text(next(words)), int(_text(next(words)))))
            case b"tell":
                name, raw = _told(next(words))
                if name in _KINDS:  # else a newer node's: whatever it was, it may be lost
                    hints.append(msgspec.msgpack.decode(raw, type=_KINDS[name]))
            case _:  # a newer node says more: whatever it was, looking finds it
                hints.append(base.Missed())
                break
    return number, hints, pages


def _mail_of(
    page: Page, ends: memoryview, first: int, sender: str, to: str, priority: int, at: int
) -> list[base.Mail]:
    return [
        base.Mail(
            to,
            base.Copy(
                base.Message(seq, id_, sender, type_, to, priority, None, receipt, at, None, body),
                0,
                0,
                None,
            ),
        )
        for seq, (id_, type_, receipt, body) in enumerate(parts(page, ends), first)
    ]


def _words(left: memoryview) -> Iterator[memoryview]:
    while left:
        (size,) = _LENGTH.unpack_from(left)
        yield left[_LENGTH.size : _LENGTH.size + size]
        left = left[_LENGTH.size + size :]


def _text(word: memoryview) -> str:
    return str(word, "utf-8")


class Listener:
    """Hears the hints to one node in one namespace.

    All up to number ``heard`` have been told, or :class:`base.Missed` has instead.
    """

    def __init__(
        self,
        place: Place,
        key: str,
        node: str,
        link: Link,
        tell: Callable[[Sequence[base.Hint]], None],
        timeout: float,
        came: Callable[[Pages | None], None] = lambda pages: None,
    ) -> None:
        self._place = place
        self._key = key
        self._node = node
        self._link = link
        self._tell = tell
        self._timeout = timeout
        self._came = came
        self._runs = f"{key}runs:{node}".encode()
        self._before: list[bytes] = []
        """Heads and bodies of runs that the next message is about."""
        self._connection: AbstractConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiter: tuple[int, asyncio.Future[None]] | None = None
        self.heard = 0

    def __repr__(self) -> str:
        state = "deaf" if self._connection is None else "listening"
        return f"<Listener {self._key}{self._node} {state}, heard {self.heard}>"

    @property
    def started(self) -> bool:
        """Whether it hears, or will again when the connection is back."""
        return self._task is not None

    async def start(self) -> None:
        """Begin to hear. Nothing was missed by a node that was not there.

        Raises:
            StoreUnavailable: it cannot, yet.
        """
        if self._task is not None:
            return
        try:
            connection = await self._subscribe()
        except (RedisError, OSError) as error:
            raise unavailable(error, self._link.where) from error
        try:
            self.heard = await self._last()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        self._task = asyncio.create_task(self._run(), name=f"hints of {self._key}{self._node}")

    async def stop(self) -> None:
        """Hear no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect()

    async def drop(self) -> None:
        """Give the connection up; the task subscribes again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def catch_up(self, number: int) -> None:
        """Return when all up to ``number`` has been told, or was missed."""
        if self.heard >= number:
            return
        if self._connection is not None:
            heard = asyncio.get_running_loop().create_future()
            self._waiter = (number, heard)
            try:
                await asyncio.wait({heard}, timeout=CATCH_UP_SECONDS)
            finally:
                self._waiter = None
        if self.heard < number:
            self._miss(number)
            await self.drop()

    async def _run(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError, base.StoreError):
                pass
            except Exception as bug:  # of whoever is told; those to come must be told all the same
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"hints to {self._node} were not taken", "exception": bug}
                )
            await self.drop()
            await asyncio.sleep(RETRY_SECONDS)

    async def _hear(self) -> None:
        """Hear until the connection fails."""
        if self._connection is None:
            self._connection = await self._subscribe()
            # What was said meanwhile is gone, and a failover may have lost the number itself.
            self._miss(await self._last())
        while self._connection is not None:
            message = await self._connection.read_response(timeout=QUIET_SECONDS)
            if message is None:
                heard = self.heard
                last = await self._last()
                if self.heard == heard != last:
                    self._miss(last)
                    return
            elif message[0] in (b"message", b"smessage"):
                if message[1] == self._runs:
                    self._before.append(message[2])
                else:
                    before, self._before = self._before, []
                    self._take(*decode_hints(message[2], before))
            else:
                return  # unsubscribed: the slot has moved

    def _take(self, number: int, hints: list[base.Hint], pages: Pages) -> None:
        if number <= self.heard:
            return  # it was given up, and looked for
        if number > self.heard + 1:
            hints.insert(0, base.Missed())
            self._came(None)
        self.heard = number
        self._came(pages)
        self._tell(hints)
        if self._waiter is not None and self._waiter[0] <= number and not self._waiter[1].done():
            self._waiter[1].set_result(None)

    def _miss(self, number: int) -> None:
        self.heard = number
        self._came(None)
        self._tell((base.Missed(),))

    async def _last(self) -> int:
        (number,) = await self._link.call(("HGET", f"{self._key}told", self._node))
        return int(number or 0)

    async def _subscribe(self) -> AbstractConnection:
        self._before = []
        async with asyncio.timeout(self._timeout):
            connection = await self._place.connection(self._key)
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
                command = "SSUBSCRIBE" if self._place.sharded else "SUBSCRIBE"
                channels = f"{self._key}hints:{self._node}", f"{self._key}runs:{self._node}"
                await connection.send_command(command, *channels)
                for _ in channels:
                    await connection.read_response()
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            return connection
