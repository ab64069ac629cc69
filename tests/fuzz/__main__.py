"""Coverage-guided fuzzing: ``python -m tests.fuzz [TARGET ...] [--seconds N]`` (``make fuzz``).

With ``--properties N`` the property tests follow, for so many seconds.

Each target runs in a process of its own, for so long; it ends at once with what it has found: an
exception, a hang, or memory that grows. The input is kept, and how to run it again is printed.
What has been learned stays in ``.fuzz/``, so that the next run goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from tests.fuzz import properties
from tests.fuzz.target import Target

TARGETS: Final = (
    "json_frames",
    "msgpack_frames",
    "http_front",
    "upgrades",
    "websocket_bytes",
    "tokens",
)
INSTRUMENTED: Final = ["trishula_protocol", "trishula_broker", "websockets", "uvicorn", "starlette"]
"""Packages whose branches guide the search."""
HANG_S: Final = 10
"""Seconds for one input; each takes a millisecond, and the machine may be busy."""
RSS_MIB: Final = 1024
"""Memory of a target's process at most; they use about a tenth of it."""
START_S: Final = 120
"""Seconds on top of a run for its imports and its seeds."""


def main() -> int:
    """Run the targets one after another; 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=300, help="for each target (default 300)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("--properties", type=int, default=0, help="seconds of property tests")
    parser.add_argument("--work", type=Path, default=Path(".fuzz"), help="what was learned")
    parser.add_argument("--again", type=Path, help="run this one input instead")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.target or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"there is no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if args.again is not None:
        if len(names) != 1:
            parser.error("--again takes the one target that the input is for")
        _load(names[0]).run(args.again.read_bytes())
        return 0
    if args.inside:
        _fuzz(names[0], args.seconds, args.work)
        return 1  # libFuzzer ends the process itself
    code = 0
    rounds = -(-len(names) // args.jobs)
    minutes = -(-(rounds * args.seconds + args.properties) // 60)
    print(
        f"{len(names)} targets for {args.seconds} s each, {args.jobs} at a time, then property "
        f"tests for {args.properties} s: {minutes} minutes, and a few for starting and ending",
        flush=True,
    )
    if why := unavailable():
        print(f"the targets are skipped: {why}", flush=True)
    else:
        with ThreadPoolExecutor(args.jobs) as pool:
            for done, text in pool.map(lambda name: _start(name, args.seconds, args.work), names):
                print(text, flush=True)
                code = max(code, done)
    return max(code, properties.run(args.properties))


def unavailable() -> str | None:
    """Why there can be no fuzzing here; None when there can."""
    try:
        importlib.import_module("atheris")
    except ImportError:
        return "atheris is not installed; it is made for Linux on x86_64 and Python before 3.14"
    return None


def command(name: str, seconds: int, work: Path) -> list[str]:
    """The command line that fuzzes ``name`` alone."""
    own = [sys.executable, "-m", "tests.fuzz", name, "--inside"]
    return [*own, "--seconds", str(seconds), "--work", str(work)]


def _start(name: str, seconds: int, work: Path) -> tuple[int, str]:
    """Fuzz ``name``; whether something was found, and what there is to say."""
    log = work / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command(name, seconds, work), stdout=out, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(seconds + START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    lines = log.read_text(errors="replace").splitlines()
    if code == 0:
        return 0, f"{name}: {next((each for each in reversed(lines) if 'Done' in each), 'done')}"
    again = [
        f"to run it again: python -m tests.fuzz {name} --again {found}"
        for found in sorted(
            (work / "found").glob(f"{name}-*"), key=lambda path: path.stat().st_mtime
        )
    ]
    ended = f"{name}: failed with exit code {code}; the end of {log}:"
    return 1, "\n".join([ended, *lines[-60:], *again])


def _load(name: str) -> Target:
    target: Target = importlib.import_module(f"tests.fuzz.{name}").TARGET
    return target


def _fuzz(name: str, seconds: int, work: Path) -> None:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = _load(name)
    corpus, seeds, found = work / "corpus" / name, work / "seeds" / name, work / "found"
    for folder in (corpus, seeds, found):
        folder.mkdir(parents=True, exist_ok=True)
    for old in seeds.iterdir():
        old.unlink()
    for seed in target.seeds():
        (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = work / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={RSS_MIB}",
        f"-max_len={target.max_bytes}",
        f"-dict={words}",
        f"-artifact_prefix={found}{os.sep}{name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], target.run)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
