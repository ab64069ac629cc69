"""One job with one broker that runs: starts the processes, brings them together, adds it up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from loadtests.peers.child import Spec
from loadtests.peers.jobs import RATE, WINDOW, Figures, Job
from loadtests.peers.peer import NotHere, clean_environment
from loadtests.peers.registry import PEERS

ROOT: Final = Path(__file__).parents[2]
PEERS_PYTHON: Final = ROOT / ".venv" / "peers" / "bin" / "python"
START_SECONDS: Final = 60.0
END_SECONDS: Final = 2.0
"""How long a process has to end once its standard input has."""
QUIET_SECONDS: Final = 5.0
"""When nothing has come for so long, nothing more will."""
RECEIVERS: Final = 2
"""Processes among which the members of a fan-out are divided."""

_numbers = itertools.count()


class ChildFailed(Exception):
    """A process ended without what it was asked for; its last words."""


class Child:
    """A process of :mod:`loadtests.peers.child`, or another that speaks in lines of JSON.

    Args:
        errors: reads what it says on standard error, where that is not the parent's.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, errors: asyncio.Task[bytes] | None = None
    ) -> None:
        self._process = process
        self._errors = errors

    async def hear(self, seconds: float) -> dict[str, Any]:
        """The next line.

        Raises:
            ChildFailed: it has ended, or is silent.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ChildFailed(f"nothing was heard for {seconds:g} s") from None
        if not line:
            said = b"" if self._errors is None else await self._errors
            words = said.decode(errors="replace").strip().splitlines()
            raise ChildFailed(words[-1] if words else "it ended in silence")
        found: dict[str, Any] = msgspec.json.decode(line)
        return found

    def tell(self, **what: Any) -> None:
        """A line to it."""
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(msgspec.json.encode(what) + b"\n")


def interpreter(peer: str) -> str:
    """The Python that has the peer's client.

    Raises:
        NotHere: none has.
    """
    if PEERS[peer].own:
        return sys.executable
    if PEERS_PYTHON.exists():
        return str(PEERS_PYTHON)
    # redis-py is the project's own client of Redis, too.
    if peer == "redis-streams":
        return sys.executable
    raise NotHere("its Python client is not installed; `make peers` does it")


@contextlib.asynccontextmanager
async def child(spec: Spec) -> AsyncIterator[Child]:
    """A process that ends with the context.

    Raises:
        NotHere: its interpreter is not installed.
    """
    path = os.pathsep.join(str(ROOT / part) for part in ("protocol", "client", "broker"))
    process = await asyncio.create_subprocess_exec(
        *(interpreter(spec.peer), "-m", "loadtests.peers.child"),
        msgspec.json.encode(spec).decode(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": path},
    )
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    try:
        yield Child(process, errors)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await errors


async def versions(peer: str) -> dict[str, str]:
    """What its clients are."""
    async with child(Spec(peer, "versions")) as asked:
        found: dict[str, str] = (await asked.hear(START_SECONDS))["versions"]
        return found


async def measure(peer: str, address: str, job: Job, seconds: float) -> Figures:
    """The job once.

    Raises:
        ChildFailed: a process did not do its part.
        NotHere: what it needs is not installed.
    """
    name = f"t{next(_numbers)}"
    if job.kind == "calls":
        return await _calls(peer, address, name, seconds)
    topics = [f"{name}x{number}" for number in range(job.topics)]
    members = [
        (topic, f"m{number}" if job.members > 1 else "")
        for topic in topics
        for number in range(job.members)
    ]
    parts = RECEIVERS if job.members > 1 else 1
    receiving = Spec(peer, "receive", address)
    async with contextlib.AsyncExitStack() as stack:
        receivers = []
        for part in range(parts):
            spec = msgspec.structs.replace(receiving, members=members[part::parts])
            receivers.append(await stack.enter_async_context(child(spec)))
        for each in receivers:
            await each.hear(START_SECONDS)
        sender = await stack.enter_async_context(
            child(
                Spec(
                    peer,
                    "send",
                    address,
                    topics,
                    fan_out=job.members,
                    seconds=seconds,
                    window=WINDOW,
                    rate=RATE if job.kind == "latency" else 0,
                )
            )
        )
        await sender.hear(START_SECONDS)
        return await _follow(sender, receivers, job, seconds)


async def _follow(sender: Child, receivers: list[Child], job: Job, seconds: float) -> Figures:
    """From the word to begin until everything has come, or nothing comes any more."""
    counts = [0 for _ in receivers]
    changed = asyncio.Event()

    async def listen(number: int) -> dict[str, Any]:
        """What a process of receivers says at its end."""
        while (said := await receivers[number].hear(START_SECONDS))["event"] == "progress":
            if said["received"] != counts[number]:
                counts[number] = said["received"]
                changed.set()
                sender.tell(received=sum(counts))
        return said

    sender.tell(go=True)
    listening = [asyncio.ensure_future(listen(number)) for number in range(len(receivers))]
    sending = asyncio.ensure_future(sender.hear(seconds + START_SECONDS))
    try:
        await asyncio.wait({sending, *listening}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            await asyncio.gather(*listening)  # one of them has failed
        sent = await sending
        expected = sent["sent"] * job.members
        for each in receivers:
            each.tell(expect=expected // len(receivers))
        while not all(each.done() for each in listening):
            changed.clear()
            quiet = asyncio.ensure_future(asyncio.wait_for(changed.wait(), QUIET_SECONDS))
            await asyncio.wait({quiet, *listening}, return_when=asyncio.FIRST_COMPLETED)
            if quiet.done() and quiet.exception() is not None:
                for each in receivers:
                    each.tell(over=True)
            quiet.cancel()
            await asyncio.wait({quiet})
        ends = await asyncio.gather(*listening)
    finally:
        for task in (sending, *listening):
            task.cancel()
        await asyncio.wait({sending, *listening})
    received = sum(end["received"] for end in ends)
    took = (max(end["end_ns"] for end in ends) - sent["start_ns"]) / 1e9
    return Figures(
        per_s=received / took,
        confirmed_per_s=sent["sent"] / ((sent["confirmed_ns"] - sent["start_ns"]) / 1e9),
        p50_ms=max(end["p50_ms"] for end in ends),
        p99_ms=max(end["p99_ms"] for end in ends),
        max_ms=max(end["max_ms"] for end in ends),
        messages=sent["sent"],
        lost=expected - received,
        duplicates=sum(end["duplicates"] for end in ends),
    )


async def _calls(peer: str, address: str, name: str, seconds: float) -> Figures:
    spec = Spec(peer, "serve", address, [f"{name}q", f"{name}a"], seconds=seconds)
    async with child(spec) as server:
        await server.hear(START_SECONDS)
        async with child(msgspec.structs.replace(spec, role="call")) as caller:
            found = await caller.hear(seconds + START_SECONDS)
    found.pop("event")
    return Figures(**found)
