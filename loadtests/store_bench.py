"""How fast a store is, alone: ``python -m loadtests.store_bench [--redis]``.

Accepts messages with 200-byte payloads in batches and settles each batch, every commit synced
(SQLite with ``synchronous=FULL``, or a Redis of its own with ``appendfsync always``); and accepts
fan-outs to 100 agents. Prints the median of several rounds, which take turns so that a busy moment
does not fall on one of them alone, and what a sync of the same disk took in between: a batch takes
two of them. ``--directory /dev/shm`` shows what is left without a disk. For Redis it also prints
what the scripts themselves took, by the clock, and the server's processor time; and as a floor what
a script costs that adds the same bodies to a stream and takes as many out of it, and knows nothing
of ids, mailboxes or copies. ``--trail`` measures each with and without an archiver in turn: it
reads the trail meanwhile, as the audit does, and says once a second how far it is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import redis.asyncio

from loadtests.bench import cpu_s
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore
from trishula_broker.store.sqlite import SqliteStore
from trishula_protocol.address import parse_address
from trishula_protocol.ids import IdMaker

PAYLOAD = "x" * 200
AGENTS = 100
_new_id = IdMaker(seed=0x5EED)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _accept(sender: str, epoch: int, to: str) -> base.Accept:
    now = _now()
    id_ = _new_id(now)
    body = (
        f'{{"type":"COMMAND","id":"{id_}","from":"{sender}","to":"{to}","timestamp":{now},'
        f'"thread":"{id_}","payload":{{"text":"{PAYLOAD}"}}}}'
    )
    address = parse_address(to)
    return base.Accept(
        sender, epoch, address, id_, "COMMAND", 3, None, None, False, None, body.encode()
    )


class Bench:
    """An open store with its agents registered."""

    def __init__(self, store: base.Store, trail: bool) -> None:
        self._store = store
        self._trail = trail
        self._epochs: dict[str, int] = {}
        self._pos = 0
        self._archived_at = 0

    async def register(self) -> None:
        """Make the agents known, all of one group."""
        names = [f"agent{n:03}" for n in range(AGENTS + 1)]
        ops = [base.Register(n, "n", "s", True, False, 60_000, (), ("all",)) for n in names]
        for name, outcome in zip(names, await self.commit(ops), strict=True):
            assert isinstance(outcome, base.Registered)
            self._epochs[name] = outcome.epoch
        if self._trail:
            await self.commit([base.Archive("n", 0)])

    async def archive(self) -> None:
        """What an archiver does after each commit: read, and now and then say how far it is."""
        if not self._trail:
            return
        for entry in await self._store.query("default", base.Trail(self._pos, 1_000)):
            self._pos = entry.pos
        if _now() >= self._archived_at + 1_000:
            self._archived_at = _now()
            await self.commit([base.Archive("n", self._pos)])

    async def commit(self, ops: Sequence[base.Operation]) -> list[base.Outcome]:
        """One batch in the only namespace."""
        return (await self._store.commit(_now(), [base.Batch("default", ops)]))[0]

    async def accept_and_settle(self, messages: int, batch: int) -> float:
        """Messages a second through a mailbox; making the operations is not counted."""
        sender, taker = "agent000", "agent001"
        spent = 0.0
        for _ in range(0, messages, batch):
            accepts: list[base.Operation] = [
                _accept(sender, self._epochs[sender], taker) for _ in range(batch)
            ]
            start = time.perf_counter()
            outcomes = await self.commit(accepts)
            at = _now()
            settles: list[base.Operation] = []
            for n in range(0, batch, 20):
                seqs = tuple(o.seq for o in outcomes[n : n + 20] if isinstance(o, base.Accepted))
                settles.append(base.Settle(taker, self._epochs[taker], seqs, (at,) * len(seqs)))
            await self.commit(settles)
            await self.archive()
            spent += time.perf_counter() - start
        return messages / spent

    async def fan_out(self, messages: int, batch: int) -> float:
        """Copies a second of messages to a group of 100 others."""
        spent = 0.0
        for _ in range(0, messages, batch):
            accepts: list[base.Operation] = [
                _accept("agent000", self._epochs["agent000"], "#all") for _ in range(batch)
            ]
            start = time.perf_counter()
            await self.commit(accepts)
            await self.archive()
            spent += time.perf_counter() - start
        return messages * AGENTS / spent


_FLOOR = """#!lua name=floor
redis.register_function('floor', function(keys, argv)
  local bodies = cmsgpack.unpack(argv[1])
  local seqs = {}
  for i = 1, #bodies do seqs[i] = redis.call('XADD', keys[1], '*', 'm', bodies[i]) end
  return seqs
end)
redis.register_function('over', function(keys, argv)
  return redis.call('XDEL', keys[1], unpack(cmsgpack.unpack(argv[1])))
end)
"""


async def _floor(server: RedisServer, messages: int, batch: int) -> float:
    """Messages a second through a stream."""
    pack = msgspec.msgpack.encode
    spent = 0.0
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.function_load(_FLOOR)
        for _ in range(0, messages, batch):
            bodies = [_accept("agent000", 1, "agent001").body.decode() for _ in range(batch)]
            start = time.perf_counter()
            seqs = await client.fcall("floor", 1, "stream", pack(bodies))
            await client.fcall("over", 1, "stream", pack([seq.decode() for seq in seqs]))
            spent += time.perf_counter() - start
    return messages / spent


def _sync_ms(where: str | None) -> float:
    """Milliseconds that writing and syncing 200 KB takes, the median of several times."""
    spent: list[float] = []
    with tempfile.TemporaryFile(dir=where) as file:
        for _ in range(20):
            file.write(b"x" * 200_000)
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append((time.perf_counter() - start) * 1000)
    return statistics.median(spent)


async def _measure_floor(messages: int, where: str | None) -> tuple[float, str]:
    with tempfile.TemporaryDirectory(prefix="store-bench", dir=where) as directory:
        server = RedisServer(Path(directory))
        server.start()
        try:
            server.ask("CONFIG", "RESETSTAT")
            figure = await _floor(server, messages, 100)
            return figure, _scripts_took(server)
        finally:
            server.kill()


async def _measure(
    run: Callable[[Bench], Awaitable[float]], where: str | None, on_redis: bool, trail: bool
) -> tuple[float, str]:
    with tempfile.TemporaryDirectory(prefix="store-bench", dir=where) as directory:
        server = RedisServer(Path(directory)) if on_redis else None
        store: base.Store = SqliteStore(Path(directory))
        if server is not None:
            server.start()
            store = RedisStore(server.url, node="n")
        try:
            await store.open()
            bench = Bench(store, trail)
            await bench.register()
            if server is None:
                return await run(bench), ""
            server.ask("CONFIG", "RESETSTAT")
            figure = await run(bench)
            return figure, _scripts_took(server)
        finally:
            await store.close()
            if server is not None:
                server.kill()


def _scripts_took(server: RedisServer) -> str:
    """How long the server was busy with scripts and in all, and what it keeps."""
    text = server.ask("INFO", "commandstats", "memory")
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    stats = dict(item.split("=") for item in found["cmdstat_fcall"].split(","))
    seconds = int(stats["usec"]) / 1e6
    memory = int(found["used_memory"]) / 1e6
    return f"scripts {seconds:.2f} s, processor {cpu_s(server.pid):.2f} s, {memory:.0f} MB"


def main() -> None:
    """Run the rounds and print a line for each measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--directory", help="where the databases are made")
    parser.add_argument("--redis", action="store_true", help="measure the Redis store")
    parser.add_argument("--trail", action="store_true", help="with and without an archiver")
    options = parser.parse_args()
    runs: dict[str, Callable[[Bench], Awaitable[float]]] = {
        "accept + settle, batches of 100: messages/s": (
            lambda bench: bench.accept_and_settle(options.messages, 100)
        ),
        "accept + settle, batches of 400: messages/s": (
            lambda bench: bench.accept_and_settle(options.messages, 400)
        ),
        "accept, fan-out to 100, batches of 20: copies/s": lambda bench: bench.fan_out(1_000, 20),
    }
    ways = (False, True) if options.trail else (False,)
    results: dict[tuple[str, bool], list[float]] = {(n, w): [] for n in runs for w in ways}
    more: dict[tuple[str, bool], str] = {}
    syncs: list[float] = []
    floors: list[float] = []
    for _ in range(options.rounds):
        for name, trail in results:
            syncs.append(_sync_ms(options.directory))
            run = runs[name]
            measured = asyncio.run(_measure(run, options.directory, options.redis, trail))
            results[name, trail].append(measured[0])
            more[name, trail] = measured[1]
        if options.redis:
            measured = asyncio.run(_measure_floor(options.messages, options.directory))
            floors.append(measured[0])
            more["floor", False] = measured[1]
    print(f"a sync: {statistics.median(syncs):.2f} ms  ({min(syncs):.2f}-{max(syncs):.2f})")
    for (name, trail), figures in results.items():
        low, high = min(figures), max(figures)
        figure = f"{statistics.median(figures):>10,.0f}  ({low:,.0f}-{high:,.0f})"
        kept = ", with the trail" if trail else ""
        print(f"{name}{kept} {figure}  {more[name, trail]}".rstrip())
        if trail:
            ratios = [a / b for a, b in zip(figures, results[name, False], strict=True)]
            print(f"    of that without: {statistics.median(ratios):.2f}")
    if floors:
        figure = f"{statistics.median(floors):>10,.0f}  ({min(floors):,.0f}-{max(floors):,.0f})"
        print(f"floor: a stream, batches of 100: messages/s {figure}  {more['floor', False]}")


if __name__ == "__main__":
    main()
