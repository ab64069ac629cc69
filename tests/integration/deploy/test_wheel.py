"""The steps of deploy/install.sh and the image, by hand: a wheel of what the image is given, in a
clean environment that nobody can write to, served by a user who may do nothing else.

What the lock has is copied from the environment of the tests instead of being asked of an index.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from packaging.requirements import Requirement

from tests.support.image import ROOT, context

TIMEOUT_S = 120.0
READY = re.compile(r"serving ws://127\.0\.0\.1:(?P<port>\d+)/ws ")
BUILDS = ("editables", "hatchling", "pathspec", "pluggy", "tomlkit", "trove-classifiers")
"""What install.sh takes away again."""


class User(NamedTuple):
    """Who installs and serves: somebody without rights, where the tests have any."""

    home: Path
    options: dict[str, Any]

    def run(self, *command: object, check: bool = True) -> str:
        """Its output; it must end well, unless that is of no matter."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(each) for each in command],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            **self.options,
        )
        assert done.returncode == 0 or not check, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def python(self) -> Path | None:
        """One of the tests' version that this user can run: theirs may be in root's home."""
        name = f"python3.{sys.version_info.minor}"
        for folder in (Path(sys.base_prefix) / "bin", Path("/usr/local/bin"), Path("/usr/bin")):
            try:
                self.run(folder / name, "-c", "import ensurepip")
            except (OSError, AssertionError):
                continue
            return folder / name
        return None

    @property
    def environ(self) -> dict[str, str]:
        """Its own, and nothing of the tests'."""
        home = {"HOME": str(self.home), "PATH": os.defpath}
        return home | {"PYTHONDONTWRITEBYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    # Not in pytest's own folder, which is for the tests' user alone.
    with tempfile.TemporaryDirectory(prefix="trishula-wheel-") as made:
        home = Path(made)
        options: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        yield User(home, options)
        for folder in (home, *home.rglob("*")):  # it was made read-only
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o700)


@pytest.fixture(scope="module")
def wheel(user: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of what the ignore file leaves of this checkout."""
    source = context(tmp_path_factory.mktemp("context"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index"]
    command += ["--no-build-isolation", "--no-deps", "--wheel-dir", str(source / "wheels")]
    subprocess.run([*command, str(source)], check=True)
    (built,) = (source / "wheels").iterdir()
    shutil.copy(built, user.home)
    found = user.home / built.name
    found.chmod(0o644)
    return found


@pytest.fixture(scope="module")
def installed(user: User, wheel: Path) -> Path:
    """The environment, with the wheel in it, which nobody can change any more."""
    base = user.python()
    if base is None:
        pytest.skip("there is no Python of this version for a user without rights")
    venv = user.home / "opt"
    user.run(base, "-m", "venv", venv)
    python = venv / "bin" / "python"
    place = Path(user.run(python, "-c", "import sysconfig as s; print(s.get_path('purelib'))")[:-1])
    version = user.run(python, "-c", "import platform; print(platform.python_version())").strip()
    missing = []
    for name in locked(version):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)  # an older patch release of this version wants it
            continue
        for file in importlib.metadata.files(name) or ():
            path = Path(str(file))
            if ".." not in path.parts and "__pycache__" not in path.parts:
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), place / path)
    user.run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    for line in user.run(python, "-m", "pip", "check", check=False).splitlines():
        assert line == "No broken requirements found." or any(each in line for each in missing)
    for each in (venv, *venv.rglob("*")):
        if not each.is_symlink():
            each.chmod(each.stat().st_mode & 0o555 | 0o444)
    return venv


def locked(version: str) -> list[str]:
    """What the lock has for a Python of this version, without what builds the wheel."""
    text = (ROOT / "requirements" / "run.txt").read_text()
    lines = re.findall(r"^([a-zA-Z].*?) *\\?$", text, re.MULTILINE)
    needed = [Requirement(line) for line in lines]
    given = {"python_full_version": version}
    names = [each.name for each in needed if each.marker is None or each.marker.evaluate(given)]
    assert set(BUILDS) < set(names)
    return [name for name in names if name not in BUILDS]


@asynccontextmanager
async def serving(installed: Path, user: User) -> AsyncIterator[tuple[int, str]]:
    """Its process and URL."""
    data = user.home / "data"
    process = await asyncio.create_subprocess_exec(
        *(str(installed / "bin" / "broker"), "serve", "--port", "0", "--data", str(data)),
        stdout=asyncio.subprocess.PIPE,
        cwd=user.home,
        env=user.environ,
        **user.options,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            line = (await process.stdout.readline()).decode()
        found = READY.match(line)
        assert found is not None, line
        yield process.pid, f"http://127.0.0.1:{found['port']}"
        process.terminate()
        async with asyncio.timeout(TIMEOUT_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_serves_the_console_and_says_that_it_is_well(installed: Path, user: User) -> None:
    async with (
        serving(installed, user) as (pid, url),
        httpx.AsyncClient(trust_env=False, base_url=url, timeout=60) as client,
    ):
        page = await client.get("/")
        assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/html")
        files = set(re.findall(r'(?:src|href)="(/?[\w./-]+\.\w+)"', page.text))
        assert {each.rpartition(".")[2] for each in files} >= {"js", "css"}
        for each in files:
            answer = await client.get(f"/{each.removeprefix('/')}")
            assert (answer.status_code, bool(answer.content)) == (200, True), each
        health = (await client.get("/health")).json()
        assert (health["status"], health["pid"]) == ("ok", pid)
        assert health["version"] == importlib.metadata.version("trishula")
        if user.options:
            assert Path(f"/proc/{pid}").stat().st_uid == user.options["user"] != 0


def test_all_of_the_console_is_in_the_wheel(installed: Path, user: User) -> None:
    ours = ROOT / "broker/trishula_broker/console/static"
    code = "import trishula_broker.console as c; print(c.__path__[0])"
    theirs = Path(user.run(installed / "bin/python", "-c", code).strip()) / "static"
    assert theirs.is_relative_to(installed)

    def names(folder: Path) -> set[str]:
        return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}

    assert names(theirs) == names(ours) != set()


def test_every_command_is_there_without_what_only_developers_have(
    installed: Path, user: User
) -> None:
    code = """if True:
        import importlib, pkgutil
        import trishula, trishula_broker, trishula_protocol
        from click.testing import CliRunner
        from trishula_broker.cli import COMMANDS, main
        for name in COMMANDS:
            assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0, name
        print(len(COMMANDS))
    """
    assert int(user.run(installed / "bin/python", "-c", code)) > 20


def test_the_image_takes_away_what_this_leaves_out() -> None:
    (line,) = re.findall(
        r"^\$pip uninstall --yes (.*)$", (ROOT / "deploy/install.sh").read_text(), re.MULTILINE
    )
    assert tuple(line.split()) == BUILDS
