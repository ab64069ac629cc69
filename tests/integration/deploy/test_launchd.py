"""The property list for launchd, and the rotation of the log that it makes."""

from __future__ import annotations

import asyncio
import os
import plistlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.hub_process import HubProcess
from trishula import Agent
from trishula_broker.cli import main
from trishula_broker.config import load

LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def job(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = plistlib.loads((deploy / "launchd/trishula.hub.plist").read_bytes())
    return found


def test_what_it_starts_is_a_command_that_there_is(job: dict[str, Any], deploy: Path) -> None:
    program, serve, *options = job["ProgramArguments"]
    assert (Path(program).name, serve, options[0]) == ("broker", "serve", "--config")
    options[1] = str(deploy / "staging.toml")
    done = CliRunner().invoke(main, ["config", *options])
    assert done.exit_code == 0, done.stderr
    # What the sample says of Macs is where the job is.
    assert f"# {job['WorkingDirectory']} on a Mac" in (deploy / "staging.toml").read_text()


def test_it_is_named_as_its_file_and_runs_as_a_user_of_its_own(
    job: dict[str, Any], deploy: Path
) -> None:
    assert (deploy / f"launchd/{job['Label']}.plist").exists()
    assert job["UserName"].startswith("_")
    assert job["Umask"] == 0o077
    assert job["SoftResourceLimits"]["NumberOfFiles"] <= job["HardResourceLimits"]["NumberOfFiles"]


def test_it_is_kept_alive_and_its_drain_has_time(job: dict[str, Any]) -> None:
    assert job["RunAtLoad"]
    assert job["KeepAlive"] == {"SuccessfulExit": False}
    assert job["ExitTimeOut"] >= 2 * load({}, {}, None, Path("/")).config.drain_s


def test_its_log_is_among_those_that_are_rotated(job: dict[str, Any], deploy: Path) -> None:
    text = (deploy / "logrotate.conf").read_text()
    (line,) = [line for line in text.splitlines() if line.endswith("{")]
    assert any(Path(job["StandardErrorPath"]).match(each) for each in line.split()[:-1])


@pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not here")
async def test_a_log_that_is_rotated_goes_on_in_the_file_that_the_hub_has(
    deploy: Path, tmp_path: Path
) -> None:
    text = (deploy / "logrotate.conf").read_text()
    (line,) = [line for line in text.splitlines() if line.endswith("{")]
    config = tmp_path / "logrotate.conf"
    config.write_text(text.replace(line, f"{tmp_path}/*.log {{"))
    config.chmod(0o644)
    async with HubProcess(tmp_path / "hub") as hub:
        async with Agent("dc", hub.url):
            pass  # by now it leads
        command = [str(LOGROTATE), "--force", "--state", str(tmp_path / "state"), str(config)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        before = (tmp_path / "hub.log.1").read_text()
        assert await hub.terminate() == 0
    assert [each in before for each in ("leading", "stopped")] == [True, False]
    assert hub.log.startswith("{")  # not a hole where the old lines were
    assert '"stopped"' in hub.log
