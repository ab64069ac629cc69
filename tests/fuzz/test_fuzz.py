"""Every fuzz target bears what it begins with, and a moment of fuzzing finds nothing."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import http_front, websocket_bytes
from tests.fuzz.__main__ import TARGETS, command, unavailable
from tests.fuzz.target import Target

SECONDS = 1


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    for front in (http_front.front, websocket_bytes.front):
        if front.cache_info().currsize:
            front().close()
            front.cache_clear()


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_target_begins_with_is_borne(name: str) -> None:
    target: Target = importlib.import_module(f"tests.fuzz.{name}").TARGET
    seeds = target.seeds()
    assert len(seeds) > 20
    for seed in seeds:
        target.run(seed)
        target.run(seed[: len(seed) // 2])


@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "")
@pytest.mark.parametrize("name", TARGETS)
def test_a_moment_of_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        command(name, SECONDS, tmp_path), capture_output=True, timeout=100, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr
    assert not list((tmp_path / "found").iterdir())
