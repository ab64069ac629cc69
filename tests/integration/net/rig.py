"""A listener and a driver around a scripted core and store: what sockets do, and nothing else."""

import asyncio
import base64
import struct
from collections.abc import Callable, Sequence
from typing import Any, Self

from websockets.asyncio.client import connect

from trishula_broker.auth.identity import Identity
from trishula_broker.hub.counts import Counts
from trishula_broker.hub.effects import Close, Effect, Send
from trishula_broker.hub.now import Now
from trishula_broker.net.admission import Admission
from trishula_broker.net.driver import Driver
from trishula_broker.net.health import Health
from trishula_broker.net.http import make_app
from trishula_broker.net.listener import Listener
from trishula_broker.net.ports import Authenticator, Core, Log
from trishula_broker.net.refusals import Refusals
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.tls import Tls
from trishula_broker.store.base import (
    Batch,
    Hint,
    Operation,
    Outcome,
    Revocation,
    StoreUnavailable,
    Sweep,
    Swept,
)
from trishula_protocol.address import Address
from trishula_protocol.codec import Codec, Item
from trishula_protocol.errors import ProtocolError

TIMEOUT_S = 60.0
"""Generous: a test fails by it instead of hanging."""


class Heard:
    """Events by name, in order; tests wait for them."""

    def __init__(self) -> None:
        self._queues: dict[str, asyncio.Queue[Any]] = {}
        self.all: list[tuple[Any, ...]] = []

    def _queue(self, name: str) -> asyncio.Queue[Any]:
        return self._queues.setdefault(name, asyncio.Queue())

    def put(self, name: str, *what: Any) -> None:
        self.all.append((name, *what))
        self._queue(name).put_nowait(what)

    async def next(self, name: str) -> tuple[Any, ...]:
        async with asyncio.timeout(TIMEOUT_S):
            found: tuple[Any, ...] = await self._queue(name).get()
            return found

    def count(self, name: str) -> int:
        return sum(1 for event in self.all if event[0] == name)


