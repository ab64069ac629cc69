"""``broker drain``."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.integration.cli.command import TIMEOUT_S, Broker
from tests.support.hub_process import HubProcess
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from trishula import Agent
from trishula_broker.net.neighbour import neighbour


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[HubProcess]:
    """A hub that may be drained."""
    async with HubProcess(tmp_path / "own", node="own") as running:
        yield running


@pytest.fixture
async def broker() -> Broker:
    return Broker("")


async def test_a_hub_is_drained_and_has_ended(own: HubProcess, broker: Broker) -> None:
    pid = own.pid
    done = await broker("drain", "--port", str(own.port))
    assert (done.code, done.out.partition(" after ")[0]) == (0, f"own (pid {pid}) has ended")
    assert done.out.endswith("it had 0 agents\n")
    assert done.err == "note: own knows of no other hub: its agents wait until one is there\n"
    assert await own.wait() == 0
    again = await broker("drain", "--port", str(own.port))
    assert again == (
        3,
        "",
        f"Error: no hub at 127.0.0.1:{own.port}: Connection refused; name its --port and --host\n",
    )


async def test_the_hub_is_that_of_a_configuration_unless_a_port_is_given(
    tmp_path: Path, own: HubProcess, broker: Broker
) -> None:
    file = tmp_path / "broker.toml"
    file.write_text('host = "127.0.0.1"\nport = 1\n')
    done = await broker("drain", "--config", str(file))
    assert done == (
        3,
        "",
        "Error: no hub at 127.0.0.1:1: Connection refused; name its --port and --host\n",
    )
    file.write_text('host = "127.0.0.1"\nport = 0\n')
    done = await broker("drain", "--config", str(file))
    assert done.code == 2
    assert done.err.endswith("port 0 is any free one: name the hub's --port\n")
    file.write_text('host = "127.0.0.1"\nprot = 1\n')
    done = await broker("drain", "--config", str(file))
    assert (done.code, "prot" in done.err) == (2, True)
    file.write_text(f'host = "127.0.0.1"\nport = {own.port}\n')
    done = await broker("drain", "--config", str(file))
    assert (done.code, done.out.partition(" (")[0]) == (0, "own")
    assert await own.wait() == 0


async def test_its_agents_are_with_the_other_hub_afterwards(tmp_path: Path, broker: Broker) -> None:
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        shared = ("--redis", redis.url)
        async with (
            HubProcess(tmp_path / "one", *shared, node="one") as one,
            HubProcess(tmp_path / "two", *shared, "--role", "failover", node="two") as two,
            Agent("agni", [one.url, two.url]) as agni,
        ):
            sending = [asyncio.ensure_future(agni.send("agni", n)) for n in range(500)]
            await sending[0]
            async with asyncio.timeout(TIMEOUT_S):
                while (await neighbour("127.0.0.1", one.port, TIMEOUT_S)).alone:  # type: ignore[union-attr]
                    pass  # until its next beat
            done = await broker("drain", "--json", env={"TRISHULA_PORT": str(one.port)})
            assert (done.code, done.err) == (0, "")
            assert done.json["agents"] == 1
            await asyncio.gather(*sending)
            assert agni.url == two.url
            seen = await broker("nodes", "--json", env={"TRISHULA_URL": two.url})
            assert {each["node"]: each["alive"] for each in seen.json_lines} == {
                "one": False,
                "two": True,
            }
    finally:
        redis.kill()


async def test_one_that_takes_too_long_is_told(own: HubProcess, broker: Broker) -> None:
    # A peer that never answers the close frame keeps the drain waiting.
    _, writer = await asyncio.open_connection("127.0.0.1", own.port)
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"{upgrade}{key}".encode())
    done = await broker("drain", "--port", str(own.port), "--timeout", "0.2")
    assert (done.code, done.out) == (4, "")
    assert f"own (pid {own.pid}) still drains after 0.2 s" in done.err
    await own.signal(signal.SIGTERM)
    assert await own.wait() == 130
    writer.close()


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1], ids=["no-hub", "nobody"])
async def test_a_hub_of_another_host_is_left_alone(broker: Broker, pid: int) -> None:
    report = {"node": "far", "pid": pid, "agents_online": 0, "namespaces": {}}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + msgspec.json.encode(report))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await broker("drain", "--port", str(port))
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith(
        f"Error: far at 127.0.0.1:{port} says it is process {pid}, which is no hub on this host: "
        "it runs on another one, or in a container; drain it there\n"
    )


async def test_another_program_is_left_alone(broker: Broker) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n[]")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await broker("drain", "--port", str(port))
    assert (done.code, done.out) == (3, "")
    assert "is another program, not a hub" in done.err
    assert (await broker("drain", "--port", str(free_port()))).code == 3
