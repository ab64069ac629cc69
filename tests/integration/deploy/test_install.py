"""What deploy/install.sh refuses before it installs anything. That it installs, the image's steps
show (test_wheel.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
PRIVATE = os.geteuid() == 0 and any(
    not folder.stat().st_mode & 1 for folder in PYTHON.resolve().parents
)
SYSTEMS = Path("/usr/bin/python3")


def has_venv(python: Path) -> bool:
    """Whether an installation could be made with it, were there an index."""
    looked = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
    return python.exists() and subprocess.run([python, "-c", looked], check=False).returncode == 0


def install(deploy: Path, into: object, python: Path = PYTHON) -> tuple[int, str]:
    environ = os.environ | {"PYTHON": str(python), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    command = ["sh", str(deploy / "install.sh"), str(into)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_an_installation_that_is_there_is_left_alone(deploy: Path, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "used").touch()
    code, said = install(deploy, tmp_path / "opt")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"error: {tmp_path / 'opt'} is there; name another directory")
    assert list((tmp_path / "opt").iterdir()) == [tmp_path / "opt" / "used"]


def test_a_directory_is_named_from_the_root_on(deploy: Path) -> None:
    assert install(deploy, "opt") == (2, "error: opt: name a directory from / on\n")


@pytest.mark.skipif(not PRIVATE, reason="others can run the Python of these tests")
def test_a_python_that_only_root_can_run_is_not_taken(deploy: Path, tmp_path: Path) -> None:
    code, said = install(deploy, tmp_path / "opt")
    assert code == 2
    assert "error: nobody but root can run " in said
    assert "PYTHON=/usr/bin/python3" in said
    assert not (tmp_path / "opt").exists()


def test_of_an_installation_that_fails_nothing_is_left(deploy: Path, tmp_path: Path) -> None:
    python = SYSTEMS if PRIVATE else PYTHON
    if not has_venv(python):
        pytest.skip("no Python that others can run: it is refused before")
    # There is no index, and so none of what the lock has.
    code, said = install(deploy, tmp_path / "opt", python)
    assert code == 1
    assert "No matching distribution found" in said
    assert not (tmp_path / "opt").exists()
