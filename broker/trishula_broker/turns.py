"""How long the system lets a thread of this process run at a time.

What a hub does for one commit passes between its threads several times, each a moment's work, on
processors that it shares with agents. A thread that wakes waits until whoever runs has had its
turn, which is milliseconds; one that asks for short turns comes sooner, and is interrupted sooner.
It gets no more of the processor than before: see *latency nice* of EEVDF, the scheduler of Linux
since 6.6, and ``sched_attr.sched_runtime`` of sched_setattr(2), which it heeds since 6.12. Earlier
ones take no notice.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Final

TURN_NS: Final = 100_000
"""The shortest that Linux grants."""
KEEP_POLICY: Final = 0x08
"""SCHED_FLAG_KEEP_POLICY: whatever else the thread was given stays as it is."""
CALLS: Final = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""Numbers of sched_setattr and sched_getattr: C libraries have had them by name since 2024."""


class Attributes(ctypes.Structure):
    """``struct sched_attr`` in its first form."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def shorten() -> bool:
    """Ask for short turns for this thread and those it starts from now on; whether that was taken
    (not: heeded)."""
    calls = CALLS.get(platform.machine()) if sys.platform == "linux" else None
    if calls is None:
        return False
    wish = Attributes(
        size=ctypes.sizeof(Attributes),
        flags=KEEP_POLICY,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime=TURN_NS,
    )
    # 0: this thread. Where a sandbox forbids it, turns stay as they were.
    refused: int = ctypes.CDLL(None).syscall(calls[0], 0, ctypes.byref(wish), 0)
    return not refused
