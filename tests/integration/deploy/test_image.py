"""deploy/Dockerfile: nobody's root, nothing of a registry, and a command that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.certificates import Authority
from tests.support.hub_process import HubProcess
from tests.support.image import ROOT, environment, instructions
from tests.support.ports import free_port
from trishula_broker.cli import main
from trishula_broker.config import load

HEALTHCHECK = ROOT / "deploy" / "docker" / "healthcheck.py"


def those(word: str) -> list[str]:
    return [each.rest for each in instructions() if each.word == word]


def test_it_runs_as_nobody_in_particular() -> None:
    """By number: whoever forbids root must see it without looking into the image."""
    *_, last = those("USER")
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", last)
    words = [each.word for each in instructions()]
    behind = words[len(words) - words[::-1].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & set(behind)


def test_it_begins_with_an_image_that_has_a_version_and_no_host() -> None:
    (version,) = those("ARG")
    name, _, tag = version.partition("=")
    for each in those("FROM"):
        image = each.split()[0].replace(f"${{{name}}}", tag)
        assert re.fullmatch(r"python:3\.1[1-9]-slim-\w+", image), image
    assert not those("ADD")


def test_what_it_runs_is_a_command_and_its_variables_are_keys(tmp_path: Path) -> None:
    found = {each.word: each.form for each in instructions() if each.word in ("ENTRYPOINT", "CMD")}
    assert [*found["ENTRYPOINT"], *found["CMD"]] == ["broker", "serve"]
    loaded = load({}, environment(), None, tmp_path)
    assert loaded.warnings == ()
    assert (loaded.config.host, loaded.config.data) == ("0.0.0.0", "/data")
    ports = those("EXPOSE")
    assert ports == [str(loaded.config.port)]
    # The volume's owner and mode are the folder's: others' would be refused by the hub.
    (made,) = [each for each in those("RUN") if "install " in each and "/data" in each]
    assert "--mode=0700" in made
    assert those("VOLUME") == ["/data"]
    done = CliRunner().invoke(main, ["config"], env=environment())
    assert done.exit_code == 0, done.stderr


def test_what_it_copies_is_there_and_what_it_checks_is_copied() -> None:
    for each in those("COPY"):
        *options, source, _ = each.split()
        if not any(option.startswith("--from") for option in options):
            assert (ROOT / source).exists(), each
    (check,) = [each for each in instructions() if each.word == "HEALTHCHECK"]
    assert Path(check.form[1]).name == HEALTHCHECK.name
    timeout = re.search(r"--timeout=(\d+)s", check.rest)
    ours = re.search(r"^TIMEOUT_S = ([\d.]+)$", HEALTHCHECK.read_text(), re.MULTILINE)
    assert timeout is not None
    assert ours is not None
    assert float(timeout[1]) > 2 * float(ours[1])


def check(port: int) -> tuple[int, str]:
    """As the engine runs it, with the hub's port."""
    done = subprocess.run(
        [sys.executable, HEALTHCHECK],
        env={"TRISHULA_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("tls", [False, True])
async def test_the_health_check_finds_a_hub_with_and_without_tls(tmp_path: Path, tls: bool) -> None:
    options: tuple[str, ...] = ()
    if tls:
        signed = Authority(tmp_path / "tls").sign()
        options = ("--tls-cert", str(signed.cert), "--tls-key", str(signed.key))
    async with HubProcess(tmp_path / "data", *options) as hub:
        assert check(hub.port) == (0, "")


def test_the_health_check_says_why_nobody_answers() -> None:
    port = free_port()
    code, said = check(port)
    assert code == 1
    assert said.startswith(f"no hub answers at port {port}: ")
    assert "Connection refused" in said
