"""Keeps an agent's core on a hub: dials, reconnects, moves frames, keeps the one timer.

Decides nothing about messages; that is ``trishula.core``'s.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
from collections.abc import Callable, Sequence
from random import random
from time import monotonic
from typing import Any, Final

from trishula.core import NORMAL, AgentCore
from trishula.errors import NotConnected
from trishula.events import Accepted, Active, Confirmed, Event, Hangup, Lost, NewMail
from trishula.failback import Failback
from trishula.outage import Outage
from trishula.refuge import refuge
from trishula.rounds import Rounds
from trishula.transfer import Transfer
from trishula.verdict import Token, Verdict
from trishula.websocket import ConnectFailed, Link, check_url, open_link
from trishula_protocol.client_session import ABNORMAL, ClientSession
from trishula_protocol.client_session import Event as SessionEvent
from trishula_protocol.codec import JSON
from trishula_protocol.errors import CloseCode

EARLY: Final = 128
"""Messages that leave before the turn of the loop is over: while others of the same moment are
still being made, the hub stores these already."""
ATTEMPT_SECONDS: Final = 4.0
"""Longest wait for one hub to complete the upgrade: a frozen host is left after it, as after two
heartbeats of silence later on."""
QUIET_SECONDS: Final = 2.0
"""Longest wait, before a move, for the answers to all that is under way."""
FENCED_SECONDS: Final = 10.0
"""How long after a registration elsewhere it may be our own that the present hub was told of: its
answer may have been lost (4 s), and the hub hears of it by a hint, or by looking (1 s)."""
SETTLED_SECONDS: Final = 1.0
"""A session that lasted this long was a good one: the backoff begins anew."""

_log = logging.getLogger("trishula")


class Connector:
    """One agent's way to its hubs.

    Args:
        urls: the hubs in the order in which they are tried.
        failback_after: seconds for which an earlier hub has to be ready before it is used again;
            None: never.
        make_id: ids for the registrations.
        on_event: hears of every event of the core but ``Hangup``.
        on_failure: hears once of what ends the agent for good.
    """

    def __init__(
        self,
        core: AgentCore,
        urls: Sequence[str],
        token: Token,
        ssl: tls.SSLContext | None,
        *,
        failback_after: float | None,
        make_id: Callable[[], str],
        on_event: Callable[[Event], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._core = core
        self._urls = list(urls)
        self._names = [check_url(url) for url in urls]
        self._verdict = Verdict(core.register.agent, len(urls), token)
        self._ssl = ssl
        self._make_id = make_id
        self._on_event = on_event
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._gone: asyncio.Future[Lost] | None = None
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._rounds = Rounds(len(urls), random)
        self._failback_after = failback_after
        self._answered = asyncio.Event()
        self._unready = asyncio.Event()
        self._transfer: Transfer | None = None
        self._moving_until = 0.0
        self._former: Link | None = None
        self._active_at: float | None = None
        self._outage = Outage(core.register.agent)
        self._task: asyncio.Task[None] | None = None
        self.url: str | None = None
        self.reasons: dict[str, str] = {}
        self.longest_wait = float("inf")
        """Seconds between two rounds of attempts at most."""

    def __repr__(self) -> str:
        return f"<Connector {self.url or 'not connected'} of {', '.join(self._names)}>"

    def start(self) -> None:
        """Begin to dial."""
        self._task = self._loop.create_task(self._run(), name="trishula-connector")
        self._task.add_done_callback(self._ended)

    async def stop(self, code: int = 1000, reason: str = "") -> None:
        """End the connection and stop dialling; also when this is cancelled."""
        ending: list[asyncio.Future[None]] = []
        if self._task is not None:
            self._task.cancel()
            ending.append(self._task)
        if self._former is not None:
            ending.append(self._former.ended)
        link = self._link
        if link is not None:
            self._flush()
            link.close(code, reason)
            self._drop(code, reason)
            ending.append(link.ended)
        self._disarm()
        if ending:
            await asyncio.wait(ending)

    def not_connected(self) -> NotConnected:
        """What to raise when there was no connection in time."""
        return NotConnected(self.reasons, self._verdict.refused_by(self.reasons))

    def touch(self) -> None:
        """There may be something to write: it leaves with all else of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        elif self._core.outbox.ready >= EARLY:
            self._write()

    # --- dialling ---

    async def _run(self) -> None:
        while True:
            wait = await self._attempt()
            await asyncio.sleep(wait)

    async def _attempt(self) -> float:
        """Be connected to a hub for as long as it goes; seconds to wait before the next one."""
        rounds = self._rounds
        index = rounds.index
        self._active_at = None
        try:
            link = await self._dial(index)
        except ConnectFailed as error:
            name = self._names[index]
            if self._verdict.on_failed(index, name, error):
                self.reasons[name] += f" ({error.hint})"
            if self._verdict.hopeless:
                raise self.not_connected() from None
            self._outage.failed(self._names[index], error, monotonic())
            return rounds.failed(error.retry_after or 0.0, self.longest_wait)
        self.url = self._names[index]
        self._gone = self._loop.create_future()
        self._attach(link)
        self._core.connect(self._make_id(), self._now())
        self.touch()
        self._arm()
        try:
            lost = await self._stay()
        finally:
            name, self.url = self._names[rounds.index], None
        self.reasons[name] = f"closed with {lost.code}" + (
            f": {lost.reason}" if lost.reason else ""
        )
        self._verdict.on_lost(name, lost)
        self._outage.lost(name, self.reasons[name])
        lasted = self._lasted()
        if lasted is None:
            return rounds.failed(0.0, self.longest_wait)
        if lasted < SETTLED_SECONDS:
            return rounds.cut_short(self.longest_wait)
        return rounds.served(restart=lost.code == CloseCode.RESTART)

    async def _dial(self, index: int) -> Link:
        """A connection to that hub, not registered.

        Raises:
            ConnectFailed: there is none.
        """
        token = self._verdict.token()
        try:
            return await open_link(
                self._urls[index], token=token, ssl=self._ssl, seconds=ATTEMPT_SECONDS
            )
        except ConnectFailed as error:
            self.reasons[self._names[index]] = error.reason
            raise

    async def _stay(self) -> Lost:
        """Be on a hub for as long as it goes, and on another one when that is better."""
        waiting: set[asyncio.Future[Any]] = set()
        moving = None
        if len(self._urls) > 1:
            moving = self._loop.create_task(self._move_about())
            waiting.add(moving)
        try:
            while True:
                gone = self._gone
                assert gone is not None
                await asyncio.wait({gone, *waiting}, return_when=asyncio.FIRST_COMPLETED)
                if moving is not None and moving.done():
                    moving.result()
                if not gone.done():
                    continue
                if self._transfer is not None:
                    await self._transfer.over  # this may have ended because that has begun
                if gone is self._gone:
                    return gone.result()
        finally:
            if moving is not None and not moving.done():
                moving.cancel()
                await asyncio.wait({moving})

    def _lasted(self) -> float | None:
        """Seconds since the last registration, on whichever hub; None when there was none."""
        return None if self._active_at is None else monotonic() - self._active_at

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._on_failure(error)

    # --- going to another hub ---

    async def _move_about(self) -> None:
        """Move to hubs that stand earlier in the list, once they are well again, and away from
        one that cannot reach its store."""
        while True:
            target = await self._better()
            try:
                why = await self._move(target)
            except ConnectFailed as error:
                why = error.reason
            if why is not None:
                _log.info(
                    "%s: could not go over to %s: %s",
                    self._core.register.agent,
                    self._names[target],
                    why,
                )

    async def _better(self) -> int:
        """Wait until another hub is to be preferred; its place in the list."""
        index, after = self._rounds.index, self._failback_after
        looks = {self._loop.create_task(refuge(self._urls, index, self._ssl, self._unready))}
        if after is not None and index:
            failback = Failback(self._core.register.agent, self._urls[:index], self._ssl, after)
            looks.add(self._loop.create_task(failback.ready()))
        try:
            done, _ = await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for look in looks:
                look.cancel()
            await asyncio.wait(looks)

    async def _move(self, index: int) -> str | None:
        """Register on another hub, and only then leave the present one; why that failed.

        The registration takes over from the one we have: what its hub says of that is not heard.
        First everything under way gets its answer, so that nothing has to be sent twice, unless
        the present hub has none to give; what is sent meanwhile waits for the other hub.
        """
        link = await self._dial(index)
        session = ClientSession(self._core.register, self._make_id(), JSON, self._now())
        try:
            self._core.hold_back = True
            async with asyncio.timeout(QUIET_SECONDS):
                while self._core.underway and not self._unready.is_set():
                    self._answered.clear()
                    await self._answered.wait()
            self._moving_until = monotonic() + FENCED_SECONDS
            self._transfer = Transfer(
                link, session, lambda events: self._moved(index, link, session, events)
            )
            return await self._transfer.over
        except TimeoutError:
            return f"what it was told is not answered after {QUIET_SECONDS:g} s"
        finally:
            if self._link is not link:
                link.abort()
            if self._transfer is not None:
                self._transfer.cancel()
                self._transfer = None
            self._core.hold_back = False
            self.touch()

    def _moved(
        self, index: int, link: Link, session: ClientSession, events: list[SessionEvent]
    ) -> None:
        """The other hub has us: from here on it is the one."""
        former = self._link
        self._rounds.index = index
        self.url = self._names[index]
        self._attach(link)
        self._core.adopt(session, events, self._now())
        if former is not None:
            former.close(NORMAL, "moved to another hub")
            self._former = former
        _log.info("%s: now on %s", self._core.register.agent, self.url)
        self.pump()
        self.touch()
        self._disarm()
        self._arm()

    # --- one link ---

    def _attach(self, link: Link) -> None:
        self._link = link
        self._moving_until = 0.0
        self._unready.clear()
        link.on_frame = self._on_frame
        link.on_alive = self._on_alive
        link.on_writable = self.touch
        link.on_lost = self._drop

    def _now(self) -> int:
        return int(monotonic() * 1000)

    def _on_frame(self, frame: bytes) -> None:
        core = self._core
        core.receive(frame, self._now())
        self._answered.set()
        if core.hub_ready == self._unready.is_set():
            self._note_ready()
        if self.pump() or core.ready:
            self.touch()
        else:
            self._arm()  # a deadline may have moved to the front

    def _note_ready(self) -> None:
        if self._core.hub_ready:
            self._unready.clear()
        else:
            self._unready.set()

    def _on_alive(self) -> None:
        self._core.alive(self._now())

    def _drop(self, code: int, reason: str) -> None:
        """The link is over."""
        link, self._link = self._link, None
        if link is None:
            return
        self._core.disconnect(code, reason, self._now())
        self._disarm()
        self.pump()

    def pump(self) -> bool:
        """Report what the core has to say, whichever way it came.

        Returns whether that may make somebody say something: all does but the hub's confirmation
        of what was settled.
        """
        stirred = False
        for event in self._core.events():
            match event:
                case NewMail() | Accepted():
                    stirred = True  # nearly all there is
                case Confirmed():
                    pass
                case Hangup():
                    link = self._link
                    if link is not None:
                        link.close(event.code, event.reason)
                        self._drop(event.code, event.reason)
                    continue
                case Active():
                    if self._gone is None or self._gone.done():
                        self._gone = self._loop.create_future()  # that was the former link
                    self._active_at = monotonic()
                    stirred = True
                    self._verdict.on_active()
                    self._outage.over(self.url or "")
                case Lost() if self._gone is not None and not self._gone.done():
                    if event.code == CloseCode.TAKEN_OVER and monotonic() < self._moving_until:
                        event = Lost(ABNORMAL, "another hub has this agent's registration", None)
                    self._gone.set_result(event)
                    stirred = True
                case _:
                    stirred = True
            self._on_event(event)
        return stirred

    def _flush(self) -> None:
        self._flushing = False
        if self._write():
            self.pump()
            self._arm()

    def _write(self) -> bool:
        """Write what is ready; False when there is nobody to write to."""
        link = self._link
        if link is None or link.paused:
            return False
        for frame in self._core.frames():
            link.send(frame)
        return True

    # --- time ---

    def _arm(self) -> None:
        due = self._core.next_timeout()
        if due is None:
            self._disarm()
        elif self._timer is None or due < self._timer_at:
            self._disarm()
            self._timer_at = due
            self._timer = self._loop.call_later((due - self._now()) / 1000, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        # A deadline that has moved later is found here, so that receiving needs no new timer.
        self._timer = None
        self._core.timeout(self._now())
        if self.pump() or self._flushing:
            self.touch()
        elif self._write():  # a heartbeat, mostly, with which nothing else of this turn leaves
            self.pump()
        self._arm()
