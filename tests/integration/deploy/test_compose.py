"""deploy/docker-compose.yml: what it sets is what the hubs, Redis and nginx understand."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.hub_process import HubProcess
from tests.support.image import environment
from tests.support.keys import Keys
from tests.support.nginx import nginx_command
from tests.support.redis_server import RedisServer, redis_command
from trishula import Agent
from trishula_broker.config import Config, load

HUBS = ("primary", "failover")
PASSWORD = "s3cret-of-the-test"
Compose = dict[str, Any]


@pytest.fixture
def compose(deploy: Path) -> Compose:
    found: Compose = yaml.safe_load((deploy / "docker-compose.yml").read_text())
    return found


@pytest.fixture
def prometheus(deploy: Path) -> Compose:
    found: Compose = yaml.safe_load((deploy / "prometheus/prometheus.yml").read_text())
    return found


def config_of(compose: Compose, hub: str) -> Config:
    given = environment() | compose["services"][hub]["environment"]
    loaded = load({}, given, None, Path("/data"))
    assert loaded.warnings == ()
    return loaded.config


def test_every_service_is_shut_in_and_its_log_ends(compose: Compose) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["driver"] == "local", name
        assert service["restart"] == "unless-stopped", name


def test_images_have_versions_and_no_hosts(compose: Compose) -> None:
    for name, service in compose["services"].items():
        image = service["image"]
        assert "." not in image.partition("/")[0].partition(":")[0]
        if name not in HUBS:
            assert re.search(r":v?\d+\.\d", image), image


def test_only_nginx_is_reached_from_elsewhere(compose: Compose) -> None:
    published = {name: each.get("ports", []) for name, each in compose["services"].items()}
    assert published.pop("nginx") == ["443:443"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert compose["networks"]["store"] == {"internal": True}
    assert compose["services"]["redis"]["networks"] == ["store"]


def test_the_hubs_share_a_store_and_keys_and_nothing_else(compose: Compose) -> None:
    primary, failover = (config_of(compose, hub) for hub in HUBS)
    assert (primary.role, failover.role) == HUBS
    assert primary.node != failover.node
    assert primary.redis == failover.redis
    assert primary.redis.url == "redis://redis:6379/0"
    assert primary.auth.keys == failover.auth.keys
    for hub in HUBS:
        volumes = dict(each.split(":") for each in compose["services"][hub]["volumes"])
        assert volumes == {hub: "/data", "keys": "/keys"}


def test_nginx_is_the_proxy_that_the_hubs_believe(compose: Compose, deploy: Path) -> None:
    services, (subnet,) = compose["services"], compose["networks"]["front"]["ipam"]["config"]
    addresses = {
        name: each["networks"]["front"]["ipv4_address"]
        for name, each in services.items()
        if "ipv4_address" in str(each["networks"])
    }
    assert len(set(addresses.values())) == 3
    network = ipaddress.ip_network(subnet["subnet"])
    assert all(ipaddress.ip_address(each) in network for each in addresses.values())
    names = set(re.findall(r"server (\S+):8765", (deploy / "nginx.conf").read_text()))
    aliases = {alias for hub in HUBS for alias in services[hub]["networks"]["front"]["aliases"]}
    assert names == aliases
    for hub in HUBS:
        assert config_of(compose, hub).websocket.proxies == (addresses["nginx"],)


def test_a_hub_has_the_time_that_it_drains(compose: Compose) -> None:
    for hub in HUBS:
        grace = int(compose["services"][hub]["stop_grace_period"].removesuffix("s"))
        assert grace >= 2 * config_of(compose, hub).drain_s


def test_what_is_mounted_is_there_or_told_to_be_made(compose: Compose, deploy: Path) -> None:
    guide = (deploy.parent / "docs/deploy.md").read_text()
    files = [each["file"] for each in compose["secrets"].values()]
    files += [
        each.split(":")[0]
        for service in compose["services"].values()
        for each in service.get("volumes", [])
        if each.startswith("./")
    ]
    for file in files:
        assert (deploy / file).exists() or file.removeprefix("./") in guide, file
    for name, service in compose["services"].items():
        for each in service.get("secrets", []):
            source = each if isinstance(each, str) else each["source"]
            assert source in compose["secrets"], name


@asynccontextmanager
async def the_redis(compose: Compose, folder: Path) -> AsyncIterator[RedisServer]:
    """What its service runs, in folders of this test: as a server that can be asked."""
    shell, flag, text = compose["services"]["redis"]["command"]
    secret = folder / "redis_password"
    secret.write_text(f"{PASSWORD}\n")
    server = RedisServer(folder / "data")
    text = text.replace("$$", "$").replace("/run/secrets/redis_password", str(secret))
    text = text.replace("dir /data\n", f"dir {server.directory}\nport {server.port}\n")
    text = text.replace("exec redis-server", f"exec {redis_command()}")
    process = await asyncio.create_subprocess_exec(
        *(shell, flag, text), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while b"Ready to accept" not in (line := await process.stdout.readline()):
                assert line, "it ended"
        shown = Path(f"/proc/{process.pid}/cmdline")
        assert not shown.exists() or PASSWORD not in shown.read_text()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_hub_and_a_redis_as_they_are_set_lose_nothing(
    compose: Compose, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys")
    async with the_redis(compose, tmp_path) as redis:
        assert redis.ask("PING").startswith("-NOAUTH")
        secret = tmp_path / "redis_password"
        secret.chmod(0o600)  # nobody has mounted it at /run/secrets here
        environ = compose["services"]["primary"]["environment"] | {
            "TRISHULA_REDIS_URL": redis.url,
            "TRISHULA_REDIS_PASSWORD_FILE": str(secret),
            "TRISHULA_AUTH_KEYS": str(keys.path),
        }
        async with HubProcess(tmp_path / "hub", environ=environ) as hub:
            async with Agent("dc", hub.url, token=keys.token("dc")) as dc:
                await dc.send("dc", 1)
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                health = (await client.get(hub.http_url + "/health")).json()
            assert (health["status"], health["role"]) == ("ok", "primary")
            assert health["store"].get("warnings", []) == []
            assert PASSWORD not in hub.log


def test_nginx_takes_the_file_that_includes_the_hubs(deploy: Path, tmp_path: Path) -> None:
    text = (deploy / "docker" / "nginx.conf").read_text()
    (tmp_path / "trishula.conf").touch()
    for there, here in (
        ("user nginx;", "user root;" if os.geteuid() == 0 else ""),
        ("/run/nginx.pid", str(tmp_path / "pid")),
        ("/etc/nginx/conf.d/trishula.conf", str(tmp_path / "trishula.conf")),
    ):
        assert there in text
        text = text.replace(there, here)
    main = tmp_path / "nginx.conf"
    main.write_text(text)
    command = [nginx_command(), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(main)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prometheus_asks_each_hub_as_the_alarms_call_them(
    compose: Compose, prometheus: Compose, deploy: Path
) -> None:
    (job,) = prometheus["scrape_configs"]
    assert f'job="{job["job_name"]}"' in (deploy / "prometheus/alerts.yml").read_text()
    services = compose["services"]
    aliases = {alias for hub in HUBS for alias in services[hub]["networks"]["front"]["aliases"]}
    (targets,) = job["static_configs"]
    assert {each.partition(":")[0] for each in targets["targets"]} == aliases
    (token,) = services["prometheus"]["secrets"]
    assert token["target"] == job["authorization"]["credentials_file"]
    for each in prometheus["rule_files"]:
        assert (deploy / "prometheus" / each).exists()
