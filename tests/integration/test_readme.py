"""The README is true, and what it leads to first: their blocks run, in order, against a real hub,
and what they name exists.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import connect

import trishula
from tests.support import guide
from tests.support.guide import Block
from tests.support.hub_process import HubProcess
from trishula import Agent
from trishula_broker.cli import COMMANDS
from trishula_broker.cli.exits import ExitCode
from trishula_protocol.bodies import Watch

ROOT = Path(__file__).parents[2]
README_FILE = ROOT / "README.md"
README = README_FILE.read_text()
AGENTS = ROOT / "docs" / "agents.md"
CLI = ROOT / "docs" / "cli.md"
FILE_NAME = re.compile(r"`(?P<name>[a-z_]+\.py)`")
DEFAULT_ADDRESS = "127.0.0.1:8765"
LONGEST_S = 60.0
WIDEST = 80
"""Columns that the site shows of a block without scrolling, on a laptop."""


def blocks(*languages: str, page: Path = README_FILE) -> list[Block]:
    return guide.blocks(page, *languages)


def runs_for_long(block: Block) -> bool:
    """Whether it is a program that ends by a signal; the blocks behind it run beside it."""
    return ".run()" in block.text and block.language == "python"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "data") as hub:
        yield hub


async def start(command: list[str], folder: Path, hub: HubProcess) -> asyncio.subprocess.Process:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TRISHULA_")}
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=environ | {"TRISHULA_URL": hub.url},
    )


async def run(command: list[str], folder: Path, hub: HubProcess) -> tuple[int, str]:
    return await end(await start(command, folder, hub))


async def end(process: asyncio.subprocess.Process) -> tuple[int, str]:
    try:
        async with asyncio.timeout(LONGEST_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@asynccontextmanager
async def running(command: list[str], folder: Path, hub: HubProcess) -> AsyncIterator[None]:
    """It is online inside, and is asked to end behind."""
    async with Agent("looker", hub.url) as looker:
        changes = looker.watch()
        news = asyncio.ensure_future(anext(changes))
        await looker.ask(Watch())
        process = await start(command, folder, hub)
        try:
            async with asyncio.timeout(LONGEST_S):
                while (await news)["agent"] == looker.name:
                    news = asyncio.ensure_future(anext(changes))
            yield
        finally:
            news.cancel()
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            code, out = await end(process)
            assert code == 0, out


@pytest.mark.parametrize(
    ("page", "count"), [(README_FILE, 3), (AGENTS, 2)], ids=["README", "agents"]
)
async def test_the_blocks_run_in_order(
    page: Path, count: int, hub: HubProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    ran = 0
    async with AsyncExitStack() as beside:
        for block in blocks(page=page):
            if block.language == "python":
                names = FILE_NAME.findall(block.before)
                name = names[0] if names else f"line_{block.line}.py"
                (folder / name).write_text(block.text)
                command = [sys.executable, name]
            elif block.language in guide.SHELLS and block.not_run is None:
                text = block.text.replace(DEFAULT_ADDRESS, f"127.0.0.1:{hub.port}")
                command = ["bash", "-euo", "pipefail", "-c", text]
            else:
                continue
            ran += 1
            if runs_for_long(block):
                await beside.enter_async_context(running(command, folder, hub))
                continue
            code, out = await run(command, folder, hub)
            assert code == 0, f"{block}: exit code {code}\n{out}"
            for text in re.findall(r"# prints (.+)", block.text):
                assert text in out, f"{block}: {text!r} is not in\n{out}"
    assert ran == count


def test_pip_installs_a_checkout_elsewhere(tmp_path: Path) -> None:
    (lines,) = [block.text for block in blocks("sh") if block.text.startswith("pip install")]
    assert "'path/to/trishula[broker]'" in lines
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps"]
    pip += ["--no-build-isolation", "--quiet", "--target", str(tmp_path), str(ROOT)]
    subprocess.run(pip, check=True)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import trishula; print(trishula.__file__)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)


def test_the_errors_it_names_are_the_sdks() -> None:
    text = AGENTS.read_text()
    table = text[text.index("| error | when |") :].split("\n\n")[0]
    named = set(re.findall(r"^\| `([A-Za-z]+)`", table, re.MULTILINE))
    assert named - {"TimeoutError"} <= set(trishula.__all__)
    assert len(named) >= 6


def test_the_exit_codes_are_those_of_the_command() -> None:
    [said] = re.findall(r"Exit codes: ([^.]+)\.", CLI.read_text())
    assert re.findall(r"\d+", said) == [str(int(code)) for code in ExitCode]


async def test_what_is_typed_into_websocat_is_answered(hub: HubProcess) -> None:
    (typed,) = blocks("json", page=CLI)
    async with Agent("agni", hub.url):
        pass  # registered once: the recipient is known
    async with connect(hub.url) as socket:  # names no subprotocol, like websocat
        answers = []
        for line in typed.text.splitlines():
            await socket.send(line)
            answers.append(msgspec.json.decode(await socket.recv()))
    said = [msgspec.json.decode(line) for line in typed.text.splitlines()]
    assert [answer["from"] for answer in answers] == ["hub"] * len(said)
    assert answers[0]["type"] == "RESULT"
    assert answers[1]["payload"] == {"stage": "accepted", "ids": [said[1]["id"]]}


def test_make_targets_exist() -> None:
    named = set(re.findall(r"`make ([a-z]+)", README))
    named |= {
        line.split()[1]
        for block in blocks("sh")
        for line in block.text.splitlines()
        if line.startswith("make ")
    }
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"run", "test"} <= named <= targets


def test_the_table_of_commands_is_complete() -> None:
    named = re.findall(r"^\| `broker ([a-z-]+)", CLI.read_text(), re.MULTILINE)
    assert named == list(COMMANDS)


def test_it_leads_to_every_page() -> None:
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - {"docs/index.md"}
    assert pages <= set(re.findall(r"\]\((docs/[a-z-]+\.md)\)", README))


def test_its_pictures_of_text_are_as_wide_as_the_site_shows() -> None:
    for block in blocks("text"):
        assert max(map(len, block.text.splitlines())) <= WIDEST, block


def test_it_is_for_a_person_in_a_hurry() -> None:
    assert len(README.splitlines()) <= 220


def test_the_first_screen_has_two_commands() -> None:
    first, *_ = blocks()
    assert [line.split("#")[0].strip() for line in first.text.splitlines()] == [
        "make run",
        "make test",
    ]
    assert first.line < 20
