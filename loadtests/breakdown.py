"""Where the time of one message goes: processor µs by part, for sender, hub and receiver.

    python -m loadtests.breakdown [--messages N] [--window N] [-- HUB OPTIONS]

One sender, one receiver, one hub on SQLite, as in :mod:`loadtests.bench`. Each process is sampled
by py-spy (`make peers` installs it) while it works; a sample belongs to the innermost frame whose
file has a part below. The shares are applied to the processor time that the system counted, of the
event loop's thread and of all others. What a thread waits for (the disk, the GIL) is no processor
time: the system does not count it, and samples of waiting threads are left out. Sampling slows what
is sampled by a fifth or so; the shares are what to read, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from loadtests.bench import Setup, cpu_s, play
from tests.support.hub_process import HubProcess

SAMPLES_PER_S: Final = 250
PARTS: Final = [
    ("trishula_broker/audit/", "audit"),
    ("trishula_broker/store/trail", "audit"),
    ("trishula_broker/store/recorded", "audit"),
    ("trishula_broker/store/sqlite/trail", "audit"),
    ("trishula_broker/store/sqlite/journal", "store: journal"),
    ("trishula_broker/store/sqlite/statements", "store: SQL"),
    ("trishula_broker/store/", "store"),
    ("trishula_broker/hub/", "core"),
    ("trishula_broker/net/driver", "driver"),
    ("trishula_broker/net/committing", "driver"),
    ("trishula_broker/net/", "websocket"),
    ("websockets/", "websocket"),
    ("trishula/websocket", "websocket"),
    ("trishula_protocol/", "codec and sessions"),
    ("trishula/", "SDK"),
    ("loadtests/", "application"),
    ("uvloop/", "event loop"),
    ("asyncio/", "event loop"),
]
"""By the beginning of a frame's file, the first that fits."""
WAITING: Final = (
    "Worker._work (",
    "_worker (concurrent/",
    "Condition.wait (",
    "wait (threading.py",
)
"""Innermost frames of threads that have nothing to do; py-spy takes some of them for busy."""
_FRAME: Final = re.compile(r" \((?P<file>[^()]*?)(:\d+)?\)$")


class Thread(NamedTuple):
    """Of a process: its processor time, and its samples by part."""

    cpu_us: float
    samples: Counter[str]


def part_of(stack: str) -> str:
    """The part that a sampled stack, outermost frame first, belongs to."""
    for frame in reversed(stack.split(";")):
        found = _FRAME.search(frame)
        if found is not None:
            for prefix, part in PARTS:
                if found["file"].startswith(prefix):
                    return part
    return "other"


def shares(lines: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Samples by part, of the main thread and of all others.

    Args:
        lines: py-spy's raw format: ``frame;frame;frame count``, outermost first.
    """
    main: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack.rpartition(";")[2].startswith(WAITING):
            continue
        found = others if stack.startswith(("Thread._bootstrap", "_bootstrap")) else main
        found[part_of(stack)] += int(count)
    return main, others


def main_cpu_s(pid: int) -> float:
    """Processor seconds of a process's main thread."""
    return cpu_s(f"{pid}/task/{pid}")


def py_spy() -> str:
    """Its program.

    Raises:
        SystemExit: it is not installed.
    """
    for folder in (Path(sys.prefix) / "bin", Path(sys.prefix) / "peers" / "bin"):
        if (folder / "py-spy").exists():
            return str(folder / "py-spy")
    found = shutil.which("py-spy")
    if found is None:
        raise SystemExit("py-spy is not installed: `make peers` or `pip install py-spy` does it")
    return found


@contextlib.asynccontextmanager
async def sampled(pid: int, out: Path) -> AsyncIterator[None]:
    """Samples of a process while the context lasts, or until it ends."""
    process = await asyncio.create_subprocess_exec(
        *(py_spy(), "record", "--pid", str(pid), "--output", str(out), "--format", "raw"),
        *("--rate", str(SAMPLES_PER_S), "--duration", "600", "--nonblocking"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        await process.wait()


def table(who: str, threads: dict[str, Thread]) -> str:
    """A process's lines, the dearest part of each thread first."""
    lines = [f"{who:26} {sum(thread.cpu_us for thread in threads.values()):6.1f} µs"]
    for name, (cpu_us, samples) in threads.items():
        total = samples.total()
        if total:
            lines.append(f"  {name:24} {cpu_us:6.1f}")
            lines += [
                f"    {part:22} {cpu_us * count / total:6.1f}"
                for part, count in samples.most_common()
            ]
    return "\n".join(lines)


async def measure(messages: int, window: int, options: list[str]) -> None:
    """Once, and print it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            HubProcess(folder / "data", *options) as hub,
            contextlib.AsyncExitStack() as sampling,
        ):
            setup = Setup(hub.url, hub.url, {})
            await play(setup, messages // 10, window, 0)

            async def sample(who: str, pid: int) -> None:
                await sampling.enter_async_context(sampled(pid, folder / who))

            async with sampled(hub.pid, folder / "hub"):
                before, main_before = cpu_s(hub.pid), main_cpu_s(hub.pid)
                figures = await play(setup, messages, window, 0, sample)
                hub_s, main_s = cpu_s(hub.pid) - before, main_cpu_s(hub.pid) - main_before
            await sampling.aclose()
            took = figures["end"] - figures["start"]
        for who, main_used, others_used in (
            ("sender", figures["sender_cpu"], 0.0),
            ("hub", main_s, hub_s - main_s),
            ("receiver", figures["receiver_cpu"], 0.0),
        ):
            with (folder / who).open() as lines:
                main_samples, other_samples = shares(lines)
            threads = {
                "event loop's thread": Thread(main_used / messages * 1e6, main_samples),
                "other threads": Thread(others_used / messages * 1e6, other_samples),
            }
            print(table(who, threads))
        print(f"{messages / took:.0f} msg/s while sampled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("options", nargs="*", help="for `broker serve`, after --")
    args = parser.parse_args()
    uvloop.run(measure(args.messages, args.window, args.options))


if __name__ == "__main__":
    main()
