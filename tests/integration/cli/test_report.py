"""``broker report`` and ``broker slo``, of a real hub's archive."""

import asyncio
import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.command import Broker, Done
from tests.support.hub_process import HubProcess
from trishula import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def broker(*args: str) -> Done:
    return await Broker("ws://127.0.0.1:1/ws")(*args)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a hub that has served some mail, and ended."""
    folder = tmp_path_factory.mktemp("served") / "data"

    async def serve() -> None:
        async with HubProcess(folder) as hub:
            async with Agent("agni", hub.url) as agni, Agent("dc", hub.url) as dc:
                for n in range(5):
                    await dc.send("agni", {"n": n})
                    await (await anext(agni.messages())).done()
                with pytest.raises(Exception, match="unknown_recipient"):
                    await dc.send("nobody", 1)
            await hub.terminate()

    asyncio.run(serve())
    return folder


async def test_the_figures_of_what_was_served(data: Path) -> None:
    done = await broker("report", "--data", str(data), "--format", "json")
    assert (done.code, done.err) == (0, "")
    found = done.json
    mail = found["messages"]
    assert (mail["accepted"], mail["copies"], mail["done"]) == (5, 5, 5)
    assert mail["by_agent"][0]["agent"] == "dc"
    assert found["latency"]["accept"]["count"] > 0
    assert found["latency"]["delivery"]["count"] == 5
    assert found["errors"]["told"] == {"unknown_recipient": 1}
    assert found["disconnects"]["by_kind"] == {"by the agent": 2}
    assert found["uptime"]["well_seconds"] > 0
    assert found["away"] == []


async def test_a_day_as_text_and_as_a_page(data: Path, tmp_path: Path) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = await broker("report", "--data", str(data), "--since", "1h")
    assert (text.code, text.err) == (0, "")
    assert "messages     5 accepted" in text.out
    file = tmp_path / "day.html"
    options = ("--day", today, "--format", "html", "--output", str(file))
    page = await broker("report", "--data", str(data), *options)
    assert (page.code, page.out, page.err) == (0, "", f"written to {file}\n")
    assert file.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--day", "today"), "--day: 'today' is no day; write 2026-11-20"),
        (("--week", "2026-W60"), "--week: '2026-W60' is no week; write 2026-W47"),
        (("--day", "2026-11-20", "--since", "2h"), "say which time with one of them"),
        (("--since", "1h", "--until", "2h"), "--since and --until: it ends before it begins"),
        (("--also", "/no/where"), "--also: there is no archive in /no/where"),
        (("--audit", "/no/where"), "there is no archive in /no/where"),
    ],
)
async def test_slips_of_the_pen(data: Path, args: tuple[str, ...], why: str) -> None:
    done = await broker("report", "--data", str(data), *args)
    assert (done.code, done.out) == (2, "")
    assert why in " ".join(done.err.split())


@pytest.mark.parametrize("option", ["--also", "--audit"])
async def test_a_folder_without_an_archive_is_no_report_of_nothing(
    data: Path, tmp_path: Path, option: str
) -> None:
    done = await broker("report", "--data", str(data), option, str(data))
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"Error: {option}: there is no archive in {data}; it is in {data / 'audit'}\n"
    )
    done = await broker("slo", "--audit", str(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert f"no archive in {tmp_path}; name the folder `audit` of a hub's data" in done.err


async def test_a_file_that_cannot_be_written_is_said(data: Path, tmp_path: Path) -> None:
    done = await broker("report", "--data", str(data), "--output", str(tmp_path / "no" / "file"))
    assert done.code == 1
    assert "--output:" in done.err
    assert "No such file or directory" in done.err


async def test_what_is_not_known_fails_only_when_asked_to(data: Path) -> None:
    done = await broker("slo", "--data", str(data), "--json")
    assert (done.code, done.json["fired"]) == (0, [])
    assert "uptime" in done.json["unknown"]
    strict = await broker("slo", "--data", str(data), "--unknown-fails")
    assert strict.code == 7
    assert strict.err.startswith("Error: not known: ")


async def test_a_trigger_that_fires_ends_it_with_6(data: Path) -> None:
    done = await broker("slo", "--data", str(data), "--p99", "0.001ms", "--unknown-fails")
    assert done.code == 6
    assert "FIRED    latency: accepted in " in done.out
    assert f"archive {data / 'audit'}" in done.out
    assert "Error: fires: latency; `broker folder-mode on`" in done.err


async def test_thresholds_must_make_sense(data: Path) -> None:
    for option, value in (("--uptime", "120"), ("--loss", "much"), ("--p99", "soon")):
        done = await broker("slo", "--data", str(data), option, value)
        assert (done.code, done.out) == (2, "")
        assert option in done.err
    done = await broker("slo", "--no-archive")
    assert "--no-archive: there is nothing else; name --metrics" in done.err


async def test_metrics_of_a_hub_that_runs_are_evidence(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "hub") as hub:
        async with Agent("dc", hub.url) as dc:
            await dc.send("dc", 1)
        url = f"{hub.http_url}/metrics"
        found = await broker("slo", "--no-archive", "--metrics", url, "--json", "--window", "1s")
        assert found.code == 0, found
        states: dict[str, Any] = {each["trigger"]: each for each in found.json["triggers"]}
        assert states["latency"]["data"] == f"metrics {url}"
        assert states["away"]["state"] == "unknown"
    gone = await broker("slo", "--no-archive", "--metrics", url)
    assert gone.code == 1
    assert f"--metrics: {url}: " in gone.err
    file = tmp_path / "no.txt"
    file.write_text(json.dumps({}))
    assert (
        "it is not in Prometheus' text format"
        in (await broker("slo", "--no-archive", "--metrics", str(file))).err
    )
