"""The shared folder as an agent's other way to its peers: which way is in use, and the switch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, time
from typing import Any, Final

from trishula.core import AgentCore
from trishula.errors import FolderError
from trishula.folder.handover import HandOver
from trishula.folder.layout import Layout
from trishula.folder.places import Places
from trishula.folder.post import Post
from trishula.folder.reading import Reading
from trishula.folder.retention import DONE_SECONDS, clean_agent
from trishula.folder.settings import FolderSettings
from trishula.folder.spool import Spool
from trishula.folder.watch import FolderWatch
from trishula.folder.writing import Writing
from trishula.inbox import Delivery
from trishula.sending import Sending

RECONNECT_SECONDS: Final = 1.0
"""Longest wait between two attempts to reach a hub: agents are back on it within two seconds."""
NEXT_HUB_SECONDS: Final = 0.5
"""What the other hubs have to answer after one was found silent."""
ECHO_SECONDS: Final = 10.0
"""After an order has ended others may hear of that so much later: a letter of theirs is no sign
that no hub reaches them."""
CLEAN_SECONDS: Final = 3600.0
"""Between two removals of what has been in ``done/`` long enough."""

_log = logging.getLogger("trishula")


class FolderLink:
    """One agent's shared folder. Made by ``trishula.engine``.

    Args:
        pump: has the core's events carried out.
        trace: asks the hub where the message of an id is.
        why: says why no hub answers.
        on_switch: the folder is in use from now on, or is not any more.
        on_done: hears which message a recipient has finished, and the recipient.
        remembers: whether ids finished in earlier lives are known for sure.
    """

    def __init__(
        self,
        core: AgentCore,
        sending: Sending,
        settings: FolderSettings,
        *,
        pump: Callable[[], object],
        trace: Callable[[str], Awaitable[Any]],
        why: Callable[[], str],
        on_switch: Callable[[], None],
        on_done: Callable[[str, str], None],
        remembers: bool,
    ) -> None:
        self._core = core
        self._settings = settings
        self._why = why
        self._on_switch = on_switch
        self._loop = asyncio.get_running_loop()
        self._layout = Layout(settings.root)
        self._thread = ThreadPoolExecutor(1, "trishula-folder-out")
        agent = core.register.agent
        spool = Spool(self._layout, agent, settings.keyring)
        post = Post(self._layout, agent, settings.keyring)
        self.reading = Reading(core, spool, pump=pump, trace=trace, remembers=remembers)
        self._writing = Writing(core, post, self._thread, pump=pump)
        self._handover = HandOver(
            core, sending, post, self._thread, trace=trace, pump=pump, on_done=on_done
        )
        self._handover.skip = lambda sent: self.ordered and sent.to is not None
        self._watch = FolderWatch(spool.watched, self.reading.hint)
        self._places = Places(self._layout)
        self._timer: asyncio.TimerHandle | None = None
        self._cleaning: asyncio.Task[None] | None = None
        sending.by_file = self._by_file
        sending.write_file = self._writing.write
        self._looking = False
        self._halted = False
        self._since = monotonic()
        self.in_use = False
        """Whether sends go to files because no hub answers."""
        self.ordered = False
        """Whether a hub has said to go by files: what only a hub can deliver still goes there."""

    def __repr__(self) -> str:
        state = "in use" if self.in_use else "ordered" if self.ordered else "watched"
        return f"<FolderLink {self._layout.root} {state}>"

    async def open(self) -> None:
        """Make the agent's place in the folder, and watch it from now on.

        Raises:
            FolderError: the folder cannot be used.
        """
        try:
            await asyncio.to_thread(self._layout.root.mkdir, parents=True, exist_ok=True)
            await self.reading.open()
        except OSError as error:
            path = str(error.filename or self._layout.root)
            raise FolderError(path, error.strerror or str(error)) from error
        self._watch.start()
        self.reading.start()
        self._handover.start()
        self._cleaning = self._loop.create_task(self._clean(), name="trishula-folder-clean")
        self.hub_lost()

    def halt(self) -> None:
        """The agent is at its end: nothing more is read or written."""
        self._stop_timer()
        self._halted = True
        self.in_use = False
        self._places.stop()
        self._writing.stop()
        self.reading.halt()

    async def close(self) -> None:
        """Put away what is settled; write and watch no more."""
        self.halt()
        if self._cleaning is not None:
            self._cleaning.cancel()
        try:
            await self._writing.close()
            await self._handover.close()
            await self.reading.close()
        finally:
            self._thread.shutdown(wait=False)
            await self._watch.stop()

    def touch(self) -> None:
        """The application has sent or settled something: looked at once in this turn."""
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        self.reading.look()
        self._writing.look()

    def on_mail(self, deliveries: list[Delivery]) -> None:
        """Mail came, by whichever way."""
        peers = self.reading.peers
        if peers:
            for delivery in deliveries:
                if delivery.seq is not None:
                    peers.pop(delivery.key[0], None)

    # --- which way ---

    def _by_file(self, agent: str) -> bool:
        if self.in_use or self._halted:
            return False  # all goes there anyway, or nothing
        return agent in self._places if self.ordered else self.reading.by_file(agent)

    def hub_lost(self, *, silent: bool = False) -> None:
        """No hub answers, from now on; a ``silent`` one has not for two heartbeats already."""
        self.reading.hub = None if not self.in_use else False
        self.reading.offer_again()
        if self._timer is None and not self.in_use and not self._halted:
            self._since = monotonic()
            seconds = self._settings.fallback_after
            if silent:
                seconds = min(seconds, NEXT_HUB_SECONDS)
            self._timer = self._loop.call_later(seconds, self._fall_back)

    def hub_answers(self, ordered: bool) -> None:
        """The agent is registered; ``ordered``: and told to go by files all the same."""
        self._stop_timer()
        if self.in_use:
            self.in_use = False
            self._writing.stop()
            agent, seconds = self._core.register.agent, monotonic() - self._since
            text = "%s: a hub answers again after %.1f s: "
            text += "it orders to stay with" if ordered else "back from"
            _log.warning(text + " the shared folder %s", agent, seconds, self._layout.root)
        self.order(ordered, told=False)
        self.reading.hub = True
        self.reading.hint()
        self._handover.hint()

    def order(self, on: bool, *, told: bool = True) -> None:
        """The hub says to go by files, or by hub again.

        The session is kept: it brings what others send by hub, takes what has no place in the
        folder, and hears of the end.

        Args:
            told: whether that is news to whoever watches the agent's state.
        """
        if on is self.ordered:
            return
        self.ordered = self._handover.eager = on
        if on:
            self._places.start()
            self.reading.peers_count_after(float("inf"))
            text = "%s: the hub orders to the shared folder %s: what is sent goes there"
        else:
            self._places.stop()
            self.reading.peers_count_after(monotonic() + ECHO_SECONDS)
            self._handover.hint()
            text = "%s: the hub orders back from the shared folder %s"
        _log.warning(text, self._core.register.agent, self._layout.root)
        if told:
            self._on_switch()

    def _fall_back(self) -> None:
        self._timer = None
        self.in_use = True
        _log.warning(
            "%s: no hub has answered for %g s (%s): what is sent goes to the shared folder %s",
            self._core.register.agent,
            self._settings.fallback_after,
            self._why(),
            self._layout.root,
        )
        self._handover.interrupt()
        self._writing.start()
        self.reading.hub = False
        self.reading.hint()
        self._on_switch()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- retention ---

    async def _clean(self) -> None:
        agent = self._core.register.agent
        while True:
            try:
                before = time() - DONE_SECONDS
                await asyncio.to_thread(clean_agent, self._layout, agent, before)
            except OSError as error:
                _log.debug("%s: not cleaned: %s", self._layout.root, error)
            await asyncio.sleep(CLEAN_SECONDS)
