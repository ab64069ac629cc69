"""What a process says of itself."""

from __future__ import annotations

import os
import sys

import pytest

from trishula_broker import process

linux = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")


@linux
def test_a_file_that_is_opened_is_one_descriptor_more() -> None:
    before = process.descriptors()
    assert before is not None
    handles = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    try:
        after = process.descriptors()
    finally:
        for handle in handles:
            os.close(handle)
    assert after == (before[0] + 5, before[1])


@linux
def test_memory_that_is_used_is_told() -> None:
    before = process.resident_bytes()
    held = bytearray(os.urandom(1 << 26))
    after = process.resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before > len(held) // 2
