"""The audit's figures: how fast an archive is verified, and what it costs a hub to write one.

    python -m loadtests.audit_bench [--archived N] [--messages N] [--rounds N] [--skip PART]

*Verifying*: an archive of a million messages is made, and verified as it is, then with one byte
flipped, a record removed, two swapped, the tail cut off, and all of it written anew; each time it
prints how long that took and what was found. Whoever tampers here knows the format: sealed
segments are decompressed, changed and compressed again.

*Throughput*: end to end as in loadtests.bench, on two hubs with SQLite, one with the audit at its
default of whole bodies and one with --no-audit, round by round in turn.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from loadtests.bench import BODY, cpu_s, play
from loadtests.bench import Setup as BenchSetup
from tests.support.hub_process import HubProcess
from tests.support.trails import FULL, NAME, START, archive, as_file, entries, writer
from trishula_broker.audit import segment, verify
from trishula_broker.audit.heads import NodeKey
from trishula_broker.store.trail import ArchiveRecord

EACH = 100
"""Messages an entry, as under load; they are a record, and their settlement is another."""


class Trail:
    """An archive and what its store knows of it."""

    def __init__(self, root: Path, messages: int) -> None:
        self.root = root
        key = NodeKey.load_or_make(root.parent / "node.key")
        one = writer(root)
        count = -(-messages // EACH)
        self.messages = count * EACH
        for first in range(1, count + 1, 50):
            some = min(50, count - first + 1)
            archive(one, list(entries(some, EACH, {"body": BODY}, first)), FULL)
            one.tidy()
        head = key.head("n1", "default", "trail", one.link, START)
        self.records = one.link.number
        one.close()
        known = ArchiveRecord("n1", count, START, (head,), ())
        self.store = verify.Store({"default": (known,)}, kid=key.kid)
        self.files = segment.segments(NAME.folder(root))

    def lines(self, each: segment.Segment) -> list[bytes]:
        """A segment's."""
        return segment.read(each, NAME, None).text.splitlines(keepends=True)

    def put(self, each: segment.Segment, lines: list[bytes]) -> None:
        """Write a segment as if it had always been so."""
        text = b"".join(lines)
        each.path.write_bytes(as_file(each, text, None))


def flip(trail: Trail) -> str:
    """One byte of a message."""
    each = trail.files[0]
    lines = trail.lines(each)
    at = len(lines) // 2
    line = bytearray(lines[at])
    line[len(line) // 2] ^= 1
    lines[at] = bytes(line)
    trail.put(each, lines)
    return f"one byte flipped in line {at + 1} of {each.path.name}"


def flip_sealed(trail: Trail) -> str:
    """One byte of a compressed file."""
    path = trail.files[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return f"one byte flipped in the compressed {path.name}"


def remove(trail: Trail) -> str:
    """One record."""
    each = trail.files[len(trail.files) // 2]
    lines = trail.lines(each)
    at = len(lines) // 3
    del lines[at]
    trail.put(each, lines)
    return f"the record in line {at + 1} of {each.path.name} removed"


def swap(trail: Trail) -> str:
    """Two records."""
    each = trail.files[-1]
    lines = trail.lines(each)
    a, b = len(lines) // 4, len(lines) // 2
    lines[a], lines[b] = lines[b], lines[a]
    trail.put(each, lines)
    return f"the records in lines {a + 1} and {b + 1} of {each.path.name} swapped"


def cut(trail: Trail) -> str:
    """The last records."""
    each = trail.files[-1]
    lines = trail.lines(each)
    trail.put(each, lines[: -min(100, len(lines) - 1)])
    return f"the last {min(100, len(lines) - 1)} records cut off"


def nothing(trail: Trail) -> str:
    """Nothing at all."""
    return "nothing done to it"


def verifying(messages: int) -> None:
    """All of it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        trail = Trail(Path(folder) / "audit", messages)
        size = verify.size(trail.root)
        print(
            f"{trail.messages} messages, {trail.records} records in {len(trail.files)} segments, "
            f"{size / 1e6:.0f} MB, made in {time.perf_counter() - began:.1f} s"
        )
        kept = Path(folder) / "kept"
        shutil.copytree(trail.root, kept)
        tamperings: list[Callable[[Trail], str]] = [nothing, flip, flip_sealed, remove, swap, cut]
        for tamper in tamperings:
            done = tamper(trail)
            began = time.perf_counter()
            [report] = verify.verify(trail.root, trail.store)
            took = time.perf_counter() - began
            print(f"{done}: {took:.1f} s, {report.found} findings", flush=True)
            for finding in report.findings[:4]:
                print(f"    {finding}")
            shutil.rmtree(trail.root)
            shutil.copytree(kept, trail.root)


async def throughput(messages: int, rounds: int, window: int) -> None:
    """Both hubs in turn."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            HubProcess(Path(folder) / "with", node="with") as audited,
            HubProcess(Path(folder) / "without", "--no-audit", node="without") as bare,
        ):
            speeds: dict[str, list[float]] = {"audit full": [], "--no-audit": []}
            for n in range(rounds + 1):
                hubs = [("audit full", audited), ("--no-audit", bare)]
                for name, hub in hubs if n % 2 else reversed(hubs):
                    setup = BenchSetup(hub.url, hub.url, {"hub": hub.pid})
                    before = cpu_s(hub.pid)
                    figures = await play(setup, messages, window, 0)
                    speed = messages / (figures["end"] - figures["start"])
                    cpu = (cpu_s(hub.pid) - before) / messages * 1e6
                    warm = "" if n else " (warming up, not counted)"
                    print(
                        f"round {n}, {name}: {speed:.0f} msg/s end to end, hub {cpu:.1f} µs a "
                        f"message{warm}",
                        flush=True,
                    )
                    if n:
                        speeds[name].append(speed)
            medians = {name: statistics.median(some) for name, some in speeds.items()}
            pairs = zip(speeds["audit full"], speeds["--no-audit"], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            print(
                f"medians: {medians['audit full']:.0f} msg/s with the audit, "
                f"{medians['--no-audit']:.0f} without; median of the rounds' ratios {ratio:.0%}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archived", type=int, default=1_000_000, help="messages to verify")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip", choices=["verifying", "throughput"])
    args = parser.parse_args()
    if args.skip != "verifying":
        verifying(args.archived)
    if args.skip != "throughput":
        uvloop.run(throughput(args.messages, args.rounds, args.window))


if __name__ == "__main__":
    main()
