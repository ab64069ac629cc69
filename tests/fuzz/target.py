"""What a fuzz target is: one function over bytes, and what to begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Target(NamedTuple):
    """Something that must bear any bytes."""

    run: Callable[[bytes], None]
    """Raises whatever shows that a rule was broken; returns for input that was borne."""
    seeds: Callable[[], Sequence[bytes]]
    """Inputs to begin with, made by code: what is good, and what was meant to hurt."""
    words: Sequence[bytes]
    """Pieces that input is made of, for the fuzzer's dictionary."""
    max_bytes: int = 4096
    """Longer input is not tried: what matters repeats, and short failures are read sooner."""


def fitting(seeds: Sequence[bytes], limit: int) -> list[bytes]:
    """``seeds`` no longer than ``limit``, without repetitions, in their order."""
    return list(dict.fromkeys(seed for seed in seeds if len(seed) <= limit))
