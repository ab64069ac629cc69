"""How commands start and end: what they import, hubs that are not there."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.command import Broker

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAVY = ("uvicorn", "starlette", "uvloop", "httptools", "structlog", "rich", "anyio")
ALL = [
    "send dc 1",
    "listen",
    "agents",
    "watch",
    "peek --as dc",
    "history --as dc",
    "trace x --as dc",
    "recall x --as dc",
    "deadletters list",
    "deadletters show dc 1",
    "deadletters retry dc 1",
    "deadletters drop dc 1 --yes",
    "bench --duration 1s",
    "pause dc",
    "resume dc",
    "folder-mode on",
    "forget dc --yes",
    "tap",
]


@pytest.mark.parametrize("command", ALL)
async def test_without_a_hub_it_says_where_it_looked_and_what_to_do(command: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/ws"
        done = await Broker(url)(*command.split(), "--connect-timeout", "1")
    assert (done.code, done.out) == (3, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("Error: no hub ")
    assert f"{url}: Connection refused; " in last
    assert last.endswith(
        "start one with `broker serve`, or name another with --url or TRISHULA_URL"
    )
    assert "Traceback" not in done.err


async def test_a_url_that_is_none_is_wrong_usage(broker: Broker) -> None:
    done = await broker("agents", "--url", "http://127.0.0.1/")
    assert done == (
        *(2, ""),
        "Error: --url: 'http://127.0.0.1/' must begin with ws:// or wss://; use ws://127.0.0.1/\n",
    )


async def test_a_place_on_the_host_where_no_hub_is(broker: Broker) -> None:
    url = broker.url.removesuffix("/ws") + "/wrong"
    done = await broker("agents", "--url", url, "--connect-timeout", "60")
    assert done.code == 3
    assert "HTTP 404" in done.err
    assert f"use {broker.url})" in done.err


async def test_the_next_url_is_tried(broker: Broker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"ws://127.0.0.1:{taken.getsockname()[1]}/ws"
        done = await broker("agents", "--url", f"{away},{broker.url}")
    assert (done.code, done.err) == (0, "")


async def test_ctrl_c_while_there_is_no_hub_is_quiet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"ws://127.0.0.1:{mute.getsockname()[1]}/ws"
        async with await Broker(url).start("agents", "--connect-timeout", "60") as asking:
            peer, _ = await asyncio.to_thread(mute.accept)
            assert await asking.interrupt() == (130, "", "")
            peer.close()


@pytest.mark.parametrize("args", [["agents"], ["agents", "--json"], ["history", "--as", "x"]])
async def test_a_reader_that_has_left_ends_it_quietly(broker: Broker, args: list[str]) -> None:
    assert (await broker("send", "x", "1", "--as", "x")).code == 0
    reading, writing = os.pipe()
    os.close(reading)
    async with await broker.start(*args, stdout=writing) as asking:
        os.close(writing)
        assert await asking.end() == (0, "", "")


async def test_a_command_imports_what_it_needs_and_no_more(broker: Broker) -> None:
    names = ", ".join(repr(name) for name in HEAVY)
    program = (
        "import sys; from trishula_broker.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: sys.stderr.write(','.join(sorted({{{names}}} & set(sys.modules))))"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "agents", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TRISHULA_URL": broker.url},
    )
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_wrong_usage_is_told_without_the_sdk(broker: Broker) -> None:
    program = (
        "import sys; from trishula_broker.cli import main\n"
        "try: main(['send', 'dc', '{', '--wait', '--until', 'done'])\n"
        "finally: sys.stdout.write(str('trishula' in sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    assert (process.returncode, out) == (2, b"False")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
async def test_a_full_disk_is_told_and_costs_no_message(broker: Broker) -> None:
    assert (await broker("send", "full", "1", "--as", "full")).code == 0
    with Path("/dev/full").open("wb") as full:
        async with await broker.start("listen", "--as", "full", stdout=full.fileno()) as listening:
            done = await listening.end()
    assert done.code == 1
    assert "Error: standard output: No space left on device" in done.err
    assert (await broker("peek", "--as", "full", "--json")).json["count"] == 1


async def test_an_ascii_locale_loses_nothing(broker: Broker) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert (await broker("send", "ascii", '"ü"', "--as", "ascii", env=ascii_only)).code == 0
    done = await broker("history", "--as", "ascii", "--json", env=ascii_only)
    assert done.json["payload"] == "ü"
    done = await broker("history", "--as", "ascii", env=ascii_only)
    assert done.out.endswith('  "\\xfc"\n')
