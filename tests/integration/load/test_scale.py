"""The load tests of scale: their table, and that they do what they say, small."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from loadtests import bench, figures
from loadtests.soak import Reading, slope

ROOT = Path(__file__).parents[3]


def test_a_table_tells_which_marks_were_missed(capsys: pytest.CaptureFixture[str]) -> None:
    table = figures.Figures("a title")
    table.add("told", 1234.5, "MB")
    table.add("good", 2, "s", 2)
    table.add("bad", 2.01, "s", 2)
    assert table.missed == 1
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "a title"
    assert [row.split() for row in rows] == [
        ["told", "1,234.50", "MB"],
        ["good", "2", "s", "2", "reached"],
        ["bad", "2.01", "s", "2", "MISSED"],
    ]


def test_what_a_process_costs_is_read_from_the_system() -> None:
    before = figures.processor_s(os.getpid())
    while figures.processor_s(os.getpid()) == before:
        pass  # it uses some
    assert figures.resident(os.getpid()) > 1 << 20


def test_growth_is_that_of_the_whole_and_not_of_two_readings() -> None:
    steady = [Reading(n * 10.0, 100.0 + (n % 2), n) for n in range(200)]
    assert abs(slope(steady) * 2_000) < 0.1
    growing = [Reading(n * 10.0, 100.0 + n * 0.01 + (n % 2), n) for n in range(200)]
    assert slope(growing) * 2_000 == pytest.approx(2.0, abs=0.1)
    assert slope(growing[:1]) == 0.0


async def test_agents_of_a_flock_talk_and_come_back_after_a_kill() -> None:
    """With as few agents as there are processes; the marks are the script's."""
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.ten_thousand", "--agents", "8", "--processes", "2"),
        *("--rate", "40", "--seconds", "0.2", "--rest", "0", "--p99-ms", "60000"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    out = (await run.communicate())[0].decode()
    found = {row.split("  ")[0] or row.split("  ")[1]: row for row in out.splitlines()}
    assert "reached" in found["not delivered"], out
    assert "reached" in found["not delivered afterwards"], out


async def test_a_process_that_ends_in_the_middle_of_a_line_is_told_of() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "print('{\"end\": 1', end=''); raise SystemExit(3)"),
        stdout=subprocess.PIPE,
    )
    with pytest.raises(RuntimeError, match="the sender ended with 3 after 9 characters"):
        await bench.line(process, "the sender")


async def test_a_bench_of_any_length_is_told_in_a_short_line(tmp_path: Path) -> None:
    async with bench.one_hub(tmp_path) as setup:
        found = await bench.play(setup, count=200, window=50, rate=0)
    assert 0 < found["p50"] <= found["p99"]
    assert found["count"] == 200
    assert len(msgspec.json.encode(found)) < 1_000
