"""A test that fails tells what its hubs have logged, also from one of several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reports import SHOWN_BYTES, has_log, logs, sendable

ROOT = Path(__file__).parents[2]
FAILS = """
import os
from pathlib import Path
from tests.support.reports import has_log


def test_fails(tmp_path: Path) -> None:
    has_log(tmp_path / "log", "hub agni")
    (tmp_path / "log").write_text("it burns\\n")
    assert os.fsdecode(b"\\xff") == "that"
"""

text = st.text(st.characters())  # lone surrogates are characters, too
data = st.recursive(
    st.none() | st.booleans() | text,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(text, inner),
    max_leaves=8,
)


@given(data)
def test_whatever_is_reported_can_be_sent(said: object) -> None:
    sent = sendable(said)
    assert type(sent) is type(said)
    msgspec.msgpack.encode(sent)


@given(st.text())
def test_what_can_be_sent_is_sent_as_it_is(said: str) -> None:
    assert sendable([said, {said: (said,)}]) == [said, {said: (said,)}]


def test_the_end_of_a_log_written_since_then_is_shown(tmp_path: Path) -> None:
    now, before = tmp_path / "now", tmp_path / "before"
    for path in (now, before, tmp_path / "gone"):
        has_log(path, f"hub {path.name}")
    now.write_bytes(b"x" * SHOWN_BYTES + b"the end\xff")
    before.write_text("of another test")
    os.utime(before, (0, 0))
    [(title, text)] = [
        each for each in logs(since=1) if each[0] in {"log of hub now", "log of hub before"}
    ]
    assert title == "log of hub now"
    assert text.endswith("xthe end\\xff")
    assert len(text) == SHOWN_BYTES + 3


def test_a_failure_in_a_worker_is_told_with_the_log(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(FAILS)
    options = ("-c", "pyproject.toml", "-p", "tests.conftest", "-n", "1", "-q")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--basetemp={tmp_path / 'base'}", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done
    assert "log of hub agni" in done.stdout
    assert "it burns" in done.stdout
    assert "\\udcff" in done.stdout
