"""Joins the core, the connection and the state directory; futures for what the core reports.

``Agent`` is its public face.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
from collections.abc import Callable, Sequence
from pathlib import Path
from random import random
from typing import Any, Final

from trishula import state_dir
from trishula.connector import Connector
from trishula.core import AgentCore
from trishula.errors import AgentClosed, Refused
from trishula.events import (
    Accepted,
    Active,
    Answered,
    Confirmed,
    Event,
    FolderMode,
    Lost,
    NewMail,
    Presence,
    Progress,
    Receipts,
    Returned,
    StaleMail,
    Trouble,
    Waits,
)
from trishula.events import Refused as RefusedEvent
from trishula.folder.link import RECONNECT_SECONDS, FolderLink
from trishula.folder.settings import FolderSettings
from trishula.inbox import Delivery
from trishula.outbox import Outgoing
from trishula.renewal import Renewal
from trishula.sending import Expected, Sending, Waiter
from trishula.settling import Settling
from trishula.verdict import Token
from trishula_protocol.bodies import Register, Registered, Trace
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import CloseCode

_log = logging.getLogger("trishula")
WAITS: Final = "trishula_waits"
"""Marks the log's records of why what was sent waits."""


class Engine:
    """One agent's machinery.

    Args:
        on_mail: takes new deliveries.
        on_lost: deliveries that the core does not hold any more are the hub's again: the
            connection is gone, or they were recalled.
        on_settled: the application may have fewer unsettled messages than before.
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
        failback_after: float | None,
        directory: Path | None,
        folder: FolderSettings | None = None,
        on_mail: Callable[[list[Delivery]], None],
        on_lost: Callable[[], None],
        on_settled: Callable[[], None],
        on_presence: Callable[[Any], None],
        on_change: Callable[[], None],
    ) -> None:
        self.core = AgentCore(register, fraction=random)
        self.sending = Sending(self.core)
        self.settling = Settling(self.sending)
        self.info: Registered | None = None
        self._name = register.agent
        self._urls = urls
        self._token = token
        self._renewal: Renewal | None = None
        if callable(token):
            self._renewal = Renewal(register.agent, token, self.sending.ask)
        self._ssl = ssl
        self._failback_after = failback_after
        self._directory = directory
        self._folder_settings = folder
        self._folder: FolderLink | None = None
        self._on_mail = on_mail
        self._on_lost = on_lost
        self._on_settled = on_settled
        self._on_presence = on_presence
        self._on_change = on_change
        self._connector: Connector | None = None
        self._idle: list[Waiter] = []
        self._started: Waiter | None = None
        self.over: Waiter | None = None

    # --- life ---

    async def start(self, seconds: float | None) -> None:
        """Open the state directory and connect; see ``Agent.__aenter__``."""
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.sending.make_waiter = loop.create_future
        try:
            if self._directory is not None:
                state = state_dir.StateDir(self._directory, self.core.register.agent)
                await state.open()
                self.sending.state = state
                outs = [Outgoing(id, envelope) for id, envelope in state.unaccepted]
                self.core.resume(outs, state.finished)
            self.sending.failure = None
            self._started = loop.create_future()
            self.over = loop.create_future()
            self._connector = Connector(
                self.core,
                self._urls,
                self._token,
                self._ssl,
                failback_after=self._failback_after,
                make_id=self.sending.make_id,
                on_event=self._on_event,
                on_failure=self.fail,
            )
            self.sending.touch = self._connector.touch
            if self._folder_settings is not None:
                await self._open_folder(self._folder_settings)
            self._connector.start()
            async with asyncio.timeout(seconds):
                await self._started
        except BaseException as error:
            connector = self._connector
            await self.stop()
            if isinstance(error, TimeoutError) and connector is not None:
                raise connector.not_connected() from None
            raise

    async def settled(self, seconds: float | None) -> bool:
        """Wait until all that was sent is accepted and all that was settled is confirmed."""
        try:
            async with asyncio.timeout(seconds):
                while not self.core.idle and self.failure is None:
                    waiter: Waiter = self.loop.create_future()
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
        if self._renewal is not None:
            self._renewal.stop()
        connector, self._connector = self._connector, None
        folder, self._folder = self._folder, None
        state, self.sending.state = self.sending.state, None
        self.fail(AgentClosed(self.core.register.agent))
        try:
            if connector is not None:
                await connector.stop()
        finally:
            try:
                if folder is not None:
                    await folder.close()
            finally:
                if state is not None:
                    await state.close()

    def fail(self, error: Exception) -> None:
        """Nothing more will be accepted or answered: tell whoever waits. The first one counts."""
        failure = self.failure or error
        self.sending.fail(failure)
        for waiter in (*self._idle, self._started):
            if waiter is not None and not waiter.done():
                waiter.set_exception(failure)
                waiter.exception()
        _resolve(self.over, None)
        if self._folder is not None:
            self._folder.halt()
        self._on_change()

    @property
    def failure(self) -> Exception | None:
        """Why the agent is at its end, or has not begun; None in between."""
        return self.sending.failure

    @property
    def url(self) -> str | None:
        """The hub this agent is connected to."""
        return self._connector.url if self._connector is not None else None

    # --- the shared folder ---

    def pump(self) -> None:
        """Carry out what the core reports, whichever way it came."""
        if self._connector is not None:
            self._connector.pump()

    @property
    def in_folder(self) -> bool:
        """Whether what is sent goes to the shared folder: no hub answers, or it says so."""
        return self._folder is not None and (self._folder.in_use or self._folder.ordered)

    async def _open_folder(self, settings: FolderSettings) -> None:
        connector = self._connector
        assert connector is not None
        connector.longest_wait = RECONNECT_SECONDS
        folder = FolderLink(
            self.core,
            self.sending,
            settings,
            pump=connector.pump,
            trace=lambda id: self.sending.ask(Trace(id)),
            why=lambda: str(connector.not_connected()),
            on_switch=self._in_folder_now,
            on_done=self._done_by_file,
            remembers=self._directory is not None,
        )

        def touch() -> None:
            connector.touch()
            folder.touch()

        self._folder = folder
        self.sending.touch = touch
        await folder.open()

    def _in_folder_now(self) -> None:
        _resolve(self._started, None)
        self._on_change()

    def _done_by_file(self, id: str, by: str) -> None:
        receipt = self.sending.receipts.get(id)
        if receipt is not None:
            receipt.note("done", by)

    # --- what the core reports ---

    def _on_event(self, event: Event) -> None:
        match event:
            case Accepted():
                self.sending.accepted(event.outs)
                self._on_settled()
            case Confirmed():
                self._on_settled()
            case NewMail():
                if self._folder is not None:
                    self._folder.on_mail(event.deliveries)
                self._on_mail(event.deliveries)
            case Returned():
                _resolve(event.waiter.future, event.envelope)
            case Progress():
                self._progressed(event.waiter, event.envelope)
            case Answered():
                _resolve(event.out.waiter, event.payload)
                self.sending.make_room()
            case RefusedEvent():
                self.sending.refused(event.out, Refused.of(event.error))
            case Receipts():
                for id in event.ids:
                    receipt = self.sending.receipts.get(id)
                    if receipt is not None:
                        receipt.note(event.stage, event.by)
            case Presence():
                self._on_presence(event.payload)
            case Active():
                self.info = event.info
                if self._renewal is not None:
                    self._renewal.registered(event.info)
                if self._folder is not None:
                    self._folder.hub_answers(event.info.folder_mode)
                _resolve(self._started, None)
                self._on_change()
            case Lost():
                if self._renewal is not None:
                    self._renewal.stop()
                self._on_lost()
                if self._folder is not None:
                    self._folder.hub_lost(silent=event.code == CloseCode.HEARTBEAT)
                self._on_change()
            case FolderMode():
                if self._folder is not None:
                    self._folder.order(event.on)
            case StaleMail():
                self._on_lost()
                for delivery in event.deliveries:
                    _log.warning(
                        "%s: %s is another session's now, or was recalled, while it was handled",
                        self._name,
                        delivery,
                    )
            case Waits():
                text = "%s: the hub accepts nothing now, and what was sent waits: %s"
                _log.warning(text, self._name, event.reason, extra={WAITS: True})
            case Trouble():
                _log.warning("%s: the hub said: %s", self._name, event.reason)
            case _:
                pass
        if self._folder is not None:
            self._folder.touch()
        if self._idle and self.core.idle:
            for waiter in self._idle:
                _resolve(waiter, None)

    def _progressed(self, expected: Expected, news: Envelope) -> None:
        if expected.on_progress is not None:
            try:
                expected.on_progress(news.payload)
            except Exception:
                _log.exception(
                    "%s: on_progress failed for %s %s from %s",
                    self._name,
                    news.type,
                    news.id,
                    news.sender,
                )


def _resolve(future: asyncio.Future[Any] | None, value: Any) -> None:
    if future is not None and not future.done():
        future.set_result(value)
