"""A connection to Redis that is made anew after any failure, and never sends anything twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from trishula_broker.store.base import StoreError, StoreUnavailable
from trishula_broker.store.redis.failures import unavailable
from trishula_broker.store.redis.places import Place
from trishula_broker.store.redis.scripts import ANSWER, COMMIT, COMMIT_LIBRARY, TRIM, Script
from trishula_broker.store.redis.wire import Answers, Wire

Command = tuple[str | bytes | int, ...]

OLDEST_VERSION: Final = (7, 0)
SCHEMA: Final = 4
"""What the scripts of this version write; 2 has the trail, which nodes of 1 know nothing of: what
they commit has no entry, and is not archived. 3 has histories with members for several messages,
of which nodes of 2 and 1 cannot show those. 4 has runs (lua/run.lua), which none of those can read:
they are made where none of those can be."""
SCHEMA_OLDEST: Final = 4
"""What a node must know at least to share what has runs. What others made may be shared with those
that made it, until all nodes know runs (lua/nodes.lua)."""
RESTORING: Final = "restoring"
"""A set beside the schema: namespaces that are not whole yet."""
_LIBRARY: Final[Command] = ("FUNCTION", "LOAD", COMMIT_LIBRARY.text)
_SCRIPTS: Final[tuple[Command, ...]] = tuple(
    ("SCRIPT", "LOAD", script.text) for script in (COMMIT, ANSWER, TRIM)
)
Begun = tuple[Wire, Answers]
"""Commands that were sent, and where."""


@dataclass(frozen=True)
class Server:
    """What a server said of itself when it was connected to."""

    where: str
    name: str
    version: tuple[int, ...]
    clock: int
    """What time it was there, in milliseconds."""
    alike: bool
    """Whether no node of a version without runs may share what is there."""

    @property
    def has_waitaof(self) -> bool:
        """Whether it can confirm that replicas have synced."""
        return self.version >= (7, 2)


def _mono_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Link:
    """One connection. What is asked goes out at once, and is answered in that order.

    Args:
        place: where to connect to.
        key: with which all keys begin that are asked for.
        timeout: seconds an answer may take.
    """

    def __init__(self, place: Place, key: str, timeout: float) -> None:
        self._place = place
        self._key = key
        self._timeout = timeout
        self._connecting = asyncio.Lock()
        self._wire: Wire | None = None
        self._ahead = 0
        self.server: Server | None = None
        self._has_library = False

    def __repr__(self) -> str:
        state = "closed" if self._wire is None else "open"
        return f"<Link {self._place!r} {state}>"

    @property
    def where(self) -> str:
        """The server, for people."""
        return self.server.where if self.server is not None else str(self._place)

    @property
    def schema_key(self) -> str:
        """Where it says what the data there is; see :func:`check`."""
        return f"{self._key}schema"

    @property
    def alike(self) -> bool:
        """Whether no node of a version without runs may share what is there."""
        return self.server is not None and self.server.alike

    @property
    def is_open(self) -> bool:
        """Whether it is connected as far as is known."""
        return self._wire is not None

    async def call(self, *commands: Command) -> list[Any]:
        """Send ``commands`` at once, and their answers.

        Raises:
            StoreUnavailable: one of them failed, or its answer did not come: whether it had any
                effect is unknown.
            StoreError: this Redis cannot be used at all.
        """
        return await self.finish(commands, self.begin(commands))

    def begin(self, commands: Sequence[Command]) -> Begun | None:
        """Send ``commands`` before anybody waits, where it is connected; for :meth:`finish`."""
        wire = self._wire
        return None if wire is None else (wire, wire.send(commands))

    async def finish(self, commands: Sequence[Command], begun: Begun | None) -> list[Any]:
        """The answers to what was begun, or else to ``commands``, which go out now.

        Raises as :meth:`call`.
        """
        where = self.where
        try:
            # Connecting counts, or many would wait for as many timeouts.
            async with asyncio.timeout(self._timeout):
                if begun is None:
                    wire = await self._open()
                    begun = wire, wire.send(commands)
                return await self._answers(commands, begun)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            if begun is not None and not says_nothing_of_the_link(error):
                await self._give_up(begun[0])
            raise unavailable(error, where) from error

    async def _answers(self, commands: Sequence[Command], begun: Begun) -> list[Any]:
        wire, answers = begun
        try:
            return await answers
        except ResponseError as error:
            if not _was_forgotten(error):
                raise
        # It was not run, then.
        await self._load(wire)
        return await wire.send(commands)

    async def _load(self, wire: Wire) -> None:
        await wire.send(_SCRIPTS)
        try:
            await wire.send((_LIBRARY,))
        except ResponseError as error:
            self._has_library = "already exists" in str(error)
        else:
            self._has_library = True

    def commit_call(self, key: str, *arguments: str | bytes | int) -> Command:
        """The command that commits, as the server last connected to takes it."""
        if self._has_library:
            return ("FCALL", COMMIT_LIBRARY.function, 1, key, *arguments)
        return script_call(COMMIT, key, *arguments)

    async def ready(self) -> Server:
        """Connect when it is not connected; what the server said of itself. Raises as `call`."""
        if self._wire is None:
            await self.call()
        assert self.server is not None
        return self.server

    async def _open(self) -> Wire:
        async with self._connecting:
            return self._wire or await self._connect()

    async def _connect(self) -> Wire:
        connection = await self._place.connection(self._key)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            self.server = await check(connection, self._key)
            wire = Wire(connection)
            await self._load(wire)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._wire = wire
        self.learn(self.server.clock)
        return wire

    def learn(self, clock: int) -> None:
        """The server has just said that it is ``clock`` there."""
        self._ahead = clock - _mono_ms()

    @property
    def deadline(self) -> int:
        """By the server's clock, when an answer to what is sent now would come too late."""
        return _mono_ms() + self._ahead + int(self._timeout * 1000)

    async def _give_up(self, wire: Wire) -> None:
        if self._wire is wire:
            self._wire = None
        await wire.close(nowait=True)

    async def drop(self) -> None:
        """Give the connection up; the next request connects again."""
        if self._wire is not None:
            await self._give_up(self._wire)

    async def close(self) -> None:
        """Take leave of the server."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close(nowait=False)


def script_call(script: Script, key: str, *arguments: str | bytes | int) -> Command:
    """The command that runs ``script``."""
    return ("EVALSHA", script.digest, 1, key, *arguments)


async def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send ``commands`` at once and read their answers; raises the first error among them."""
    for command in commands:
        await connection.send_command(*command)
    found: list[Any] = []
    failed: ResponseError | None = None
    for _ in commands:
        try:
            found.append(await connection.read_response())
        except ResponseError as error:  # the answers to the others are still to be read
            failed = failed or error
    if failed is not None:
        raise failed
    return found


