"""The same jobs with every broker, alternating, and one table of medians.

    python -m loadtests.peers [--rounds N] [--seconds N] [--only NAME,...] [--jobs NAME,...]
                              [--out DIRECTORY]

Each broker is started on a free port of the loopback with a temporary folder when its turn comes,
and ended after it. Every job is a sender, a receiver (a fan-out has two processes of them) and the
broker on the same machine; 200-byte bodies, 512 messages in flight. The claim is about the versions
that are printed, on this machine, and nothing else. One that cannot be had is told.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from loadtests.bench import sync_ms
from loadtests.peers import table
from loadtests.peers.jobs import BODY, JOBS, WINDOW, Figures
from loadtests.peers.measure import ChildFailed, measure, versions
from loadtests.peers.peer import NotHere
from loadtests.peers.registry import CALLS_AGAINST, PEERS, RATES_AGAINST

OUT: Final = Path("build") / "peers"


class Comparison:
    """The rounds, and what could not be measured."""

    def __init__(self, peers: Sequence[str], jobs: Sequence[str], seconds: float) -> None:
        self._jobs = [job for job in JOBS if job.name in jobs]
        self._seconds = seconds
        self.figures: dict[str, dict[str, list[Figures]]] = {peer: {} for peer in peers}
        self.versions: dict[str, dict[str, str]] = {}
        self.absent: dict[str, str] = {}
        self.failures: list[str] = []

    async def turn(self, peer: str, folder: Path) -> None:
        """All jobs once with one broker."""
        if peer in self.absent:
            return
        server = PEERS[peer].server(folder)
        try:
            clients = await versions(peer)
            await asyncio.to_thread(server.start)
        except (NotHere, ChildFailed, RuntimeError) as error:
            self.absent[peer] = str(error)
            print(f"{peer}: left out: {error}", flush=True)
            return
        try:
            self.versions[peer] = {"server": server.version, **clients}
            for job in self._jobs:
                try:
                    found = await measure(peer, server.address, job, self._seconds)
                except ChildFailed as error:
                    self.failures.append(f"{peer}, {job.name}: {error}")
                    print(f"{peer}, {job.name}: FAILED: {error}", flush=True)
                    continue
                self.figures[peer].setdefault(job.name, []).append(found)
                print(f"{peer}, {job.name}: {_line(found, job.kind)}", flush=True)
        finally:
            await asyncio.to_thread(server.stop)


def _line(found: Figures, kind: str) -> str:
    times = f"p50 {found.p50_ms:.3f} ms, p99 {found.p99_ms:.3f} ms"
    if kind == "throughput":
        times = f"{found.per_s:.0f}/s, confirmed {found.confirmed_per_s:.0f}/s, {times}"
    if found.lost or found.duplicates:
        times += f"; lost {found.lost}, doubled {found.duplicates}"
    return times


async def compare(args: argparse.Namespace) -> int:
    """All of it; the exit code."""
    comparison = Comparison(args.only, args.jobs, args.seconds)
    with tempfile.TemporaryDirectory() as folder:
        fsync = sync_ms(Path(folder))
        about = {
            "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} processors",
            "fdatasync_ms": round(fsync, 3),
            "rounds_of": f"{args.rounds} rounds of {args.seconds:g} s, {len(BODY)}-byte bodies, "
            f"{WINDOW} in flight",
        }
        print(f"{about['machine']}; fdatasync of 4 KiB {fsync:.2f} ms; {about['rounds_of']}")
        for number in range(args.rounds):
            print(f"round {number + 1}", flush=True)
            for peer in args.only:
                await comparison.turn(peer, Path(folder) / f"{peer}-{number}")
    _show(comparison, about, args.out)
    return 1 if comparison.failures or not any(comparison.figures.values()) else 0


def _show(comparison: Comparison, about: dict[str, Any], out: Path) -> None:
    measured = {peer: jobs for peer, jobs in comparison.figures.items() if jobs}
    lines = [
        f"{about['machine']}; fdatasync of 4 KiB {about['fdatasync_ms']:.2f} ms; "
        f"{about['rounds_of']}; medians, load average {os.getloadavg()[0]:.1f} at the end",
        "",
        *table.markdown(table.rows(measured)),
        "",
        f"In brackets: how many times the figure of {RATES_AGAINST}, of the rate or of the median "
        f"latency; for calls, that of {CALLS_AGAINST}.",
        "",
    ]
    for peer in measured:
        found = comparison.versions[peer]
        shown = ", ".join(f"{name} {version}" for name, version in found.items())
        lines.append(f"- {peer}: {shown}; {PEERS[peer].stores}")
    lines += [f"- {peer}: not measured: {why}" for peer, why in comparison.absent.items()]
    lines += [f"- failed: {each}" for each in comparison.failures]
    print("\n" + "\n".join(lines))
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text("".join(f"{line}\n" for line in lines))
    document = {
        **table.document(about, measured),
        "versions": comparison.versions,
        "absent": comparison.absent,
        "failures": comparison.failures,
    }
    (out / "figures.json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    table.draw(measured, out / "peers.png")
    print(f"\nwritten to {out}: table.md, figures.json, peers.png")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each job")
    parser.add_argument("--only", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    jobs = [job.name for job in JOBS]
    parser.add_argument("--jobs", type=_names(jobs), default=jobs, help=", ".join(jobs))
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds and --seconds: more than 0")
    return asyncio.run(compare(args))


def _names(known: Any) -> Any:
    def names(text: str) -> list[str]:
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return found

    return names


if __name__ == "__main__":
    sys.exit(main())
