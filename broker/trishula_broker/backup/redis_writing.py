"""Writes into Redis what the keys of a namespace held, with numbers that nobody has seen."""

from __future__ import annotations

import asyncio
from typing import Final

from redis.asyncio.connection import AbstractConnection

from trishula_broker.backup import ahead, records
from trishula_broker.backup.records import Record
from trishula_broker.backup.redis_reading import MEMBERS, pairs
from trishula_broker.store.base import StoreError
from trishula_broker.store.redis.link import Command, exchange
from trishula_broker.store.redis.page import counted, moved
from trishula_broker.store.redis.space import prefix

BYTES: Final = 1 << 20
"""That go to Redis at once."""
ANSWER_S: Final = 60.0
"""That an answer may take."""
_NOT_RESTORED: Final = frozenset(("nodes", "told", "archivers"))
"""Who served and archived is over; each says anew who it is. So are :data:`_ARCHIVERS`."""
_ARCHIVERS: Final = ("heads:", "digests:")
_ADDS: Final = {"hash": "HSET", "zset": "ZADD", "set": "SADD"}


class Writing:
    """A namespace on its way from a file into Redis."""

    def __init__(self, connection: AbstractConnection, namespace: str) -> None:
        self._connection = connection
        self._key = prefix(namespace)
        self._reader = records.Reader()
        self._commands: list[Command] = []
        self._size = 0
        self._state: dict[bytes, bytes] = {}
        self._in_runs: dict[bytes, int] = {}

    @property
    def runs(self) -> tuple[int, int]:
        """How many runs were written, and how many messages they have."""
        return len(self._in_runs), sum(self._in_runs.values())

    async def add(self, data: bytes) -> None:
        """The next piece of the file."""
        try:
            for record in self._reader.feed(data):
                self._put(record)
                if self._size >= BYTES:
                    await self._flush()
        except ValueError as error:
            raise StoreError(f"the backup has a record that is none ({error})") from None

    async def finish(self) -> None:
        """That was all."""
        try:
            self._reader.end()
        except ValueError as error:
            raise StoreError(f"the backup has a record that is none ({error})") from None
        state = self._state
        seq = int(state.get(b"seq", 0))
        jump = seq + ahead.SEQS
        state.pop(b"leader", None)
        state[b"archivers"] = b"0"
        for name, by in (
            (b"seq", ahead.SEQS),
            (b"epoch", ahead.EPOCHS),
            (b"lead", ahead.EPOCHS),
            (b"trail", ahead.ENTRIES),
        ):
            state[name] = b"%d" % (int(state.get(name, 0)) + by)
        state[b"trail_first"] = b"%d" % (int(state.get(b"trail_first", 1)) + ahead.ENTRIES)
        self._write("hash", "state", [each for pair in state.items() for each in pair])
        # Trimming looks at one seq after another, and finds the next one here (lua/trim.lua).
        self._write("hash", "jumps", [b"%d" % (seq + 1), b"%d" % (jump + 1)])
        await self._flush()

    def _put(self, record: Record) -> None:
        key = record.key
        if key in _NOT_RESTORED or key.startswith(_ARCHIVERS):
            return
        if key == "state":
            self._state |= pairs(record.members)
        elif key == "trail":
            for at in range(0, len(record.members), 2):
                record.members[at] = b"%d" % (int(record.members[at]) + ahead.ENTRIES)
            self._write(record.kind, key, record.members)
        elif key == "runs":
            for first, run in pairs(record.members).items():
                self._in_runs[first] = counted(first, run).all
                self._write(record.kind, key, [first, moved(run, ahead.ENTRIES)])
        elif key == "runs:kept_at":
            for at in range(1, len(record.members), 2):
                record.members[at] = b"%d" % (int(record.members[at]) + ahead.ENTRIES)
            self._write(record.kind, key, record.members)
        else:
            self._write(record.kind, key, record.members)

    def _write(self, kind: str, key: str, members: list[bytes]) -> None:
        if kind == "zset":  # as they are read, a member comes before its score
            members = [
                each for at in range(0, len(members), 2) for each in members[at : at + 2][::-1]
            ]
        for at in range(0, len(members), 2 * MEMBERS):
            some = members[at : at + 2 * MEMBERS]
            self._commands.append((_ADDS[kind], f"{self._key}{key}", *some))
            self._size += sum(map(len, some)) + len(key)

    async def _flush(self) -> None:
        if self._commands:
            async with asyncio.timeout(ANSWER_S):
                await exchange(self._connection, self._commands)
        self._commands, self._size = [], 0
