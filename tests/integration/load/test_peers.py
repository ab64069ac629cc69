"""The comparison with other brokers, in short and with what is installed anyway."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from loadtests.peers.__main__ import Comparison
from loadtests.peers.peer import NotHere, Server, program
from loadtests.peers.registry import PEERS

ROOT = Path(__file__).parents[3]


async def peers(*options: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.peers", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_ours_and_redis_streams_do_the_same_jobs(tmp_path: Path) -> None:
    names, jobs = ("trishula-sqlite", "redis-streams"), ("one-to-one", "calls")
    code, said = await peers(
        *("--rounds", "1", "--seconds", "0.2", "--only", ",".join(names)),
        *("--jobs", ",".join(jobs), "--out", str(tmp_path)),
    )
    assert code == 0, said
    found = msgspec.json.decode((tmp_path / "figures.json").read_bytes())
    for name in names:
        for job in jobs:
            [figures] = found["rounds"][name][job]
            assert (figures["lost"], figures["duplicates"]) == (0, 0)
            assert figures["messages"] > 0
            assert 0 < figures["p50_ms"] <= figures["p99_ms"]
        assert {"server", "python", "uvloop"} <= set(found["versions"][name])
        assert f"\n| {name} " in said
    assert found["fdatasync_ms"] > 0
    assert (found["absent"], found["failures"]) == ({}, [])
    assert (tmp_path / "table.md").read_text() in said
    assert (tmp_path / "peers.png").stat().st_size > 0


async def test_a_fan_out_reaches_every_member(tmp_path: Path) -> None:
    comparison = Comparison(["redis-streams"], ["fan-out"], 0.1)
    await comparison.turn("redis-streams", tmp_path)
    [figures] = comparison.figures["redis-streams"]["fan-out"]
    assert (figures.lost, figures.duplicates) == (0, 0)
    assert figures.messages > 0


class Absent(Server):
    def start(self) -> None:
        program("no-such-broker")


async def test_a_broker_that_cannot_be_had_is_told_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = PEERS["redis-streams"]._replace(server=Absent)
    monkeypatch.setitem(PEERS, "redis-streams", absent)
    comparison = Comparison(["redis-streams"], ["calls"], 0.1)
    await comparison.turn("redis-streams", tmp_path)
    assert comparison.absent == {"redis-streams": "no-such-broker is not installed"}
    assert comparison.figures == {"redis-streams": {}}
    assert "redis-streams: left out: no-such-broker is not installed" in capsys.readouterr().out


def test_a_program_that_is_nowhere_is_named() -> None:
    with pytest.raises(NotHere, match=r"^no-such-broker is not installed$"):
        program("no-such-broker")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--only", "kafka"), "'kafka' is none of trishula-sqlite,"),
        (("--jobs", "all"), "'all' is none of one-to-one,"),
        (("--rounds", "0"), "--rounds and --seconds: more than 0"),
    ],
)
async def test_wrong_usage_is_told(options: tuple[str, ...], says: str) -> None:
    code, said = await peers(*options)
    assert code == 2
    assert says in said
