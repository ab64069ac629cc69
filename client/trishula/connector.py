"""Keeps an agent's core on a hub: dials, reconnects, moves frames, keeps the one timer.

Decides nothing about messages; that is ``trishula.core``'s.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Callable, Sequence
from random import random
from time import monotonic
from typing import Final

from trishula.core import AgentCore
from trishula.errors import NotConnected, RegistrationRefused, TakenOver, Unauthorized
from trishula.events import Active, Event, Hangup, Lost
from trishula.outage import Outage
from trishula.websocket import ConnectFailed, Link, check_url, open_link
from trishula_protocol.backoff import full_jitter_ms
from trishula_protocol.errors import CloseCode, ErrorCode

EARLY: Final = 128
"""Messages that leave before the turn of the loop is over: while others of the same moment are
still being made, the hub stores these already."""
ATTEMPT_SECONDS: Final = 5.0
"""Longest wait for one hub to complete the upgrade; a frozen host is left after it."""
SETTLED_SECONDS: Final = 1.0
"""A session that lasted this long was a good one: the backoff begins anew."""

Token = str | Callable[[], str] | None
"""A token, or what makes a fresh one for every attempt to connect."""


class Connector:
    """One agent's way to its hubs.

    Args:
        urls: the hubs in the order in which they are tried.
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
        make_id: Callable[[], str],
        on_event: Callable[[Event], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._core = core
        self._urls = list(urls)
        self._names = [check_url(url) for url in urls]
        self._token = token
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
        self._refused_token: str | None = None
        self._active_at: float | None = None
        self._was_active = False
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
        return NotConnected(self.reasons)

    def touch(self) -> None:
        """There may be something to write: it leaves with all else of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        elif self._core.outbox.ready >= EARLY:
            self._write()

    # --- dialling ---

    async def _run(self) -> None:
        index = 0
        tries = 0
        while True:
            lost, wait = await self._attempt(index)
            lasted = self._lasted()
            if lasted is not None and lasted >= SETTLED_SECONDS:
                tries = 0
            index = (index + 1) % len(self._urls)
            if lost is not None and lost.code == CloseCode.RESTART and lasted and lasted > 1:
                continue  # a drain: the next hub, or this one when it is back, at once
            if lost is not None or index == 0:
                # Between the hubs of the list there is no wait, but after each round there is.
                delay = full_jitter_ms(tries, random()) / 1000
                tries += 1
                await asyncio.sleep(min(delay, self.longest_wait) + wait)

    async def _attempt(self, index: int) -> tuple[Lost | None, float]:
        """Be connected to a hub for as long as it goes; how that ended, seconds to wait more."""
        name = self._names[index]
        self._active_at = None
        token = self._token() if callable(self._token) else self._token
        try:
            link = await open_link(
                self._urls[index], token=token, ssl=self._ssl, seconds=ATTEMPT_SECONDS
            )
        except ConnectFailed as error:
            self.reasons[name] = error.reason
            if error.status in (401, 403):
                self._token_refused(name, token, error.reason)
            if error.final and not self._was_active:
                # Later the same may be a proxy that is being set up anew: an agent that has
                # worked is not ended by it.
                self.reasons[name] += f" ({error.hint})"
                raise self.not_connected() from None
            self._outage.failed(name, error, monotonic())
            return None, error.retry_after or 0.0
        self.url = name
        self._gone = self._loop.create_future()
        self._attach(link)
        try:
            lost = await self._gone
        finally:
            self.url = None
        self.reasons[name] = f"closed with {lost.code}" + (
            f": {lost.reason}" if lost.reason else ""
        )
        self._give_up_if_fatal(name, token, lost)
        self._outage.lost(name, self.reasons[name])
        return lost, 0.0

    def _lasted(self) -> float | None:
        return None if self._active_at is None else monotonic() - self._active_at

    def _give_up_if_fatal(self, name: str, token: str | None, lost: Lost) -> None:
        if lost.code == CloseCode.TAKEN_OVER:
            raise TakenOver(self._core.register.agent)
        code = lost.error.code if lost.error else None
        if lost.code == CloseCode.TOKEN or code == ErrorCode.UNAUTHORIZED:
            self._token_refused(name, token, lost.reason)
        elif lost.error is not None and not lost.error.retryable:
            raise RegistrationRefused(
                lost.error.code, lost.error.message, details=lost.error.details
            )
        elif lost.code == CloseCode.FORBIDDEN:
            raise RegistrationRefused(ErrorCode.FORBIDDEN, lost.reason)

    def _token_refused(self, name: str, token: str | None, reason: str) -> None:
        """Try again only with another token than the one that was refused last."""
        if not callable(self._token) or token == self._refused_token:
            raise Unauthorized(name, reason)
        self._refused_token = token

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._on_failure(error)

    # --- one link ---

    def _attach(self, link: Link) -> None:
        self._link = link
        link.on_frame = self._on_frame
        link.on_alive = self._on_alive
        link.on_writable = self.touch
        link.on_lost = self._drop
        self._core.connect(self._make_id(), self._now())
        self.touch()
        self._arm()

    def _now(self) -> int:
        return int(monotonic() * 1000)

    def _on_frame(self, frame: bytes) -> None:
        self._core.receive(frame, self._now())
        self.pump()
        self.touch()

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

    def pump(self) -> None:
        """Report what the core has to say, whichever way it came."""
        for event in self._core.events():
            match event:
                case Hangup():
                    link = self._link
                    if link is not None:
                        link.close(event.code, event.reason)
                        self._drop(event.code, event.reason)
                    continue
                case Active():
                    self._active_at = monotonic()
                    self._was_active = True
                    self._refused_token = None
                    self._outage.over(self.url or "")
                case Lost() if self._gone is not None and not self._gone.done():
                    self._gone.set_result(event)
                case _:
                    pass
            self._on_event(event)

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
        self.pump()
        self.touch()
        self._arm()
