"""Replay one seed: ``python -m tests.simulation SEED [--trace]``, or search from one:
``python -m tests.simulation FIRST --count N``."""

from __future__ import annotations

import argparse
import sys

import msgspec

from tests.simulation.plan import make_plan
from tests.simulation.world import Result, simulate


def main() -> int:
    """The command; 1 when a run found something wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--count", type=int, default=1, help="run this many seeds from the first")
    options = parser.parse_args()
    wrong = 0
    for seed in range(options.seed, options.seed + options.count):
        result = simulate(seed, print if options.trace else None)
        if result.faults or options.count == 1:
            show(result, options.trace)
        wrong += bool(result.faults)
    return 1 if wrong else 0


def show(result: Result, trace: bool) -> None:
    """Print what a run was and what is wrong with it."""
    print(f"seed {result.seed}: {result.lasted_ms} ms of simulated time, {dict(result.counts)}")
    if trace:
        for name, value in msgspec.to_builtins(make_plan(result.seed)).items():
            print(f"  {name}: {value}")
        for event in result.events:
            print(" ", event)
    for fault in result.faults:
        print(f"  wrong: {fault}")
    if not result.faults:
        print("  all is well")


if __name__ == "__main__":
    sys.exit(main())
