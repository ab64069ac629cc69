"""The units for systemd: what they promise holds for the real command and configuration, and
systemd takes them where it is there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.hub_process import HubProcess
from trishula import Agent
from trishula_broker.cli import main
from trishula_broker.cli.exits import ExitCode
from trishula_broker.config import load

Unit = dict[str, dict[str, list[str]]]
STATE = "/var/lib/trishula"
DROP_INS = ("redis-password", "audit-key")
EXPOSURE = 20
"""Tenths, of a hundred: `systemd-analyze security` calls less than this OK, and more MEDIUM."""
SECONDS = {"": 1, "s": 1, "min": 60}
NO_NEW_CODE = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0  # PR_SET_MDWE
os.execvp(sys.argv[1], sys.argv[1:])
"""


def read(file: Path) -> Unit:
    """Sections, each setting with all its values."""
    found: Unit = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in file.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            found[section][name].append(value)
    return found


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)(\D*)", text)
    assert found, text
    return float(found[1]) * SECONDS[found[2]]


def environment(unit: Unit) -> dict[str, str]:
    places = {"%S": "/var/lib", "%d": "/run/credentials/trishula.service"}
    found = {}
    for each in unit["Service"]["Environment"]:
        name, _, value = each.partition("=")
        for sign, place in places.items():
            value = value.replace(sign, place)
        found[name] = value
    return found


@pytest.fixture
def unit(deploy: Path) -> Unit:
    return read(deploy / "systemd" / "trishula.service")


def test_what_it_starts_is_a_command_that_there_is(unit: Unit, deploy: Path) -> None:
    (line,) = unit["Service"]["ExecStart"]
    program, serve, *options = shlex.split(line)
    assert (Path(program).name, serve) == ("broker", "serve")
    (at,) = [n for n, word in enumerate(options) if word == "/etc/trishula/broker.toml"]
    for sample in ("staging", "production"):
        options[at] = str(deploy / f"{sample}.toml")
        done = CliRunner().invoke(main, ["config", *options])
        assert done.exit_code == 0, done.stderr
        assert f'data = "{STATE}"' in done.stdout


@pytest.mark.parametrize("name", DROP_INS)
def test_a_credential_is_read_where_systemd_puts_it(deploy: Path, name: str) -> None:
    drop_in = read(deploy / "systemd" / f"{name}.conf")
    (credential,) = drop_in["Service"]["LoadCredential"]
    assert credential == f"{name}:/etc/trishula/{name}"
    loaded = load({}, environment(drop_in), None, Path("/home/nobody"))
    assert loaded.warnings == ()
    (value,) = [v for v in loaded.values.values() if v.origin != "default"]
    assert value.value == f"/run/credentials/trishula.service/{name}"


def test_it_waits_for_ready_and_beats_and_gives_the_drain_its_time(
    unit: Unit, deploy: Path
) -> None:
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == (["notify"], ["main"])
    assert seconds(service["WatchdogSec"][0]) >= 10
    for sample in ("staging", "production"):
        drain = load({}, {}, deploy / f"{sample}.toml", Path("/")).config.drain_s
        assert seconds(service["TimeoutStopSec"][0]) >= 2 * drain


def test_who_cannot_start_for_good_is_left_alone_and_who_drained_too(unit: Unit) -> None:
    assert unit["Service"]["Restart"] == ["on-failure"]
    assert unit["Service"]["RestartPreventExitStatus"] == [str(int(ExitCode.USAGE))]
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]


def test_its_state_is_where_the_hub_keeps_its_data_and_nobody_else_looks(unit: Unit) -> None:
    service = unit["Service"]
    assert f"/var/lib/{service['StateDirectory'][0]}" == STATE
    assert (service["StateDirectoryMode"], service["UMask"]) == (["0700"], ["0077"])
    assert service["User"] != ["root"]


def test_the_user_is_the_one_that_sysusers_makes(unit: Unit, deploy: Path) -> None:
    lines = (deploy / "systemd" / "sysusers.conf").read_text().splitlines()
    (line,) = [shlex.split(each) for each in lines if not each.startswith("#")]
    assert line[:2] == ["u", *unit["Service"]["User"]]
    assert line[4] == STATE


def test_hardening_leaves_the_hub_what_it_needs(unit: Unit) -> None:
    service = unit["Service"]
    # Without /proc/stat the metrics of the process, and what alarms of them, are missing.
    assert "ProcSubset" not in service
    # Searches of the archive lower their priority.
    assert not any("@resources" in each for each in service["SystemCallFilter"])
    assert {"AF_UNIX", "AF_INET", "AF_INET6"} == set(service["RestrictAddressFamilies"][0].split())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_it_and_calls_it_safe(deploy: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("broker")
    text = (deploy / "systemd" / "trishula.service").read_text()
    file = tmp_path / "trishula.service"
    file.write_text(text.replace("/opt/trishula/bin/broker", str(program)))
    drop_ins = tmp_path / "trishula.service.d"
    drop_ins.mkdir()
    for name in DROP_INS:
        shutil.copy(deploy / "systemd" / f"{name}.conf", drop_ins)
    for command in (
        ["verify", "--man=no", str(file)],
        ["security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", str(file)],
    ):
        done = subprocess.run(
            ["systemd-analyze", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        assert done.stderr == ""


def no_new_code() -> bool:
    """Whether this kernel can refuse a process memory that it both writes and runs."""
    command = [sys.executable, "-c", NO_NEW_CODE, "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not no_new_code(), reason="this system has no PR_SET_MDWE")
async def test_a_hub_serves_without_memory_that_it_may_both_write_and_run(tmp_path: Path) -> None:
    under = (sys.executable, "-c", NO_NEW_CODE)
    async with HubProcess(tmp_path / "data", under=under) as hub:
        async with Agent("dc", hub.url) as dc:
            await dc.send("dc", 1)
        assert await hub.terminate() == 0
