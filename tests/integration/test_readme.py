"""The README is true: its blocks run, in order, against a real hub; what it names exists."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from websockets.asyncio.client import connect

from tests.support.hub_process import HubProcess
from trishula import Agent
from trishula_broker.cli import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"`(?P<name>[a-z_]+\.py)`")
DEFAULT_ADDRESS = "127.0.0.1:8765"
LONGEST_S = 60.0
NOT_RUN = ("make ", "websocat ")
"""``make`` would set up and test within a test, and websocat is typed into: both are checked
in tests of their own."""
UNWRITTEN = ("docs/protocol.md", "docs/decisions/")
"""Pages that may still be missing; empty this once they are there."""


class Block(NamedTuple):
    language: str
    text: str
    line: int
    before: str
    """The paragraph before it."""


def blocks(language: str | None = None) -> list[Block]:
    found = []
    for match in FENCE.finditer(README):
        before = README[: match.start()]
        paragraph = before.rstrip().rpartition("\n\n")[2]
        found.append(Block(match["language"], match["text"], before.count("\n") + 1, paragraph))
    return [block for block in found if language in (None, block.language)]


def runnable(block: Block) -> str:
    """The lines of a shell block that a test can run."""
    lines = block.text.splitlines()
    return "\n".join(line for line in lines if not line.startswith(NOT_RUN))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "data") as hub:
        yield hub


async def run(command: list[str], folder: Path, hub: HubProcess) -> tuple[int, str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TRISHULA_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=environ | {"TRISHULA_URL": hub.url},
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_blocks_run_in_order(hub: HubProcess, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    ran = 0
    for block in blocks():
        if block.language == "python":
            names = FILE_NAME.findall(block.before)
            name = names[-1] if names else f"line_{block.line}.py"
            (folder / name).write_text(block.text)
            command = [sys.executable, name]
        elif block.language == "sh" and runnable(block).strip():
            text = runnable(block).replace(DEFAULT_ADDRESS, f"127.0.0.1:{hub.port}")
            command = ["bash", "-euo", "pipefail", "-c", text]
        else:
            continue
        code, out = await run(command, folder, hub)
        assert code == 0, f"README.md:{block.line}: exit code {code}\n{out}"
        expected = re.findall(r"# prints (.+)", block.text)
        for text in expected:
            assert text in out, f"README.md:{block.line}: {text!r} is not in\n{out}"
        ran += 1
    assert ran >= 4


async def test_what_is_typed_into_websocat_is_answered(hub: HubProcess) -> None:
    (typed,) = blocks("json")
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
    named = re.findall(r"^\| `broker ([a-z-]+)", README, re.MULTILINE)
    assert named == list(COMMANDS)


def test_the_first_screen_has_two_commands() -> None:
    first, *_ = blocks()
    assert [line.split("#")[0].strip() for line in first.text.splitlines()] == [
        "make run",
        "make test",
    ]
    assert first.line < 20


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    if link in UNWRITTEN and not (ROOT / link).exists():
        pytest.skip("not written yet")
    assert (ROOT / link).exists()
