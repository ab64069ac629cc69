"""What a hub's process asks of the interpreter, the C library and the system, for itself."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path
from typing import Final

GC_THRESHOLDS: Final = (10_000, 100, 100)
"""Envelopes are many, short-lived and free of cycles: the default of 700 would look at the
young ones a hundred times a second for nothing. With thousands of sessions nothing young is at hand
for the processor, and looking at 50 000 stops the hub for 50 to 150 ms, at 10 000 for a tenth."""
SWITCH_S: Final = 0.0005
"""How long one thread runs Python while another wants to. With Python's own 5 ms each step of the
store or the archive may keep the event loop, and so every message, waiting for as long."""
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
"""Names of glibc's malloc.h."""
KEPT_BYTES: Final = 64 << 20
"""Freed memory that the process keeps at most: some seconds of records at full speed."""
_STATM: Final = Path("/proc/self/statm")
_OPEN: Final = Path("/proc/self/fd")
"""Where Linux tells of a process."""


def settle() -> None:
    """All is made that stays: the collector need not look at it again, what is freed is kept for
    what comes next, and threads take turns more often."""
    gc.collect()
    gc.freeze()
    _keep_freed()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)


def share() -> None:
    """Before processes are forked: what is there is theirs too, while nobody writes to it."""
    gc.collect()
    gc.freeze()


def raise_descriptors() -> int | None:
    """Allow as many file descriptors as the system lets us; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS has another, hidden limit
            pass
    return None if soft == resource.RLIM_INFINITY else soft


def resident_bytes() -> int | None:
    """Memory that the process has; None where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:  # not Linux
        return None


def descriptors() -> tuple[int, int] | None:
    """File descriptors that are open, and that may be; None where the system does not tell, or
    sets no limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        # Newer kernels say how many there are; to count them takes as long as there are many.
        found = _OPEN.stat().st_size or sum(1 for _ in _OPEN.iterdir())
    except OSError:  # not Linux
        return None
    return None if limit == resource.RLIM_INFINITY else (found, limit)


def _keep_freed() -> None:
    """Have glibc keep what is freed, within bounds: to have it from the system anew, a moment
    later, costs more than what most of it is used for."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        libc.malloc_trim(0)  # what starting took
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES // 2)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
