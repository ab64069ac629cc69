"""Records that go by are counted for whoever watches, and for nobody else."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading

import pytest

COUNT = (
    "import sys; from trishula_broker.cli.record_progress import with_progress\n"
    "for n in with_progress(range(1234)): print(n)"
)
LINES = "".join(f"{n}\n" for n in range(1234)).encode()


def count(*, watched: bool) -> tuple[bytes, bytes]:
    """What comes out of a process that counts: standard output, and what a terminal is shown."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def watch() -> None:
        with contextlib.suppress(OSError):  # so ends a terminal that nobody has any more
            while block := os.read(ours, 1 << 16):
                shown.append(block)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        done = subprocess.run(
            [sys.executable, "-c", COUNT],
            stdout=subprocess.PIPE,
            stderr=theirs if watched else subprocess.PIPE,
            env={**os.environ, "TERM": "xterm"},
            timeout=60,
            check=True,
        )
    finally:
        os.close(theirs)
        watching.join()
        os.close(ours)
    return done.stdout, b"".join(shown) + (done.stderr or b"")


@pytest.mark.parametrize("watched", [True, False])
def test_the_count_is_shown_on_a_terminal_beside_the_records(watched: bool) -> None:
    records, shown = count(watched=watched)
    assert records == LINES
    assert (b"1234 records" in shown) is watched
    if not watched:
        assert shown == b""
