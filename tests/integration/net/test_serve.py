"""``broker serve`` as a process: start, signals, what is in the way, and a crash."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.folder.rig import until
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.redis_server import RedisServer


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "data") as process:
        yield process


def agent(hub: HubProcess) -> connect:
    return connect(hub.url, ping_interval=None)


async def register(client: ClientConnection, name: str) -> dict[str, Any]:
    return await ask(client, {"op": "register", "agent": name}, f"register-{name}")


async def ask(client: ClientConnection, payload: dict[str, Any], id: str) -> dict[str, Any]:
    await client.send(json.dumps({"type": "COMMAND", "to": "hub", "id": id, "payload": payload}))
    answer = await hear(client)
    assert (answer["type"], answer["reply_to"]) == ("RESULT", id), answer
    found: dict[str, Any] = answer["payload"]
    return found


async def hear(client: ClientConnection) -> dict[str, Any]:
    found = json.loads(await client.recv())
    assert isinstance(found, dict), found
    return found


async def test_a_message_goes_from_agent_to_agent(hub: HubProcess) -> None:
    async with agent(hub) as dc, agent(hub) as agni:
        registered = await register(dc, "dc")
        assert registered["node"] == "hub"
        await register(agni, "agni")
        await dc.send('{"type":"COMMAND","to":"agni","id":"m1","payload":{"do":"it"}}')
        accepted = await hear(dc)
        assert accepted["payload"] == {"stage": "accepted", "ids": ["m1"]}
        message = await hear(agni)
        assert (message["from"], message["payload"]) == ("dc", {"do": "it"})
        settled = {"type": "ACK", "to": "hub", "payload": {"stage": "done", "seqs": [1]}}
        settled["payload"]["seqs"] = [message["seq"]]  # type: ignore[index]
        await agni.send(json.dumps(settled))
        assert (await hear(agni))["payload"]["stage"] == "settled"
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            health = (await client.get(hub.http_url + "/health")).json()
        assert health["status"] == "ok"
        assert health["agents_online"] == 2
        assert health["pid"] == hub.pid
        assert (health["node"], health["role"], health["store"]["kind"]) == (
            "hub",
            "primary",
            "sqlite",
        )
        [told] = health["namespaces"].values()
        assert (told["leader"], told["lead"] > 0, told["alone"]) == ("hub", True, True)


async def test_what_was_accepted_survives_a_kill(hub: HubProcess) -> None:
    async with agent(hub) as agni:
        await register(agni, "agni")
    async with agent(hub) as dc:
        await register(dc, "dc")
        await dc.send('{"type":"COMMAND","to":"agni","id":"m1","payload":1}')
        assert (await hear(dc))["payload"]["stage"] == "accepted"
        port = hub.port
        await hub.restart()
        assert hub.port == port
        with pytest.raises(ConnectionClosed):
            await dc.recv()
    async with agent(hub) as agni:
        await register(agni, "agni")
        assert (await hear(agni))["id"] == "m1"


async def test_a_silent_peer_is_found_within_two_heartbeats(hub: HubProcess) -> None:
    async with agent(hub) as dc:
        payload = {"op": "register", "agent": "dc", "heartbeat_ms": 2000}
        before = time.monotonic()
        await ask(dc, payload, "register")
        with pytest.raises(ConnectionClosed):
            await dc.recv()
        assert dc.close_code == 4408
        assert 3 < time.monotonic() - before < 60  # not at its first, and not of something else


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_with_1012_and_exit_code_0(hub: HubProcess, number: int) -> None:
    async with agent(hub) as dc:
        await register(dc, "dc")
        await hub.signal(number)
        with pytest.raises(ConnectionClosed):
            await dc.recv()
        assert dc.close_code == 1012
    assert await hub.wait() == 0
    assert '"stopped"' in hub.log
    assert "Traceback" not in hub.log


async def test_a_second_signal_ends_it_at_once(hub: HubProcess) -> None:
    # A peer that never answers the close frame keeps the drain waiting.
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    await hub.signal(signal.SIGTERM)
    while (await reader.readexactly(1))[0] != 0x88:
        pass
    await hub.signal(signal.SIGTERM)
    assert await hub.wait() == 130
    writer.close()


async def run(*options: str, **variables: str | None) -> tuple[int, str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TRISHULA_")}
    environ |= {name: value for name, value in variables.items() if value is not None}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trishula_broker", "serve", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_a_port_in_use_ends_with_one_line_that_says_by_whom(
    hub: HubProcess, tmp_path: Path
) -> None:
    code, out = await run("--port", str(hub.port), "--data", str(tmp_path / "other"))
    assert code == 3
    assert out == (
        f"broker: 127.0.0.1:{hub.port} is in use by a trishula hub (node hub, pid {hub.pid}); "
        "take another one with --port, and a --data of its own\n"
    )


async def test_a_data_directory_in_use_ends_with_one_line(hub: HubProcess) -> None:
    code, out = await run("--port", "0", "--data", str(hub.data))
    assert code == 3
    assert out.count("\n") == 1
    assert str(hub.data) in out
    assert str(hub.pid) in out


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
async def test_an_address_of_another_machine_ends_with_one_line(tmp_path: Path, host: str) -> None:
    Keys(tmp_path)
    code, out = await run("--host", host, "--data", str(tmp_path))
    assert code == 3
    assert out.startswith(f"broker: cannot listen on {host}:8765: ")
    assert out.endswith("; name an address of this machine with --host\n")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://127.0.0.1:1/0", "see that it runs, and is the one that --redis or redis.url"),
        ("127.0.0.1:6379", "the Redis URL has no scheme: it must be redis://host:port/db"),
    ],
)
async def test_a_redis_that_is_not_there_is_told_with_what_to_do(
    tmp_path: Path, url: str, says: str
) -> None:
    code, out = await run("--port", "0", "--data", str(tmp_path / "data"), "--redis", url)
    assert code == 3
    assert says in out
    assert out.count("\n") == 1


async def test_a_redis_password_that_is_wrong_is_not_a_redis_that_does_not_run(
    tmp_path: Path,
) -> None:
    redis = RedisServer(tmp_path / "redis", requirepass="s3cret")
    redis.start()
    try:
        given = "--port", "0", "--data", str(tmp_path / "data"), "--redis", redis.url
        for password, says in (
            (None, "Redis asks for a password: set TRISHULA_REDIS_PASSWORD"),
            ("wrong", "Redis does not accept the user or the password: compare redis.username"),
        ):
            code, out = await run(*given, TRISHULA_REDIS_PASSWORD=password)
            assert (code, out.count("\n")) == (3, 1)
            assert out.startswith(f"broker: {says}")
            assert "see that it runs" not in out
    finally:
        redis.kill()


async def test_a_redis_that_is_slow_when_a_hub_starts_is_waited_for(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    hub = HubProcess(tmp_path / "data", "--redis", redis.url)
    try:
        redis.signal(signal.SIGSTOP)
        starting = asyncio.create_task(hub.start())
        await until(tmp_path, lambda: starting.done() or "does not answer in time" in told_by(hub))
        redis.signal(signal.SIGCONT)
        await starting
        assert '"store_unavailable"' in hub.log
    finally:
        await hub.kill()
        redis.kill()


def told_by(hub: HubProcess) -> str:
    return hub.log if hub.log_path.exists() else ""


async def test_a_flood_of_connections_leaves_the_store_its_descriptors(tmp_path: Path) -> None:
    few = ("sh", "-c", 'ulimit -n 100 && exec "$@"', "sh")
    async with HubProcess(tmp_path / "data", under=few) as hub, agent(hub) as dc:
        await register(dc, "dc")
        flood = [await asyncio.open_connection("127.0.0.1", hub.port) for _ in range(150)]
        await dc.send('{"type":"COMMAND","to":"dc","id":"m1","payload":1}')
        assert "accepted" in str(await dc.recv())
        for _, writer in flood:
            writer.close()
        async with agent(hub) as agni:
            await register(agni, "agni")
        assert "accepting_paused" in hub.log
        assert '"bug"' not in hub.log


async def test_nothing_of_a_payload_is_logged(hub: HubProcess) -> None:
    async with agent(hub) as dc:
        await register(dc, "dc")
        await dc.send('{"type":"COMMAND","to":"dc","id":"m1","payload":"s3cret"}')
        assert "s3cret" in str(await dc.recv())
    await hub.terminate()
    assert "registered" in hub.log
    assert "s3cret" not in hub.log