class ScriptedHub:
    """A core that writes down what it hears and does what the test says."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.counts = Counts()
        self.links: set[int] = set()
        self.identities: dict[int, Identity | None] = {}
        self.peers: dict[int, str] = {}
        self.on_receive: Callable[[int, list[Item]], None] = lambda link, items: None
        self.on_committed: Callable[[], None] = lambda: None
        self.ops: list[Operation] = []
        self.asks: list[Any] = []
        self.due: int | None = None
        self._effects: list[Effect] = []

    def sent(self, link: int, frame: bytes) -> Send:
        """What has a core send a text frame."""
        return Send(link, frame, False)

    def closed(self, link: int, code: int, reason: str) -> Close:
        """What has a core close a connection."""
        return Close(link, code, reason)

    def do(self, *effects: Effect) -> None:
        self._effects += effects

    def connect(
        self, link: int, codec: Codec, peer: str, identity: Identity | None, now: Now
    ) -> None:
        self.links.add(link)
        self.identities[link] = identity
        self.peers[link] = peer
        self.heard.put("connect", link, codec.subprotocol)

    def receive(self, link: int, items: list[Item], size: int, now: Now) -> None:
        self.heard.put("receive", link, items, size)
        self.on_receive(link, items)

    def unreadable(self, link: int, error: ProtocolError, now: Now) -> None:
        self.heard.put("unreadable", link, error)

    def alive(self, link: int, now: Now) -> None:
        self.heard.put("alive", link)

    def writable(self, link: int, yes: bool, now: Now) -> None:
        self.heard.put("writable", link, yes)

    def disconnect(self, link: int, reason: str, now: Now) -> None:
        self.links.discard(link)
        self.heard.put("disconnect", link, reason)

    def committed(self, outcomes: Sequence[Outcome], now: Now) -> None:
        self.heard.put("committed", list(outcomes))
        self.on_committed()

    def commit_failed(self, why: str, now: Now) -> None:
        self.heard.put("commit_failed", why)

    def answered(self, question: Any, answer: Any, now: Now) -> None:
        self.heard.put("answered", question, answer)

    def question_failed(self, question: Any, why: str, now: Now) -> None:
        self.heard.put("question_failed", question, why)

    def hinted(self, hints: Sequence[Hint], now: Now) -> None:
        self.heard.put("hinted", list(hints))

    def introduce(self, agent: str, now: Now) -> None:
        self.heard.put("introduce", agent)

    def revoke(self, what: Revocation, now: Now) -> None:
        self.heard.put("revoke", what)

    def post(
        self, to: Address, id_: str, payload: Any, then: Callable[[str | None, Now], None], now: Now
    ) -> None:
        self.heard.put("post", to, id_, payload)
        then(None, now)

    def drain(self, now: Now) -> None:
        self.heard.put("drain")
        self.do(*(Close(link, 1012, "restart") for link in self.links))

    def accepting(self, why: str | None, now: Now) -> None:
        self.heard.put("accepting", why)

    def timeout(self, now: Now) -> None:
        self.due = None
        self.heard.put("timeout", now)

    def next_timeout(self) -> int | None:
        return self.due

    leads = True

    def ops_to_commit(self, ahead: bool = False) -> list[Operation]:
        ops, self.ops = self.ops, []
        return ops

    def questions(self) -> list[Any]:
        asks, self.asks = self.asks, []
        return asks

    def effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def describe(self, now: Now) -> dict[str, Any]:
        return {"sessions": len(self.links), "agents_online": 0}


class ScriptedStore:
    """A store whose commits end when the test lets them."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.commits: list[list[Batch]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.is_quick = False
        """Whether a commit is over, or has failed, when it returns."""
        self.at_once = 0
        self.most_at_once = 0
        self.trims: list[int] = []

    def on_hints(self, tell: Callable[[str, Sequence[Hint]], None]) -> None:
        self.tell = tell

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def commit(self, now: int, batches: Sequence[Batch]) -> asyncio.Future[list[list[Outcome]]]:
        self.commits.append(list(batches))
        self.heard.put("asked")
        if not self.is_quick:
            return asyncio.ensure_future(self._commit(batches))
        done: asyncio.Future[list[list[Outcome]]] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            done.set_exception(self.failure)
        else:
            done.set_result(_outcomes(batches))
        return done

    async def _commit(self, batches: Sequence[Batch]) -> list[list[Outcome]]:
        await self._work()
        return _outcomes(batches)

    async def query(self, namespace: str, query: Any) -> Any:
        await self._work()
        return query

    async def _work(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.heard.put("begun", self.at_once)
        try:
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.at_once -= 1

    async def trim(self, now: int, retention: Any) -> int:
        return self.trims.pop(0) if self.trims else 0

    async def health(self) -> dict[str, Any]:
        if isinstance(self.failure, StoreUnavailable):
            raise self.failure
        return {"kind": "scripted"}


def _outcomes(batches: Sequence[Batch]) -> list[list[Outcome]]:
    return [[Swept((), (), (), None) for _ in batch.ops] for batch in batches]


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.heard = Heard()

    def info(self, event: str, **fields: Any) -> None:
        self.heard.put(event, fields)

    warning = error = info


class Rig:
    """Everything of a hub but its core and store."""

    def __init__(
        self,
        descriptors: int | None = None,
        authenticator: Authenticator | None = None,
        tls: Callable[[Log], Tls] | None = None,
        **settings: Any,
    ) -> None:
        self.settings = NetSettings(**settings)
        self.records: list[tuple[str, str, dict[str, Any]]] = []
        self._authenticator = authenticator
        self._make_tls = tls
        self.heard = Heard()
        self.hub = ScriptedHub(self.heard)
        self.store = ScriptedStore(self.heard)
        self.log = Lines()
        self._descriptors = descriptors
        self._raws: list[Raw] = []

    def _make(self, namespace: str) -> Core:
        return self.hub

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.driver = Driver(
            self.store, self._make, lambda: Now(int(loop.time() * 1000), 0), self.log, auditor=self
        )
        health = Health(self.driver, self.store, {"node": "rig", "role": "primary", "version": "1"})
        self.tls = None if self._make_tls is None else self._make_tls(self.log)
        self.listener = Listener(
            self.driver,
            make_app(health.report),
            Admission(self.settings, self._authenticator, loop.time),
            Refusals(self.log, self.driver.record),
            self.settings,
            self.log,
            self._descriptors,
            self.tls,
        )
        self.port = await self.listener.bind("127.0.0.1", 0)
        self.driver.core("default")
        return self

    async def __aexit__(self, *_: object) -> None:
        for raw in self._raws:
            await raw.close()
        self.listener.stop()
        await self.driver.drain(0.05)
        await self.listener.close()
        await self.driver.close()

    def record(self, namespace: str, event: str, fields: dict[str, Any]) -> None:
        """As an auditor."""
        self.records.append((namespace, event, fields))
        self.heard.put("record", event, fields)

    @property
    def url(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/ws"

    def client(self, **options: Any) -> connect:
        options.setdefault("compression", None)
        options.setdefault("ping_interval", None)
        return connect(self.url, **options)

    async def raw(self, source: str = "127.0.0.1") -> "Raw":
        raw = Raw(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0)))
        self._raws.append(raw)
        return raw

    async def upgraded(self, *headers: str) -> "Raw":
        """A raw connection after a WebSocket handshake."""
        raw = await self.raw()
        await raw.send(upgrade_request(*headers))
        head = await raw.head()
        assert head.startswith("HTTP/1.1 101"), head
        return raw

    def sent(self, link: int, frame: bytes) -> Send:
        """What has a core send a text frame."""
        return Send(link, frame, False)

    def closed(self, link: int, code: int, reason: str) -> Close:
        """What has a core close a connection."""
        return Close(link, code, reason)

    def do(self, *effects: Effect) -> None:
        self.hub.do(*effects)
        self.driver.wake()


class Raw:
    """One end of a TCP connection, without manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def rest(self) -> bytes:
        """Everything until the other side ends."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.read()

    async def frame(self) -> tuple[int, bytes]:
        """The opcode and payload of the next frame from the hub."""
        async with asyncio.timeout(TIMEOUT_S):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """The code of the close frame that comes next."""
        opcode, payload = await self.frame()
        assert opcode == 8, (opcode, payload)
        (code,) = struct.unpack("!H", payload[:2])
        return int(code)

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


def upgrade_request(*headers: str, target: str = "/ws") -> bytes:
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef").decode(),
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode: int, payload: bytes, fin: bool = True, rsv1: bool = False) -> bytes:
    """A client's frame, masked with zeros."""
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    return header(first, len(payload)) + payload


def header(first: int, size: int) -> bytes:
    """The beginning of a client's frame of ``size`` bytes."""
    mask = bytes(4)
    if size < 126:
        return struct.pack("!BB", first, 0x80 | size) + mask
    if size < 1 << 16:
        return struct.pack("!BBH", first, 0x80 | 126, size) + mask
    return struct.pack("!BBQ", first, 0x80 | 127, size) + mask


TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
HEARTBEAT = b'{"type":"HEARTBEAT"}'
ONE_OP: Operation = Sweep(1)
