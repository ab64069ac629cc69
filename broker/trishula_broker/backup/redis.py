"""Backups of namespaces in Redis: read while nobody may write, put back where no hub serves.

The moment. A namespace is many keys, and a commit changes several of them, so they must be read
while nobody commits. ``CLIENT PAUSE WRITE`` has Redis hold back what writes, of whoever, also of
hubs of other versions; it answers questions meanwhile, costs a commit nothing while no backup is
made, and ends by itself should the backup die. Hubs wait: up to ``redis.timeout_s`` nobody notices,
then they say ``unavailable``. What takes longer than the pause may last is no backup, and is
refused. All namespaces of a server are read in one pause; in a cluster each has its own.

What a backup has is what keys hold (:mod:`.records`), not how a server keeps it: it may be put back
into a Redis or Valkey of another version.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from trishula_broker.backup.bundle import Progress
from trishula_broker.backup.errors import BackupError
from trishula_broker.backup.manifest import Manifest, Namespace, Part
from trishula_broker.backup.redis_reading import (
    BACKUP,
    MEMBERS,
    Reading,
    alive_node,
    keys_of,
    read,
)
from trishula_broker.backup.redis_writing import ANSWER_S, Writing
from trishula_broker.store.base import StoreError
from trishula_broker.store.redis.failures import unavailable
from trishula_broker.store.redis.link import RESTORING, Command, check, exchange
from trishula_broker.store.redis.scripts import READ
from trishula_broker.store.redis.space import prefix
from trishula_broker.store.redis.store import CONNECT_TIMEOUT, HOME
from trishula_broker.store.redis.urls import place_of

GRACE_MS: Final = 5_000
"""That the mark of a backup stays when nobody removes it."""


class Copied(NamedTuple):
    """What was read."""

    moment: int
    """By the clock of Redis, in milliseconds."""
    schema: int
    namespaces: tuple[Namespace, ...]
    files: dict[str, Path]
    """By part."""
    of: dict[str, str]
    """By part, whose it is."""
    stood_s: float
    """How long nobody could commit."""


class Source:
    """A Redis to back up, or to restore into.

    Args:
        url, options: as of a :class:`~trishula_broker.store.redis.RedisStore`.
        longest_pause: seconds that nobody may be able to commit.

    Raises:
        BackupError: the URL cannot be understood.
    """

    def __init__(self, url: str, options: dict[str, Any], longest_pause: float) -> None:
        try:
            self._place = place_of(
                url,
                options.get("username"),
                options.get("password"),
                options.get("tls") or {},
                CONNECT_TIMEOUT,
            )
        except StoreError as error:
            raise BackupError("redis.url", str(error)) from None
        self._longest = longest_pause

    def __repr__(self) -> str:
        return f"<Source {self.where}>"

    @property
    def where(self) -> str:
        """The server, for people."""
        return str(self._place)

    def _home(self, namespace: str) -> str:
        """With what the keys begin that say what is on the namespace's server."""
        return prefix(namespace) if self._place.sharded else HOME

    # --- backing up ---------------------------------------------------------------------------

    async def copy(self, folder: Path, wanted: Sequence[str], progress: Progress) -> Copied:
        """Read ``wanted`` namespaces, or all of them, into files in ``folder``.

        Raises:
            BackupError: it cannot be done, or takes longer than it may.
        """
        async with self._told(), self._connected(HOME) as home:
            there = await self._namespaces(home)
            missing = sorted(set(wanted) - set(there))
            if missing:
                raise BackupError(
                    self.where,
                    f"has no namespace {missing[0]!r}: {', '.join(there) or 'none'} is there",
                )
            names = [name for name in there if not wanted or name in wanted]
            if not names:
                raise BackupError(self.where, "has no namespace: there is nothing to back up")
            groups = [[name] for name in names] if self._place.sharded else [names]
            found: list[Reading] = []
            stood, moment, schema = 0.0, 0, 0
            for group in groups:
                async with self._connected(self._home(group[0])) as connection:
                    reading = [
                        Reading(name, len(found) + n, folder) for n, name in enumerate(group)
                    ]
                    key = f"{self._home(group[0])}schema"
                    (known,) = await exchange(connection, [("HGET", key, "version")])
                    at, lasted = await self._read_paused(connection, reading, progress)
                    found += reading
                    moment = min(moment or at, at)
                    stood = max(stood, lasted)
                    schema = max(schema, int(known or 0))
        return Copied(
            moment,
            schema,
            tuple(each.counted() for each in found),
            {each.part: each.path for each in found},
            {each.part: each.name for each in found},
            stood,
        )

    async def _namespaces(self, home: AbstractConnection) -> list[str]:
        (names,) = await exchange(home, [("SMEMBERS", f"{HOME}namespaces")])
        return sorted(name.decode() for name in names)

    async def _read_paused(
        self, connection: AbstractConnection, found: list[Reading], progress: Progress
    ) -> tuple[int, float]:
        """Read ``found`` while nobody writes: when that was, and for how many seconds."""
        home = self._home(found[0].name)
        length = max(1, int(self._longest * 1000))
        own: Command = ("SET", f"{home}{BACKUP}", 1, "NX", "PX", length + GRACE_MS)
        _, free = await exchange(connection, [("SCRIPT", "LOAD", READ.text), own])
        if free is None:
            raise BackupError(
                self.where, "another backup of it is being made, and would end the pause: wait"
            )
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._longest):
                _, clock = await exchange(
                    connection, [("CLIENT", "PAUSE", length, "WRITE"), ("TIME",)]
                )
                with ExitStack() as files:
                    wanted = {each.name: files.enter_context(each) for each in found}
                    await read(connection, wanted, progress)
            if time.monotonic() - begun >= self._longest:
                raise TimeoutError  # this process itself stood still
        except TimeoutError:
            raise BackupError(
                self.where,
                f"was not read within {self._longest:g} s, for which commits waited: allow more "
                "with --longest-pause when there is little to do, or take one --namespace at a "
                "time",
            ) from None
        finally:
            await self._resume(home)
        return int(clock[0]) * 1000 + int(clock[1]) // 1000, time.monotonic() - begun

    async def _resume(self, home: str) -> None:
        """Let everybody write again, by a connection that has nothing on its way. Should that
        fail, the pause ends by itself."""
        try:
            async with asyncio.timeout(ANSWER_S), self._connected(home) as connection:
                await exchange(connection, [("CLIENT", "UNPAUSE"), ("DEL", f"{home}{BACKUP}")])
        except (RedisError, OSError, StoreError):
            pass

    # --- putting back ---------------------------------------------------------------------------

    async def put(
        self,
        manifest: Manifest,
        parts: Iterator[tuple[Part, Iterator[bytes]]],
        progress: Progress,
        *,
        force: bool,
    ) -> None:
        """Write what ``parts`` have, with numbers that nobody has seen.

        Args:
            force: remove what the namespaces have now.

        Raises:
            BackupError: it is refused; or Redis failed, and the namespaces are left so that no
                hub takes them for whole.
        """
        names = [each.name for each in manifest.namespaces]
        async with self._told():
            for home in dict.fromkeys(map(self._home, names)):
                here = [name for name in names if self._home(name) == home]
                async with self._connected(home, restores=True) as connection:
                    await self._make_way(connection, home, here, force)
            done, total = 0, sum(part.bytes for part in manifest.parts)
            for part, content in parts:
                home = self._home(part.namespace)
                async with self._connected(home, restores=True) as connection:
                    writer = Writing(connection, part.namespace)
                    for data in content:
                        done += len(data)
                        await writer.add(data)
                        progress("restoring", done, total)
                    await writer.finish()
                    await self._compare(connection, manifest, part.namespace, writer.runs)
            for home in dict.fromkeys(map(self._home, names)):
                async with self._connected(home, restores=True) as connection:
                    here = [name for name in names if self._home(name) == home]
                    await exchange(connection, [("SREM", f"{home}{RESTORING}", *here)])
            async with self._connected(HOME, restores=True) as connection:
                await exchange(connection, [("SADD", f"{HOME}namespaces", *names)])

    async def _make_way(
        self, connection: AbstractConnection, home: str, names: Sequence[str], force: bool
    ) -> None:
        """Mark the namespaces as not whole, and remove what they have."""
        for name in names:
            alive = await alive_node(connection, name)
            if alive:
                raise BackupError(
                    self.where,
                    f"{alive} serves namespace {name!r} there: stop every hub, and restore then",
                )
        there: dict[str, list[bytes]] = {}
        async for name, _, key in keys_of(connection):
            if name in names:
                there.setdefault(name, []).append(key)
        (unfinished,) = await exchange(connection, [("SMEMBERS", f"{home}{RESTORING}")])
        if there and not force:
            name, keys = next(iter(sorted(there.items())))
            cut = name.encode() in unfinished
            what = "from a restore that was cut short" if cut else "which --force removes"
            raise BackupError(
                self.where,
                f"namespace {name!r} is not empty: it has {len(keys)} keys, {what}; say --force to "
                "replace it, or name another Redis",
            )
        await exchange(connection, [("SADD", f"{home}{RESTORING}", *names)])
        for keys in there.values():
            for at in range(0, len(keys), MEMBERS):
                await exchange(connection, [("UNLINK", *keys[at : at + MEMBERS])])

    async def _compare(
        self,
        connection: AbstractConnection,
        manifest: Manifest,
        namespace: str,
        runs: tuple[int, int],
    ) -> None:
        """Whether all of it is there; ``runs``: how many were written, of how many messages."""
        key = prefix(namespace)
        asked: list[Command] = [("HLEN", f"{key}{name}") for name in ("log", "runs", "agents")]
        alone, kept, agents = await exchange(connection, asked)
        found = [alone + (runs[1] if kept == runs[0] else kept), agents]
        (wanted,) = (each for each in manifest.namespaces if each.name == namespace)
        if found != [wanted.messages, wanted.agents]:
            raise BackupError(
                self.where,
                f"namespace {namespace!r} has {found[0]} messages and {found[1]} agents now, and "
                f"the backup {wanted.messages} and {wanted.agents}: does something else write "
                "there, or remove keys? Restore again with --force",
            )

    # --- connections ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(
        self, key: str, *, restores: bool = False
    ) -> AsyncIterator[AbstractConnection]:
        connection = await self._place.connection(key)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await check(connection, key, restores=restores)
            yield connection
        finally:
            await connection.disconnect(nowait=True)

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """What Redis says no with is told as it is."""
        try:
            yield
        except StoreError as error:
            raise BackupError(self.where, str(error)) from None
        except ResponseError as error:
            raise BackupError(
                self.where, f"refused it ({error}): may its user do that, and is there room?"
            ) from None
        except (RedisError, OSError) as error:
            raise BackupError(self.where, str(unavailable(error, self.where))) from None
