"""One agent that only knows files, as the hub sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import time
from typing import Final

import msgspec

from trishula import Agent, Message, Refused
from trishula.folder.handover import STRANGER_SECONDS, HandOver
from trishula.folder.layout import Layout
from trishula.folder.post import Post, write_version1
from trishula_broker.bridge.settings import BridgeSettings
from trishula_broker.bridge.version1 import OldLetter, OldLetters
from trishula_protocol import limits
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode
from trishula_protocol.folder_file import file_name, pack
from trishula_protocol.folder_key import Key

RETRY_SECONDS: Final = 1.0
"""Between two attempts to write what cannot be written now."""

_log = logging.getLogger("trishula.bridge")


class Visitor:
    """Its mail becomes files; its files become mail.

    Args:
        by_files: all agents of this bridge: they read one another's files without a hub.
        old: where its letters of version 1 come from, if it writes those.
    """

    def __init__(
        self,
        name: str,
        settings: BridgeSettings,
        *,
        by_files: Container[str],
        old: OldLetters | None,
    ) -> None:
        self.name = name
        self._layout = Layout(settings.folder)
        self._keyring = settings.keyring
        self._old = old
        self._thread = ThreadPoolExecutor(1, f"bridge-{name}")
        self._agent = Agent(
            name,
            settings.urls,
            token=None if settings.token_for is None else partial(settings.token_for, name),
            ssl=settings.ssl,
            connect_timeout=None,
        )
        must_sign = None if name in settings.unsigned else settings.keyring
        self._post = Post(self._layout, name, must_sign)
        self._by_files = by_files
        self._handover: HandOver | None = None

    def __repr__(self) -> str:
        return f"<Visitor {self._agent!r}>"

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve it until cancelled.

        Raises:
            TakenOver: it has learnt to use a hub itself, or another bridge serves it.
            Unauthorized, RegistrationRefused: the hub does not let it in.
        """
        loop = asyncio.get_running_loop()
        if self._old is None:
            await loop.run_in_executor(self._thread, self._layout.make, self.name)
        else:
            await loop.run_in_executor(self._thread, self._layout.mark_version1, self.name)
        try:
            async with self._agent:
                self._handover = HandOver.of(self._agent, self._post, self._thread)
                self._handover.skip = lambda sent: sent.to in self._by_files
                self._handover.start()
                ready()
                try:
                    async for message in self._agent.messages():
                        await self._write(message)
                finally:
                    handover, self._handover = self._handover, None
                    await handover.close()
        finally:
            self._thread.shutdown(wait=False)

    def hint(self) -> None:
        """Something in the folder has changed."""
        if self._handover is not None:
            self._handover.hint()

    # --- mail becomes files ---

    async def _write(self, message: Message) -> None:
        """Write a message down, then settle it; until it is written it is held."""
        envelope = msgspec.structs.replace(
            message.envelope, seq=None, attempt=None, expires_in=None, settles=None, ttl=None
        )
        loop = asyncio.get_running_loop()
        warned = False
        while True:
            try:
                await loop.run_in_executor(self._thread, self._put, envelope)
                break
            except OSError as error:
                if not warned:
                    warned = True
                    _log.warning("%s: mail waits, it cannot be written: %s", self.name, error)
                await asyncio.sleep(RETRY_SECONDS)
        await message.done()

    def _put(self, envelope: Envelope) -> None:
        if self._old is not None:
            write_version1(self._layout, self.name, envelope)
            return
        assert envelope.sender is not None
        assert envelope.id is not None
        # The same name whenever it is written: a crash before it is settled makes no second one.
        name = file_name((envelope.timestamp or 0) * 1000, envelope.sender, envelope.id)
        key: Key | None = None if self._keyring is None else self._keyring.signing
        with self._layout.box(self.name, "inbox", make=True) as inbox:
            with self._layout.box(self.name, "done", make=True) as done:
                known = inbox.has(name) or done.has(name)
            if not known:
                inbox.write(name, pack(envelope, key))
                inbox.flush()

    # --- files of version 1 become mail ---

    async def hand_over(self, letter: OldLetter) -> None:
        """Give the hub a letter of version 1; it is looked at again if that cannot be done now."""
        assert self._old is not None
        settled = False
        try:
            if self._handover is not None:
                settled = await self._settle(self._handover, self._old, letter)
        finally:
            if not settled:
                self._old.forget(letter)

    async def _settle(self, handover: HandOver, old: OldLetters, letter: OldLetter) -> bool:
        loop = asyncio.get_running_loop()
        try:
            if not await self._forward(handover, letter):
                return False
        except Refused as error:
            if error.retryable:
                return False
            if error.code == ErrorCode.UNKNOWN_RECIPIENT:
                _log.info("%s: left for the peers: %s: %s", self.name, letter.name, error.message)
                loop.call_later(STRANGER_SECONDS, old.forget, letter)
            else:
                await loop.run_in_executor(self._thread, old.reject, letter, str(error))
            return True
        await loop.run_in_executor(self._thread, old.done, letter)
        return True

    async def _forward(self, handover: HandOver, letter: OldLetter) -> bool:
        id = letter.envelope.id
        assert id is not None
        if time() - letter.written > limits.DEDUP_MS / 1000 and await handover.is_known(id):
            return True
        out = await handover.forward(letter.envelope)
        if out is None:
            return False
        await out.waiter
        return True
