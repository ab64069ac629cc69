"""How long the system lets a thread run at a time."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trishula_broker import turns
from trishula_broker.turns import CALLS, TURN_NS, Attributes


def heeded() -> bool:
    """Whether this system is known to heed the wish."""
    if sys.platform != "linux" or platform.machine() not in CALLS:
        return False
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)))) >= (6, 12)


def asked_of() -> Attributes:
    """What the system says of the thread that calls."""
    found = Attributes(size=ctypes.sizeof(Attributes))
    call = CALLS[platform.machine()][1]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(call, 0, ctypes.byref(found), ctypes.sizeof(found), 0):
        raise OSError(ctypes.get_errno(), "sched_getattr")
    return found


@pytest.mark.skipif(not heeded(), reason="the system takes no such wishes")
def test_threads_that_are_started_later_have_short_turns_too_and_nothing_else_changes() -> None:
    def in_a_thread_of_its_own() -> tuple[bool, Attributes, Attributes]:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
        taken = turns.shorten()
        with ThreadPoolExecutor(1) as child:
            return taken, asked_of(), child.submit(asked_of).result()

    with ThreadPoolExecutor(1) as thread:
        before = thread.submit(asked_of).result()
        taken, own, childs = thread.submit(in_a_thread_of_its_own).result()
    assert taken
    for found in (own, childs):
        assert found.runtime == TURN_NS
        assert (found.policy, found.nice) == (before.policy, 5)


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("linux", "pdp11")])
def test_where_the_call_is_unknown_nothing_is_asked(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        raise AssertionError("it was called")

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(ctypes, "CDLL", nothing)
    assert not turns.shorten()