def _was_forgotten(error: ResponseError) -> bool:
    """Whether Redis does not know what was to be run."""
    return isinstance(error, NoScriptError) or "Function not found" in str(error)


async def check(connection: AbstractConnection, key: str, *, restores: bool = False) -> Server:
    """Raises StoreError for a server that will never do, StoreUnavailable for one that may.

    Args:
        restores: whoever asks restores a backup, and may find one that was not finished.
    """
    where = where_of(connection)
    schema_key = f"{key}schema"  # a hash: `version` of the newest node, `oldest` that may share it
    role, info, schema, restoring, clock = await exchange(
        connection,
        [
            ("ROLE",),
            ("INFO", "server"),
            ("HMGET", schema_key, "version", "oldest"),
            ("SMEMBERS", f"{key}{RESTORING}"),
            ("TIME",),
        ],
    )
    lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    valkey = lines.get("server_name") == "valkey"
    name = "Valkey" if valkey else "Redis"
    text = lines.get("valkey_version" if valkey else "redis_version", "0")
    version = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    if version < OLDEST_VERSION:
        raise StoreError(f"{where} is {name} {text}: the hub needs Redis 7.0 or later, or Valkey")
    if role[0] != b"master":
        raise StoreUnavailable(f"{where} is a replica: name the master in the URL, or Sentinels")
    known, oldest = (int(part or 0) for part in schema)
    if oldest > SCHEMA:
        raise StoreError(
            f"the data in {where} was made by a newer version (schema {known}; this one knows "
            f"{SCHEMA}): run that version on this node, too"
        )
    if restoring and not restores:
        names = ", ".join(sorted(name.decode() for name in restoring))
        raise StoreError(
            f"a backup of {names} is being restored into {where}, or that was cut short: wait for "
            "its end, or do it again with `broker restore --force`"
        )
    if known < SCHEMA:
        await exchange(connection, [("HSET", schema_key, "version", SCHEMA)])
    if oldest < SCHEMA_OLDEST and (not known or restores):  # nobody serves what is there
        oldest = SCHEMA_OLDEST
        await exchange(connection, [("HSET", schema_key, "oldest", oldest)])
    at = int(clock[0]) * 1000 + int(clock[1]) // 1000
    return Server(where, name, version, at, oldest >= SCHEMA_OLDEST)


def where_of(connection: AbstractConnection) -> str:
    """The other end, for people."""
    told = dict(connection.repr_pieces())  # type: ignore[no-untyped-call]
    return str(told["path"]) if "path" in told else f"{told.get('host')}:{told.get('port')}"


def says_nothing_of_the_link(error: BaseException) -> bool:
    """Whether the connection is as good as before: the server refused, and goes on serving."""
    return isinstance(error, ResponseError) and not isinstance(
        error, ReadOnlyError | MasterDownError | ClusterDownError | AskError
    )
