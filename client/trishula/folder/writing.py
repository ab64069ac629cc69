"""While no hub answers the outbox goes into files of the shared folder."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from time import time_ns
from typing import Final

import msgspec

from trishula.core import AgentCore
from trishula.folder.post import Post
from trishula.outbox import Outgoing
from trishula_protocol.bodies import ErrorBody
from trishula_protocol.codec import decode_json
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode

BATCH: Final = 100
"""Letters written between two flushes of their directories."""
RETRY_SECONDS: Final = 1.0
"""Between two attempts to write to a folder that is away."""
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors about one letter, which its sender hears; of others it waits for the folder."""

_log = logging.getLogger("trishula")


class Writing:
    """One agent's writing. While :attr:`on` all that is sent is written.

    Args:
        thread: where the post does its work.
        pump: has the core's events carried out.
    """

    def __init__(
        self, core: AgentCore, post: Post, thread: Executor, *, pump: Callable[[], object]
    ) -> None:
        self._core = core
        self._post = post
        self._thread = thread
        self._pump = pump
        self._loop = asyncio.get_running_loop()
        self._hint = asyncio.Event()
        self._direct: list[Outgoing] = []
        self.on = False
        self._task = self._loop.create_task(self._run(), name="trishula-folder-out")

    def start(self) -> None:
        """Write from now on, what waits already first."""
        self.on = True
        self._core.leave_hub()
        self._hint.set()

    def write(self, out: Outgoing) -> None:
        """Write one message also while a hub answers."""
        self._direct.append(out)
        self._hint.set()

    def stop(self) -> None:
        """A hub has what waits; what is being written goes both ways."""
        self.on = False

    async def close(self) -> None:
        """Write no more."""
        self.on = False
        self._task.cancel()
        await asyncio.wait([self._task])

    def look(self) -> None:
        """There may be something to write."""
        if self.on and self._core.outbox.waiting:
            self._hint.set()

    async def _run(self) -> None:
        away = False
        while True:
            await self._hint.wait()
            self._hint.clear()
            await self._write_direct()
            outs = self._core.take_out() if self.on else []
            for start in range(0, len(outs), BATCH):
                if not self.on:
                    break  # the hub has got all that is left
                try:
                    await self._write(outs[start : start + BATCH])
                except OSError as error:
                    if not away:
                        away = True
                        _log.warning("%s: cannot be written to: %s", self._post.layout.root, error)
                    await asyncio.sleep(RETRY_SECONDS)
                    if self.on:
                        self._core.leave_hub()
                        self._hint.set()
                    break
                away = False

    async def _write_direct(self) -> None:
        outs, self._direct = self._direct, []
        try:
            if outs:
                await self._write(outs, refuses=False)
        except OSError as error:
            _log.warning("%s: cannot be written to: %s", self._post.layout.root, error)
        # What is not in the folder, for whatever reason, is the hub's after all.
        self._core.outbox.release(outs)
        self._pump()

    async def _write(self, outs: list[Outgoing], *, refuses: bool = True) -> None:
        agent = self._core.register.agent
        outs = [out for out in outs if out.id in self._core.outbox]
        if not outs:
            return
        letters = [as_letter(out.encoded, agent) for out in outs]
        # Shielded: what is begun is written, and what is written is known to be.
        writing = self._loop.run_in_executor(self._thread, self._post.write, letters)
        outcomes = await asyncio.shield(writing)
        written = [out for out, error in zip(outs, outcomes, strict=True) if error is None]
        self._core.filed_out(written)
        other: OSError | None = None
        for out, error in zip(outs, outcomes, strict=True):
            if error is None:
                continue
            if refuses and error.errno in NO_ROOM and not out.patient:
                self._core.refuse_out(out, _no_room(error))
            else:
                other = error
        self._pump()
        if other is not None:
            raise other


def as_letter(encoded: bytes, sender: str) -> Envelope:
    """An outgoing message as it is written: with its sender, and without what is between it and
    one hub."""
    envelope = decode_json(encoded)
    stamp = envelope.timestamp
    return msgspec.structs.replace(
        envelope,
        sender=sender,
        settles=None,
        timestamp=time_ns() // 1_000_000 if stamp is None else stamp,
    )


def _no_room(error: OSError) -> ErrorBody:
    return ErrorBody(
        ErrorCode.UNAVAILABLE,
        f"no hub answers, and the shared folder has no room: {error.strerror}; make some, or "
        "send it again later",
        retryable=True,
    )
