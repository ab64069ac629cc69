"""A registration on another hub while the present one still serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from trishula.websocket import Link
from trishula_protocol.client_session import ClientSession, Closed, Event, Opened
from trishula_protocol.codec import JSON
from trishula_protocol.errors import ProtocolError


class Transfer:
    """One attempt, begun when it is made.

    Args:
        link: upgraded; nobody's yet.
        session: not registered yet.
        on_open: takes the link's place over in the same turn of the loop: what comes next on the
            link is its own. Gets what the hub said so far, beginning with ``Opened``.
    """

    def __init__(
        self, link: Link, session: ClientSession, on_open: Callable[[list[Event]], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._link = link
        self._session = session
        self._on_open = on_open
        self.over: asyncio.Future[str | None] = loop.create_future()
        """None when it succeeded, else why it did not."""
        link.on_frame = self._on_frame
        link.on_lost = self._on_lost
        for frame in session.frames():
            link.send(frame)
        due = session.next_timeout()
        assert due is not None
        self._timer = loop.call_later(due / 1000 - monotonic(), self._fail, "hub is silent")

    def __repr__(self) -> str:
        return f"<Transfer over {self._link!r}{' ended' if self.over.done() else ''}>"

    def cancel(self) -> None:
        """Nobody wants it any more; nothing when it has ended."""
        self._fail("given up")

    def _on_frame(self, frame: bytes) -> None:
        try:
            events = self._session.receive(
                JSON.decode(frame, from_hub=True), int(monotonic() * 1000)
            )
        except ProtocolError as error:
            self._fail(str(error))
            return
        match events:
            case [Opened(), *_]:
                self._timer.cancel()
                self._on_open(events)
                self.over.set_result(None)
            case [Closed() as closed, *_]:
                self._fail(closed.reason)
            case _:
                pass

    def _on_lost(self, code: int, reason: str) -> None:
        self._fail(f"closed with {code}: {reason}")

    def _fail(self, why: str) -> None:
        if not self.over.done():
            self._timer.cancel()
            self._link.abort()
            self.over.set_result(why)
