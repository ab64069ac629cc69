"""The sample configurations: each is taken as it is, and is what it says it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.command import Broker
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.redis_server import RedisServer
from trishula import Agent
from trishula_broker.config import Config, load
from trishula_broker.net.peers import is_loopback

NAMES = ("development", "staging", "production")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


def taken(file: Path) -> Config:
    loaded = load({}, {}, file, Path("/home/nobody"))
    assert loaded.warnings == ()
    return loaded.config


@pytest.mark.parametrize("name", NAMES)
def test_each_says_only_what_differs_from_the_defaults(deploy: Path, name: str) -> None:
    loaded = load({}, {}, deploy / f"{name}.toml", Path("/home/nobody"))
    defaults = load({}, {}, None, Path("/home/nobody")).values
    meant = {"host", "role", "log.level"}  # said all the same: people look for them
    for path, (value, origin) in loaded.values.items():
        if origin.endswith(".toml") and path not in meant:
            assert value != defaults[path].value, path


def test_development_is_for_this_host_and_tells_everything(deploy: Path) -> None:
    config = taken(deploy / "development.toml")
    assert is_loopback(config.host)
    assert (config.auth.keys, config.log.level, config.log.format) == ("", "debug", "text")


def test_staging_takes_no_tokens_of_production(deploy: Path) -> None:
    staging, production = taken(deploy / "staging.toml"), taken(deploy / "production.toml")
    assert staging.auth.audience != production.auth.audience
    assert staging.auth.keys
    assert not staging.redis.url


def test_production_shares_a_store_over_tls_without_a_password_in_the_file(deploy: Path) -> None:
    config = taken(deploy / "production.toml")
    assert config.redis.url.startswith("rediss://")
    assert "@" not in config.redis.url
    assert config.redis.password == ""
    assert config.auth.keys
    assert config.audit.enabled
    assert config.websocket.proxies
    assert not is_loopback(config.host)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_to_be_changed_is_marked(deploy: Path, name: str) -> None:
    """Addresses of nobody in particular, such as 10.0.0.11, are not left in by mistake."""
    text = (deploy / f"{name}.toml").read_text()
    for line, after in zip(text.splitlines(), ["", *text.splitlines()], strict=False):
        setting = line.partition("#")[0]
        if "10.0.0." in setting or ".internal" in setting:
            assert "CHANGE" in line + after, line


@pytest.mark.parametrize("name", NAMES)
async def test_a_hub_serves_with_each(
    deploy: Path, name: str, tmp_path: Path, redis: RedisServer
) -> None:
    keys = Keys(tmp_path / "keys") if name != "development" else None
    environ = {"TRISHULA_HOST": "127.0.0.1"}
    if keys is not None:
        environ["TRISHULA_AUTH_KEYS"] = str(keys.path)
    if name == "production":
        environ |= {"TRISHULA_REDIS_URL": redis.url, "TRISHULA_REDIS_CA_FILE": ""}
    options = ("--config", str(deploy / f"{name}.toml"))
    async with HubProcess(tmp_path / "data", *options, environ=environ) as hub:
        token = None
        if keys is not None:
            made = await Broker("")("token", "create", "dc", *options, "--keys", str(keys.path))
            token = made.out.strip()
        async with Agent("dc", hub.url, token=token) as dc:
            await dc.send("dc", name)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            health = (await client.get(hub.http_url + "/health")).json()
        assert health["status"] == "ok"
        assert health["store"].get("warnings", []) == []
        assert await hub.terminate() == 0
