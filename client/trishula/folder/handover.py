"""A hub answers: what still lies in the folder of an agent's letters is handed to it.

Under the same ids, so whatever has arrived by file already is dropped by its recipient. Also says
what recipients have made of letters while there was no hub to tell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from trishula.core import AgentCore
from trishula.errors import Refused, TrishulaError
from trishula.folder.post import Ended, Post, Sent
from trishula.outbox import Outgoing
from trishula.recent import Recent
from trishula.sending import Sending
from trishula_protocol import limits
from trishula_protocol.address import HUB
from trishula_protocol.codec import encode_json
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode
from trishula_protocol.folder_file import NotValid

if TYPE_CHECKING:
    from trishula.agent import Agent

EVERY_SECONDS: Final = 10.0
"""Between two looks without a reason: copying tools bring back what was handed over."""
NEWS_SECONDS: Final = 2.0
"""The same while mail goes by file, and only the folder tells what recipients have done."""
STRANGER_SECONDS: Final = 60.0
"""Before a hub that did not know the recipient of a file is asked to take it again."""
HANDED: Final = 100_000
"""Ids handed over that are remembered, so that copies of them are not sent again."""

T = TypeVar("T")
_log = logging.getLogger("trishula")


class HandOver:
    """One agent's.

    Args:
        thread: where the post does its work.
        trace: asks the hub where the message of an id is.
        pump: has the core's events carried out.
        on_done: hears which message a recipient has finished, and the recipient.
    """

    def __init__(
        self,
        core: AgentCore,
        sending: Sending,
        post: Post,
        thread: Executor,
        *,
        trace: Callable[[str], Awaitable[Any]],
        pump: Callable[[], object],
        on_done: Callable[[str, str], None],
    ) -> None:
        self._core = core
        self._sending = sending
        self._post = post
        self._thread = thread
        self._trace = trace
        self._pump = pump
        self._on_done = on_done
        self._loop = asyncio.get_running_loop()
        self._hint = asyncio.Event()
        self._handed: Recent[str, None] = Recent(HANDED)
        self._strangers: Recent[str, float] = Recent(HANDED)
        self._under_way: dict[str, tuple[Outgoing, list[Sent]]] = {}
        self._task: asyncio.Task[None] | None = None
        self.skip: Callable[[Sent], bool] = lambda sent: False
        """Letters that need no hub."""
        self.eager = False
        """Whether mail goes by file although a hub answers."""

    @classmethod
    def of(cls, agent: Agent, post: Post, thread: Executor) -> HandOver:
        """For letters that another program writes in the name of ``agent``, which is entered."""
        engine = agent._engine
        return cls(
            engine.core,
            engine.sending,
            post,
            thread,
            trace=agent.trace,
            pump=engine.pump,
            on_done=lambda id, by: None,
        )

    def start(self) -> None:
        """Begin."""
        self._task = self._loop.create_task(self._run(), name="trishula-folder-handover")

    async def close(self) -> None:
        """End; what was not handed over stays in the folder."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def hint(self) -> None:
        """A hub answers, or there may be letters."""
        self._hint.set()

    async def _run(self) -> None:
        while True:
            try:
                by_hub = self._core.active and not self.eager
                seconds = EVERY_SECONDS if by_hub else NEWS_SECONDS
                async with asyncio.timeout(seconds):
                    await self._hint.wait()
            except TimeoutError:
                pass
            self._hint.clear()
            try:
                await self._look()
            except OSError as error:
                _log.debug("%s: %s", self._post.layout.root, error)
            except TrishulaError as error:
                # The hub was lost meanwhile; its return is the next hint.
                _log.debug("%s: not handed over yet: %s", self._post.layout.root, error)
            except Exception:
                _log.exception("%s: handing over", self._post.layout.root)

    async def _look(self) -> None:
        found = await self._in_thread(self._post.look)
        for ended in found.ended:
            self._tell(ended)
        letters: dict[str, list[Sent]] = {}
        for sent in found.waiting:
            if not self.skip(sent):
                letters.setdefault(sent.id, []).append(sent)
        for id, copies in letters.items():
            if not self._core.active:
                return
            if id in self._handed:
                await self._in_thread(self._post.remove, copies)
            elif not self._is_busy_with(id):
                await self._hand_over(id, copies)

    def _is_busy_with(self, id: str) -> bool:
        if id in self._strangers and monotonic() < self._strangers[id]:
            return True
        return id in self._under_way or id in self._core.outbox

    async def _hand_over(self, id: str, copies: list[Sent]) -> None:
        try:
            envelope = await self._in_thread(self._post.read, copies[0])
        except NotValid as error:
            await self._in_thread(self._post.put_aside, copies[:1], str(error))
            return
        if envelope is None:
            return
        now = round(time() * 1000)
        stamp = copies[0].stamp // 1000
        left = None if envelope.ttl is None else stamp + envelope.ttl - now
        if left is not None and left <= 0:
            why = f"its ttl of {envelope.ttl} ms ended while no hub answered"
            await self._give_up(id, copies, ErrorCode.EXPIRED, why)
            return
        if now - stamp > limits.DEDUP_MS and await self.is_known(id):
            self._handed.add(id, None)
            await self._in_thread(self._post.remove, copies)
            return
        out = await self.forward(msgspec.structs.replace(envelope, ttl=left))
        if out is not None:
            self._under_way[id] = (out, copies)
            out.waiter.add_done_callback(lambda outcome: self._outcome(id, outcome))

    def interrupt(self) -> None:
        """The hub is lost: what it has not accepted stays in its files, and is no mail to send."""
        for out, _ in list(self._under_way.values()):
            self._core.withdraw(out)
            out.waiter.cancel()
        self._sending.make_room()

    async def forward(self, envelope: Envelope) -> Outgoing | None:
        """Send the hub a message made elsewhere, under its own id; None when it is on its way
        already, or the hub is lost.

        Its ``waiter`` hears of the acceptance, or fails with :class:`Refused`.
        """
        assert envelope.id is not None
        if self._sending.crowded:
            await self._sending.wait_for_room()
        if envelope.id in self._core.outbox or not self._core.active:
            return None
        body = encode_json(msgspec.structs.replace(envelope, sender=None))
        out = Outgoing(envelope.id, body, self._loop.create_future(), patient=True)
        self._core.send(out)
        self._sending.touch()
        return out

    async def is_known(self, id: str) -> bool:
        """Whether the log knows a message of ours that the hub's dedup may have forgotten."""
        try:
            answer = await self._trace(id)
        except Refused as error:
            if error.retryable:
                raise
            return False
        agent = self._core.register.agent
        return any(message.get("from") == agent for message in answer["messages"])

    def _outcome(self, id: str, outcome: asyncio.Future[None]) -> None:
        _, copies = self._under_way.pop(id)
        if outcome.cancelled():
            return  # interrupted: nobody knows whether a hub has it, so the files stay
        error = outcome.exception()
        work: Awaitable[Any] | None = None
        if error is None:
            self._handed.add(id, None)
            work = self._in_thread(self._post.remove, copies)
        elif isinstance(error, Refused) and error.code == ErrorCode.DUPLICATE_ID:
            self._handed.add(id, None)
            work = self._in_thread(self._post.put_aside, copies, str(error))
        elif (
            isinstance(error, Refused)
            and error.code == ErrorCode.UNKNOWN_RECIPIENT
            and copies[0].to is not None
        ):
            # It lies where its recipient looks, whom this hub has not met.
            self._strangers.add(id, monotonic() + STRANGER_SECONDS)
        elif isinstance(error, Refused) and not error.retryable:
            work = self._loop.create_task(
                self._give_up(id, copies, error.code, error.message, error.details)
            )
        if work is not None:
            asyncio.ensure_future(work).add_done_callback(_log_failure)

    async def _give_up(
        self,
        id: str,
        copies: list[Sent],
        code: str,
        why: str,
        details: dict[str, Any] | None = None,
    ) -> None:
        await self._in_thread(self._post.put_aside, copies, f"{code}: {why}")
        self._notice(id, code, why, details)

    def _tell(self, ended: Ended) -> None:
        if ended.reason is None:
            self._on_done(ended.id, ended.by)
            return
        why = f"{ended.by} rejected the file: {ended.reason}"
        self._notice(ended.id, ErrorCode.UNDELIVERABLE, why, {"agents": [ended.by]})

    def _notice(self, id: str, code: str, why: str, details: dict[str, Any] | None) -> None:
        """Told like any error about accepted mail, as from the hub."""
        body: dict[str, Any] = {"code": str(code), "message": why, "retryable": False}
        if details:
            body["details"] = details
        _log.warning("%s: %s: %s: %s", self._core.register.agent, id, code, why)
        agent = self._core.register.agent
        made = self._sending.make_id()
        self._core.notice(
            Envelope("ERROR", id=made, sender=HUB, to=agent, reply_to=id, payload=body)
        )
        self._pump()

    def _in_thread(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._thread, work, *args)


def _log_failure(work: asyncio.Future[Any]) -> None:
    if not work.cancelled() and work.exception() is not None:
        _log.warning("shared folder: %s", work.exception())
