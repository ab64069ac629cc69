"""The set-up of two hosts in docs/nodes.md and the README works as it is written."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.redis_server import redis_command
from trishula import Agent, Message

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0


def lines(page: str) -> list[str]:
    """The block that sets up several hubs."""
    text = (ROOT / page).read_text()
    found = re.findall(r"^```shell\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = [each for each in found if "redis-server" in each]
    return str(block).splitlines()


@asynccontextmanager
async def running(
    line: str, folder: Path, environ: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """What a user types, without a shell."""
    words = shlex.split(line)
    env = dict(environ)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        env[name] = value
    command = [redis_command()] if words[0] == "redis-server" else [sys.executable, "-m"]
    if words[0] != "redis-server":
        assert Path(words[0]).name == "broker"
        command.append("trishula_broker")
    process = await asyncio.create_subprocess_exec(
        *(*command, *words[1:]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env=env,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, text: str) -> None:
    """Return when it has printed a line with ``text``."""
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        while text not in (line := (await process.stdout.readline()).decode()):
            assert line, f"it ended without saying {text!r}"


@pytest.mark.parametrize("page", ["docs/nodes.md", "README.md"])
async def test_two_hosts_in_ten_lines(page: str, tmp_path: Path) -> None:
    written = lines(page)
    assert len(written) <= 10
    redis, a, b = free_port(), free_port(), free_port()
    text = "\n".join(written)
    # On one host instead of two, and seen by nobody else.
    for there, here in (
        ("0.0.0.0", "127.0.0.1"),
        ("redis-server", f"redis-server --port {redis}"),
        ("host-a:6379", f"127.0.0.1:{redis}"),
        ("host-a:8765", f"127.0.0.1:{a}"),
        ("host-b:8765", f"127.0.0.1:{b}"),
        ("--node a", f"--node a --port {a}"),
        ("--node b", f"--node b --port {b}"),
    ):
        assert there in text
        text = text.replace(there, here)
    server, init, first, second, export, token, nodes = (
        line for line in text.splitlines() if not line.startswith("#")
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TRISHULA_")}
    environ["XDG_DATA_HOME"] = str(tmp_path)
    name, _, urls = export.removeprefix("export ").partition("=")
    async with AsyncExitStack() as stack:
        await said(
            await stack.enter_async_context(running(server, tmp_path, environ)), "Ready to accept"
        )
        making = await stack.enter_async_context(running(init, tmp_path, environ))
        assert "keys.json" in (await making.communicate())[0].decode()
        hub = await stack.enter_async_context(running(first, tmp_path, environ))
        await said(hub, "serving ws://")
        second_home = tmp_path / "host-b" / "trishula"
        second_home.mkdir(mode=0o700, parents=True)
        shutil.copy2(tmp_path / "trishula" / "keys.json", second_home)
        elsewhere = environ | {"XDG_DATA_HOME": str(second_home.parent)}
        other = await stack.enter_async_context(running(second, tmp_path, elsewhere))
        await said(other, "serving ws://")
        variable, _, command = token.removeprefix("export ").partition("=")
        creating = await stack.enter_async_context(
            running(command.removeprefix("$(").removesuffix(")"), tmp_path, environ)
        )
        bearer = (await creating.communicate())[0].decode().strip()
        agents = environ | {name: urls, variable: bearer}
        asking = await stack.enter_async_context(running(nodes, tmp_path, agents))
        out, _ = await asking.communicate()
        rows = [line.split()[:4] for line in out.decode().splitlines()[1:]]
        assert rows == [["a", "primary", "yes", "yes"], ["b", "failover", "yes", "no"]]
        async with Agent("dc", urls, token=bearer) as dc:
            await dc.send("dc", 1)
            hub.kill()
            await dc.send("dc", 2)
            async with asyncio.timeout(TIMEOUT_S):
                found = [message.payload async for message in limited(dc, 2)]
            assert found == [1, 2]
            assert dc.url == urls.split(",")[1] + "/ws"


async def limited(agent: Agent, count: int) -> AsyncIterator[Message]:
    """So many messages."""
    async for message in agent.messages():
        await message.done()
        yield message
        count -= 1
        if not count:
            break
