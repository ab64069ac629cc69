"""``broker serve --workers``: several processes, one port, one hub to whoever looks."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.cli.command import Broker
from tests.support.certificates import Authority
from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer
from tests.support.service_manager import ServiceManager
from trishula import Agent

TIMEOUT_S = 60.0
WORKERS = 2


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def hub(tmp_path: Path, redis: RedisServer) -> AsyncIterator[HubProcess]:
    redis.ask("FLUSHALL")
    started = workers_of(tmp_path / "data", redis)
    async with started as running:
        yield running
        if running.running:
            await running.terminate()


def workers_of(
    data: Path,
    redis: RedisServer,
    *options: str,
    port: int = 0,
    environ: dict[str, str] | None = None,
) -> HubProcess:
    shared = ("--redis", redis.url, "--workers", str(WORKERS), *options)
    return HubProcess(data, *shared, port=port, node="a", environ=environ)


async def health(hub: HubProcess, verify: ssl.SSLContext | bool = True) -> dict[str, Any]:
    """Of whichever worker answers; asked again where that one dies over it."""
    url = hub.http_url if verify is True else hub.http_url.replace("http", "https")
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                async with httpx.AsyncClient(trust_env=False, verify=verify, timeout=60) as client:
                    found: dict[str, Any] = (await client.get(url + "/health")).json()
                    return found
            except httpx.TransportError:
                continue


async def each(hub: HubProcess) -> dict[str, dict[str, Any]]:
    return {worker["node"]: worker for worker in (await health(hub))["workers"]["each"]}


async def on_both(hub: HubProcess, stack: AsyncExitStack) -> dict[str, Agent]:
    """An agent at each worker: as many connect as that takes."""
    found: dict[str, Agent] = {}
    async with asyncio.timeout(TIMEOUT_S):
        for n in range(100):
            agent = await stack.enter_async_context(Agent(f"agent-{n}", hub.url))
            [here] = [each for each in await agent.agents() if each["id"] == agent.name]
            found.setdefault(here["node"], agent)
            if len(found) == WORKERS:
                return found
    raise AssertionError(f"all are with {list(found)}")


async def test_one_line_says_that_all_serve_and_health_tells_of_each(hub: HubProcess) -> None:
    assert hub.ready_line.startswith(f"serving ws://127.0.0.1:{hub.port}/ws  node=a workers=2 ")
    found = await health(hub)
    assert found["node"] in ("a-1", "a-2")
    workers = found["workers"]
    assert (workers["node"], workers["pid"]) == ("a", hub.pid)
    assert [(each["node"], each["starts"]) for each in workers["each"]] == [("a-1", 1), ("a-2", 1)]
    pids = {each["pid"] for each in workers["each"]}
    assert len(pids) == WORKERS
    assert found["pid"] in pids


async def test_agents_of_different_workers_talk_and_each_worker_has_an_archive(
    hub: HubProcess,
) -> None:
    async with AsyncExitStack() as stack:
        one, two = (await on_both(hub, stack)).values()
        await one.send(two.name, "over there")
        async with asyncio.timeout(TIMEOUT_S):
            message = await anext(aiter(two.messages()))
        assert (message.sender, message.payload) == (one.name, "over there")
        await message.done()
    for name in ("worker-1", "worker-2"):
        folder = hub.data / name
        assert (folder / "audit").is_dir()
        assert folder.stat().st_mode & 0o077 == 0


async def test_agents_of_a_worker_that_is_killed_go_on_with_another_and_it_comes_back(
    hub: HubProcess,
) -> None:
    async with AsyncExitStack() as stack:
        agents = await on_both(hub, stack)
        victim = agents["a-1"]
        before = await each(hub)
        os.kill(before["a-1"]["pid"], signal.SIGKILL)
        async with asyncio.timeout(TIMEOUT_S):
            await agents["a-2"].send(victim.name, "still there?")
            message = await anext(aiter(victim.messages()))
            assert message.payload == "still there?"
            await message.done()
            while not (again := (await each(hub))["a-1"])["pid"]:
                pass  # asked again
        assert (again["starts"], (await each(hub))["a-2"]["pid"]) == (2, before["a-2"]["pid"])
        assert again["pid"] != before["a-1"]["pid"]
    assert '"worker_ended"' in hub.log
    assert "SIGKILL" in hub.log


async def test_sigterm_drains_all_of_them(hub: HubProcess) -> None:
    pids = [worker["pid"] for worker in (await each(hub)).values()]
    assert await hub.terminate() == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert hub.log.count('"stopped"') == WORKERS
    assert "Traceback" not in hub.log
    assert '"worker_ended"' not in hub.log


async def test_broker_drain_drains_all_of_them(hub: HubProcess) -> None:
    async with Agent("agni", hub.url), Agent("dc", hub.url):
        async with asyncio.timeout(TIMEOUT_S):
            while sum(worker["agents_online"] for worker in (await each(hub)).values()) < 2:
                pass  # asked again
        done = await Broker("")("drain", "--port", str(hub.port))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"a (pid {hub.pid}) has ended after ")
    assert done.out.endswith("it had 2 agents\n")
    assert await hub.wait() == 0


async def test_workers_whose_supervisor_is_killed_drain_and_end(hub: HubProcess) -> None:
    await hub.kill()
    assert hub.log.count('"stopped"') == WORKERS


async def test_sighup_reaches_all_of_them(tmp_path: Path, redis: RedisServer) -> None:
    redis.ask("FLUSHALL")
    authority = Authority(tmp_path / "first")
    signed = authority.sign()
    options = ("--tls-cert", str(signed.cert), "--tls-key", str(signed.key))
    async with workers_of(tmp_path / "data", redis, *options) as hub:
        other = Authority(tmp_path / "second", "another authority")
        renewed = other.sign()
        signed.key.write_bytes(renewed.key.read_bytes())
        signed.cert.write_bytes(renewed.cert.read_bytes())
        await hub.signal(signal.SIGHUP)
        trust = ssl.create_default_context(cafile=other.file)
        answered: set[int] = set()
        async with asyncio.timeout(TIMEOUT_S):
            while len(answered) < WORKERS:
                answered.add((await health(hub, trust))["pid"])
        assert await hub.terminate() == 0


async def test_a_port_that_another_hubs_workers_share_is_in_use(
    hub: HubProcess, tmp_path: Path, redis: RedisServer
) -> None:
    with pytest.raises(RuntimeError, match=f"in use by a trishula hub .node a, pid {hub.pid}."):
        await workers_of(tmp_path / "other", redis, port=hub.port).start()


async def test_what_keeps_one_from_starting_ends_all_and_is_said_once(
    tmp_path: Path, redis: RedisServer
) -> None:
    blocked = tmp_path / "data" / "worker-1" / "audit"
    blocked.parent.mkdir(parents=True, mode=0o700)
    (tmp_path / "data").chmod(0o700)
    blocked.write_text("no folder")
    blocked.chmod(0o600)
    hub = workers_of(tmp_path / "data", redis)
    with pytest.raises(RuntimeError, match="the hub ended with 3"):
        await hub.start()
    assert hub.log.count("broker: audit.path") == 1


async def test_a_service_manager_hears_once_of_all_and_a_worker_that_hangs_is_started_again(
    tmp_path: Path, redis: RedisServer
) -> None:
    redis.ask("FLUSHALL")
    with ServiceManager(tmp_path / "notify") as manager:
        hub = workers_of(tmp_path / "data", redis, environ=manager.environ(4.0))
        async with hub, AsyncExitStack() as stack:
            told = await manager.heard("READY")
            assert told["STATUS"] == hub.ready_line.strip()
            agents = await on_both(hub, stack)
            before = await each(hub)
            os.kill(before["a-1"]["pid"], signal.SIGSTOP)
            while "worker_hangs" not in hub.log:
                assert await manager.heard("WATCHDOG") == {"WATCHDOG": "1"}
            async with asyncio.timeout(TIMEOUT_S):
                await agents["a-2"].send(agents["a-1"].name, "gone on elsewhere?")
                message = await anext(aiter(agents["a-1"].messages()))
                await message.done()
                while (again := (await each(hub))["a-1"])["starts"] == 1 or not again["pid"]:
                    pass  # asked again
            assert (await each(hub))["a-2"]["pid"] == before["a-2"]["pid"]
            await hub.signal(signal.SIGHUP)
            while "nothing_to_reload" not in hub.log:
                await manager.heard("WATCHDOG")
            await hub.signal(signal.SIGTERM)
            await manager.heard("STOPPING")
            assert await hub.wait() == 0
