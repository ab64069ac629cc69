"""``deploy/nginx.conf`` in a real nginx, before two real hubs on one Redis."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.nginx import CONFIG, Nginx
from tests.support.two_hubs import two_hubs
from trishula import Agent, State, connector, failback
from trishula_protocol import limits

SOON_S = 60.0
"""A generous limit, so that a busy machine is no failure; it is a few milliseconds."""


class Site(NamedTuple):
    nginx: Nginx
    primary: HubProcess
    failover: HubProcess
    keys: Keys

    def agent(self, name: str, *paths: str, **options: Any) -> Agent:
        """An agent that only knows nginx."""
        urls = [self.nginx.url + path for path in paths or ("/ws",)]
        token = self.keys.token(name)
        return Agent(name, urls, token=token, ca_file=self.nginx.ca_file, **options)

    async def get(self, path: str, token: str = "") -> tuple[int, Any]:
        """Status and body of an HTTP answer."""
        context = ssl.create_default_context(cafile=self.nginx.ca_file)
        address = self.nginx.url.replace("wss:", "https:") + path
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = urllib.request.Request(address, headers=headers)

        def get() -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(url, context=context, timeout=60) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        status, body = await asyncio.to_thread(get)
        return status, json.loads(body) if body.startswith(b"{") else body


@asynccontextmanager
async def site(directory: Path) -> AsyncIterator[Site]:
    keys = Keys(directory / "keys")
    config = directory / "broker.toml"
    config.write_text('[websocket]\nproxies = ["127.0.0.1"]\n')
    options = ("--keys", str(keys.path), "--config", str(config))
    async with two_hubs(directory, *options) as (one, two):
        nginx = Nginx(directory / "nginx", one.port, two.port)
        nginx.start()
        try:
            yield Site(nginx, one, two, keys)
        finally:
            nginx.stop()


async def node(agent: Agent) -> str:
    """The hub that serves it, as that says."""
    (found,) = [entry for entry in await agent.agents() if entry["id"] == agent.name]
    return str(found["node"])


async def test_an_agent_over_tls_is_on_the_backup_as_soon_as_the_primary_is_killed(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as found, found.agent("dc") as dc, found.agent("agni") as agni:
        mailbox = agni.messages()
        await dc.send("agni", "by the primary")
        assert await node(dc) == "one"
        await found.primary.kill()
        begun = time.monotonic()
        await dc.send("agni", "by the failover")
        assert time.monotonic() - begun < SOON_S
        assert await node(dc) == "two"
        got = [await anext(mailbox), await anext(mailbox)]
        assert [message.payload for message in got] == ["by the primary", "by the failover"]
        status, health = await found.get("/health", found.keys.token("look", role="observer"))
        assert (status, health["node"]) == (200, "two")


async def test_an_agent_with_both_paths_leaves_goes_back_and_sends_all_the_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failback, "OFTEN_SECONDS", 0.1)
    async with (
        site(tmp_path) as found,
        found.agent("dc", "/primary/ws", "/failover/ws", failback_after=0.2) as dc,
    ):
        await found.primary.kill()
        await dc.send("dc", 1)
        assert await node(dc) == "two"
        states: list[State] = []
        dc.on_state(states.append)
        await found.primary.start()
        async with asyncio.timeout(60):
            while await node(dc) != "one":
                await dc.send("dc", 2)
        assert states == []
        assert dc.url == found.nginx.url + "/primary/ws"


async def test_health_says_which_hub_is_how(tmp_path: Path) -> None:
    async with site(tmp_path) as found:
        token = found.keys.token("look", role="operator")
        for path, name in (("", "one"), ("/primary", "one"), ("/failover", "two")):
            status, health = await found.get(path + "/health", token)
            assert (status, health["node"]) == (200, name)
            assert await found.get(path + "/health") == (200, {"status": "ok"})
            assert (await found.get(path + "/health/ready"))[0] == 200
        await found.primary.kill()
        assert (await found.get("/health/ready"))[0] == 200
        assert (await found.get("/primary/health/ready"))[0] == 502
        assert (await found.get("/failover/metrics"))[0] == 403


async def test_a_hub_knows_its_peers_behind_nginx_and_takes_none_without_a_token(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as found:
        trust = ssl.create_default_context(cafile=found.nginx.ca_file)
        url, said = found.nginx.url + "/ws", {"X-Forwarded-For": "192.0.2.9"}
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, ssl=trust, additional_headers=said).__aenter__()
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["WWW-Authenticate"].startswith("Bearer")
        await found.primary.terminate()
        (line,) = [each for each in found.primary.log.splitlines() if "connection_refused" in each]
        assert json.loads(line)["peer"] == "127.0.0.1"  # nginx's word, and not the client's
        assert json.loads(line)["reason"] == "missing"


async def test_frames_of_every_size_pass_whole(tmp_path: Path) -> None:
    async with site(tmp_path) as found, found.agent("dc") as dc:
        mailbox = dc.messages()
        for size in (1, 65_000, limits.HUB_FRAME_BYTES - 1_000):
            payload = "é" * (size // 2)
            await dc.send("dc", payload)
            message = await anext(mailbox)
            assert message.payload == payload
            await message.done()


async def test_a_token_in_the_query_is_in_no_log_also_when_no_hub_answers(tmp_path: Path) -> None:
    async with site(tmp_path) as found:
        trust = ssl.create_default_context(cafile=found.nginx.ca_file)
        token = found.keys.token("page")
        url = f"{found.nginx.url}/ws?token={token}"
        async with connect(url, ssl=trust):
            pass
        with pytest.raises(InvalidStatus) as refused:
            await connect(url + "x", ssl=trust).__aenter__()
        assert refused.value.response.status_code == 401
        await found.primary.kill()
        await found.failover.kill()
        with pytest.raises(InvalidStatus):
            await connect(url, ssl=trust).__aenter__()
        found.nginx.stop()
        assert '"GET /ws" 101' in found.nginx.logs
        assert '"GET /ws" 401' in found.nginx.logs
        assert '"GET /ws" 502' in found.nginx.logs
        signature = token.rpartition(".")[2]
        assert signature not in found.nginx.logs + found.primary.log + found.failover.log


def seconds(directive: str) -> int:
    (found,) = re.findall(rf"^\s*{directive}\s+(\d+)s;", CONFIG.read_text(), re.MULTILINE)
    return int(found)


@pytest.mark.parametrize("directive", ["proxy_read_timeout", "proxy_send_timeout"])
def test_a_quiet_agent_outlives_the_timeouts(directive: str) -> None:
    given_up = limits.HEARTBEATS_MISSED * limits.HEARTBEAT_MAX_MS // 1000
    assert seconds(directive) > given_up


def test_the_backup_is_asked_before_the_agent_leaves() -> None:
    assert 0 < seconds("proxy_connect_timeout") < connector.ATTEMPT_SECONDS
    assert seconds("proxy_next_upstream_timeout") <= connector.ATTEMPT_SECONDS
