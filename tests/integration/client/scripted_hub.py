"""A small hub that speaks enough of the protocol, with faults to inject.

It keeps a log and mailboxes in memory; what it is told to do wrong is an attribute. Built on the
asyncio server of ``websockets``, so the SDK's own WebSocket code meets somebody else's.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope


class Session:
    """One connection that has registered."""

    def __init__(self, agent: str, connection: ServerConnection) -> None:
        self.agent = agent
        self.connection = connection

    async def say(self, *envelopes: Envelope) -> None:
        frame = JSON.frame([JSON.encode(envelope) for envelope in envelopes])
        await self.connection.send(frame, text=True)


class ScriptedHub:
    """Start it with :func:`hub`."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.port = 0
        self.seen: list[Envelope] = []
        """All that came, in order."""
        self.headers: list[dict[str, str]] = []
        self.sessions: dict[str, Session] = {}
        self.registrations: list[dict[str, Any]] = []
        self.log: dict[tuple[str, str], Envelope] = {}
        self.mail: dict[str, dict[int, Envelope]] = {}
        self.settled: list[int] = []
        self.heartbeat_ms: int | None = None
        self.frame_bytes = 1 << 20
        # Faults.
        self.status: tuple[int, dict[str, str]] | None = None
        self.body = "no\n"
        """Of the answer with that status."""
        self.refuse: dict[str, Any] | None = None
        self.refuse_ops: set[str] = set()
        self.on_message: Callable[[Session, Envelope], Awaitable[bool]] | None = None
        """Called before a message is accepted; True when that was all there is to do."""
        self.settle_silently = False
        self.silent = False
        self.ready = True
        """What its heartbeats say of its store."""
        self._news = asyncio.Event()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for ``condition``, looked at whenever something arrived or changed."""
        async with asyncio.timeout(60):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def count(self, type: str) -> int:
        return sum(envelope.type == type for envelope in self.seen)

    def acked(self, stage: str) -> list[int]:
        """The seqs agents named in ACKs of ``stage``."""
        return [
            seq
            for envelope in self.seen
            if envelope.type == "ACK" and envelope.payload["stage"] == stage
            for seq in envelope.payload["seqs"]
        ]

    async def post(self, sender: str, to: str, payload: Any, **fields: Any) -> Envelope:
        """Accept a message as if ``sender`` had sent it."""
        id = fields.pop("id", f"p{len(self.log)}")
        envelope = Envelope(
            fields.pop("type", "STATUS"), id=id, sender=sender, to=to, payload=payload, **fields
        )
        await self._accept(envelope)
        return envelope

    async def start(self, port: int = 0) -> None:
        self.server = await serve(
            self._serve, "127.0.0.1", port, process_request=self._upgrade, compression=None
        )
        self.port = next(iter(self.server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Stop at once: connections are cut, nothing more is listened to."""
        assert self.server is not None
        for session in list(self.sessions.values()):
            session.connection.transport.abort()
        self.server.close(close_connections=True)
        await self.server.wait_closed()

    # inside

    def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(dict(request.headers.raw_items()))
        if self.status is None:
            return None
        code, headers = self.status
        response = connection.respond(http.HTTPStatus(code), self.body)
        for name, value in headers.items():
            response.headers[name] = value
        self._news.set()
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        session: Session | None = None
        try:
            async for frame in connection:
                assert isinstance(frame, str)
                for item in JSON.decode(frame.encode()):
                    assert isinstance(item, Envelope), item
                    self.seen.append(item)
                    self._news.set()
                    if not self.silent:
                        if session is None:
                            session = await self._register(connection, item)
                        else:
                            await self._take(session, item)
                    self._news.set()
        except ConnectionClosed:
            pass
        finally:
            if session is not None and self.sessions.get(session.agent) is session:
                del self.sessions[session.agent]
            self._news.set()

    async def _register(self, connection: ServerConnection, item: Envelope) -> Session | None:
        body = item.payload
        session = Session(body["agent"], connection)
        if self.refuse is not None:
            await session.say(
                Envelope("ERROR", sender="hub", reply_to=item.id, payload=self.refuse)
            )
            return None
        self.registrations.append(body)
        answer = {
            "agent": session.agent,
            "namespace": "default",
            "node": "n1",
            "role": "primary",
            "session": f"s{len(self.registrations)}",
            "heartbeat_ms": self.heartbeat_ms or body["heartbeat_ms"],
            "server_time": 0,
            "limits": {"frame_bytes": self.frame_bytes, "batch": 1000, "prefetch": 256},
        }
        await session.say(Envelope("RESULT", sender="hub", reply_to=item.id, payload=answer))
        if body.get("receive", True):
            old = self.sessions.get(session.agent)
            self.sessions[session.agent] = session
            if old is not None:
                await old.connection.close(4409, "taken over")
            waiting = self.mail.get(session.agent, {})
            if waiting:
                await session.say(*waiting.values())
        return session

    async def _take(self, session: Session, item: Envelope) -> None:
        if item.type == "HEARTBEAT":
            payload = {"time": 0} if self.ready else {"time": 0, "ready": False}
            await session.say(Envelope("HEARTBEAT", sender="hub", payload=payload))
        elif item.type == "ACK":
            await self._settle(session, item.payload)
        elif item.to == "hub":
            await self._answer(session, item)
        elif self.on_message is None or not await self.on_message(session, item):
            await self.accept(session, item)

    async def accept(self, session: Session, item: Envelope) -> None:
        """Log a message, deliver it, acknowledge it."""
        item.sender = session.agent
        settles, item.settles = item.settles, None
        if settles is not None:
            self._remove(session.agent, settles)
        await self._accept(item)
        ack = {"stage": "accepted", "ids": [item.id]}
        await session.say(Envelope("ACK", sender="hub", payload=ack))

    async def _accept(self, item: Envelope) -> None:
        assert item.to is not None
        assert item.id is not None
        assert item.sender is not None
        if (item.sender, item.id) in self.log:
            return
        self.log[item.sender, item.id] = item
        seq = len(self.log)
        copy = msgspec.structs.replace(item, seq=seq, attempt=1)
        self.mail.setdefault(item.to, {})[seq] = copy
        recipient = self.sessions.get(item.to)
        if recipient is not None:
            await recipient.say(copy)

    async def _settle(self, session: Session, ack: dict[str, Any]) -> None:
        if ack["stage"] == "read" or ack.get("requeue"):
            return
        for seq in ack["seqs"]:
            self._remove(session.agent, seq)
        if not self.settle_silently:
            payload = {"stage": "settled", "seqs": ack["seqs"]}
            await session.say(Envelope("ACK", sender="hub", payload=payload))

    def _remove(self, agent: str, seq: int) -> None:
        self.mail.get(agent, {}).pop(seq, None)
        self.settled.append(seq)

    async def _answer(self, session: Session, item: Envelope) -> None:
        op = item.payload["op"]
        if op in self.refuse_ops:
            error = {"code": "forbidden", "message": "not for you", "retryable": False}
            await session.say(Envelope("ERROR", sender="hub", reply_to=item.id, payload=error))
            return
        if op == "agents":
            payload: Any = {"agents": [{"id": name} for name in sorted(self.sessions)]}
        elif op == "recall":
            error = {"code": "forbidden", "message": "it was read", "retryable": False}
            await session.say(Envelope("ERROR", sender="hub", reply_to=item.id, payload=error))
            return
        else:
            payload = {"op": op}
        await session.say(Envelope("RESULT", sender="hub", reply_to=item.id, payload=payload))


@asynccontextmanager
async def hub(port: int = 0) -> AsyncIterator[ScriptedHub]:
    """A hub that listens."""
    found = ScriptedHub()
    await found.start(port)
    try:
        yield found
    finally:
        await found.stop()
