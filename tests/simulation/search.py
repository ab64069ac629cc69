"""Many seeds at once, on as many cores as are asked for."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final, NamedTuple

from tests.simulation.world import simulate

CHUNK: Final = 50
"""Seeds that a worker process is given at once."""


class Finding(NamedTuple):
    """A seed with which something went wrong."""

    seed: int
    faults: list[str]

    def __str__(self) -> str:
        shown = "\n    ".join(self.faults[:5])
        return f"  python -m tests.simulation {self.seed} --trace\n    {shown}"


def look(seeds: Iterable[int]) -> Iterator[Finding]:
    """Run ``seeds`` one after the other; those that went wrong."""
    for seed in seeds:
        try:
            faults = simulate(seed).faults
        except Exception:
            faults = [traceback.format_exc()]
        if faults:
            yield Finding(seed, faults)


def look_all(seeds: range) -> list[Finding]:
    """:func:`look`, at once; for a worker process."""
    return list(look(seeds))


def search(first: int, count: int, workers: int) -> list[Finding]:
    """Run ``count`` seeds from ``first`` in ``workers`` processes."""
    end = first + count
    chunks = [range(start, min(start + CHUNK, end)) for start in range(first, end, CHUNK)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return [finding for found in pool.map(look_all, chunks) for finding in found]


def report(findings: list[Finding]) -> str:
    """What went wrong, each with the command that replays it."""
    lines = [f"{len(findings)} seeds went wrong; each is replayed by its command:"]
    return "\n".join([*lines, *map(str, findings[:5])])
