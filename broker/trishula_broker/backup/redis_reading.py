"""Reads what the keys of namespaces hold, while nobody writes to them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

import msgspec
from redis.asyncio.connection import AbstractConnection

from trishula_broker.backup import records
from trishula_broker.backup.bundle import Progress
from trishula_broker.backup.errors import BackupError
from trishula_broker.backup.manifest import Namespace
from trishula_broker.backup.records import Record
from trishula_broker.store.base import StoreError
from trishula_broker.store.redis.link import RESTORING, Command, exchange
from trishula_broker.store.redis.page import Counted, counted
from trishula_broker.store.redis.scripts import READ
from trishula_broker.store.redis.space import prefix

KEYS: Final = 200
"""That are read at once."""
SMALL: Final = 64
"""Members of a key up to which it is read at once; a larger one comes in pieces."""
PIECE: Final = {"log": 64, "trail": 64, "runs:heads": 16, "runs:bodies": 4, "runs:kept": 4}
"""Members of a piece, of keys with large ones ..."""
MEMBERS: Final = 1_000
"""... and of others; Redis takes its time for more."""
BACKUP: Final = "backup"
"""A key beside the schema, while a backup is being made."""
_NOT_OF_A_NAMESPACE: Final = frozenset(("schema", "namespaces", RESTORING, BACKUP))
_SCANS: Final = {"hash": "HSCAN", "zset": "ZSCAN", "set": "SSCAN"}
_KEY: Final = re.compile(rb"trishula:\{(.*?)\}:(.*)", re.DOTALL)
_node: Final = msgspec.msgpack.Decoder().decode


class Reading:
    """A namespace on its way into a file."""

    def __init__(self, name: str, number: int, folder: Path) -> None:
        self.name = name
        self.part = f"redis/{number}.records"
        self.path = folder / f"{number}.records"
        self._counts: dict[str, int] = {}
        self._state: dict[bytes, bytes] = {}
        self._runs: dict[bytes, Counted] = {}
        self.path.touch(0o600)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        try:
            self._file.close()
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def count(self, key: str, count: int) -> None:
        """A key has so many members."""
        what = "waiting" if key.startswith("q:") else key
        self._counts[what] = self._counts.get(what, 0) + count

    def add(self, record: Record) -> int:
        """Write it; how many bytes that took."""
        if record.key == "state":
            self._state |= pairs(record.members)
        if record.key == "runs":
            found = pairs(record.members)
            self._runs |= {first: counted(first, run) for first, run in found.items()}
        assert self._file is not None
        try:
            return records.write(self._file, record)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def counted(self) -> Namespace:
        """What was read."""
        count, runs = self._counts.get, self._runs.values()
        queued = sum(1 for run in runs if run.waiting)  # each is there once, however many wait
        return Namespace(
            self.name,
            count("agents", 0),
            count("log", 0) + sum(run.all for run in runs),
            count("waiting", 0) - queued + sum(run.waiting for run in runs),
            int(self._state.get(b"seq", 0)),
            int(self._state.get(b"trail", 0)),
        )


def _unwritable(path: Path, error: OSError) -> BackupError:
    where = path.parent.parent
    return BackupError(where, f"cannot be written ({error.strerror or error}): make room there")


async def read(
    connection: AbstractConnection, wanted: dict[str, Reading], progress: Progress
) -> None:
    done = 0
    batch: list[tuple[str, str, bytes]] = []

    async def flush() -> None:
        nonlocal done
        keys = [key for *_, key in batch]
        asked: Command = ("EVALSHA_RO", READ.digest, len(keys), *keys, SMALL)
        (answers,) = await exchange(connection, [asked])
        for (name, suffix, key), (kind, count, members) in zip(batch, answers, strict=True):
            reading = wanted[name]
            kind = kind.decode()
            if kind not in _SCANS:
                raise StoreError(f"the key {key!r} is a {kind}, which is none of a hub's")
            reading.count(suffix, count)
            if members is not None:
                done += reading.add(Record(suffix, kind, members))
            else:
                async for some in _members(connection, kind, key, suffix):
                    done += reading.add(Record(suffix, kind, some))
                    progress("reading", done, 0)
        progress("reading", done, 0)
        batch.clear()

    async for name, suffix, key in keys_of(connection):
        if name in wanted:
            batch.append((name, suffix, key))
            if len(batch) == KEYS:
                await flush()
    if batch:
        await flush()


async def keys_of(connection: AbstractConnection) -> AsyncIterator[tuple[str, str, bytes]]:
    """Every key of every namespace on a server, once: its namespace, its name there, and itself."""
    seen: set[bytes] = set()
    cursor: bytes | int = 0
    while True:
        scan: Command = ("SCAN", cursor, "MATCH", "trishula:{*}:*", "COUNT", MEMBERS)
        ((cursor, keys),) = await exchange(connection, [scan])
        for key in keys:
            found = _KEY.fullmatch(key)
            if found is None or key in seen:
                continue
            seen.add(key)
            name, suffix = (part.decode(errors="surrogateescape") for part in found.groups())
            if suffix not in _NOT_OF_A_NAMESPACE:
                yield name, suffix, key
        if cursor == b"0":
            return


async def _members(
    connection: AbstractConnection, kind: str, key: bytes, suffix: str
) -> AsyncIterator[list[bytes]]:
    """The members of a large key; one may come twice."""
    cursor: bytes | int = 0
    while True:
        scan: Command = (_SCANS[kind], key, cursor, "COUNT", PIECE.get(suffix, MEMBERS))
        ((cursor, members),) = await exchange(connection, [scan])
        if members:
            yield members
        if cursor == b"0":
            return


async def alive_node(connection: AbstractConnection, namespace: str) -> str:
    """A node that serves the namespace as far as can be known; empty for none."""
    found, clock = await exchange(connection, [("HGETALL", f"{prefix(namespace)}nodes"), ("TIME",)])
    now = int(clock[0]) * 1000 + int(clock[1]) // 1000
    for name, packed in pairs(found).items():
        node: list[Any] = _node(packed)  # lua/nodes.lua: lease_ms, beat_at, …, alive
        if node[6] and now < node[4] + node[3]:
            return name.decode()
    return ""


def pairs(members: Sequence[bytes]) -> dict[bytes, bytes]:
    """Fields and values, as Redis gives those of a hash."""
    return dict(zip(members[::2], members[1::2], strict=True))
