"""Who gets at a hub, with keys and without: a real one in a process of its own."""

import asyncio
import json
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.cli.command import Broker
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.redis_server import RedisServer
from trishula_broker.auth import key_file
from trishula_broker.auth.ledger import Revoked


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "data")


@pytest.fixture
async def hub(tmp_path: Path, keys: Keys) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "data") as process:
        yield process


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def agent(hub: HubProcess, token: str) -> connect:
    return connect(hub.url, ping_interval=None, additional_headers=bearer(token))


async def register(client: ClientConnection, name: str) -> dict[str, Any]:
    payload = {"op": "register", "agent": name}
    await client.send(json.dumps({"type": "COMMAND", "to": "hub", "id": "r", "payload": payload}))
    found: dict[str, Any] = json.loads(await client.recv())
    return found


async def refused(hub: HubProcess, token: str | None = None, url: str | None = None) -> Any:
    """The answer to an upgrade that is refused."""
    headers = bearer(token) if token is not None else {}
    with pytest.raises(InvalidStatus) as found:
        await connect(url or hub.url, additional_headers=headers).__aenter__()
    return found.value.response


async def start_fails(data: Path, *options: str) -> str:
    """The one line with which it ends instead of starting."""
    with pytest.raises(RuntimeError, match="the hub ended with 3") as found:
        await HubProcess(data, *options).start()
    line = str(found.value).partition(": ")[2]
    assert line.startswith("broker: ")
    assert line.count("\n") == 1
    return line.removeprefix("broker: ").rstrip()


# --- without keys ---


async def test_without_keys_it_serves_this_host_and_says_so_in_one_line(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "data") as hub, connect(hub.url) as client:
        assert (await register(client, "dc"))["payload"]["agent"] == "dc"
        warnings = [line for line in hub.log.splitlines() if '"warning"' in line]
        assert len(warnings) == 1
        assert json.loads(warnings[0])["todo"] == (
            f"broker keys init --keys {tmp_path / 'data' / 'keys.json'}"
        )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_without_keys_it_does_not_start_on_an_address_that_others_reach(
    tmp_path: Path, host: str
) -> None:
    data = tmp_path / "data"
    said = await start_fails(data, "--host", host)
    assert said.startswith(f"host: {host} is reached from other machines")
    _, _, command = said.partition("; type: ")
    program, *words = command.split()
    assert program == "broker"
    assert (await Broker("")(*words)).code == 0
    keys = key_file.load(data / "keys.json")
    assert keys.signing is not None
    if host == "0.0.0.0":  # there need be no IPv6 here
        async with HubProcess(data, "--host", host) as hub:
            assert "serving ws://0.0.0.0:" in hub.ready_line


async def test_a_key_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    gone = tmp_path / "gone.json"
    said = await start_fails(tmp_path / "data", "--keys", str(gone))
    assert said == (
        f"{gone}: there is no such file; name the hub's with --keys or --config, or "
        f"`broker keys init --keys {gone}` makes one"
    )


# --- files ---


@pytest.mark.parametrize(
    ("name", "mode", "safe"),
    [
        (".", 0o750, 0o700),
        ("keys.json", 0o640, 0o600),
        ("keys.json", 0o604, 0o600),
        ("tokens.jsonl", 0o644, 0o600),
        ("trishula.db", 0o644, 0o600),
        ("audit", 0o755, 0o700),
    ],
)
async def test_what_others_can_look_at_keeps_it_from_starting_until_what_it_says_is_typed(
    tmp_path: Path, keys: Keys, name: str, mode: int, safe: int
) -> None:
    data = tmp_path / "data"
    keys.token("dc")
    path = data / name
    if name == "audit":
        path.mkdir()
    elif not path.exists():
        path.touch()
    path.chmod(mode)
    said = await start_fails(data)
    assert str(path if name != "." else data) in said
    assert f"chmod {safe:o} " in said or "chmod go-w" in said
    path.chmod(safe)
    if name == "trishula.db":
        path.unlink()
    async with HubProcess(data):
        pass


async def test_an_archive_that_is_elsewhere_is_for_its_owner_alone_too(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    said = await start_fails(tmp_path / "data", "--audit", str(archive))
    assert f"chmod 700 {archive}" in said
    archive.chmod(0o700)
    async with HubProcess(tmp_path / "data", "--audit", str(archive)):
        pass


async def test_what_it_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "made" / "data"
    data.parent.mkdir()
    async with HubProcess(data) as hub, connect(hub.url) as client:
        await register(client, "dc")
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for path in data.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_a_link_in_place_of_the_keys_is_not_followed(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "elsewhere")
    link = tmp_path / "keys.json"
    link.symlink_to(keys.path)
    said = await start_fails(tmp_path / "data", "--keys", str(link))
    assert said.startswith(f"{link}: it is a symbolic link")


# --- with keys ---


async def test_a_token_is_who_one_is(hub: HubProcess, keys: Keys) -> None:
    async with agent(hub, keys.token("dc", namespace="team")) as client:
        registered = (await register(client, "dc"))["payload"]
        assert (registered["agent"], registered["namespace"]) == ("dc", "team")
    async with agent(hub, keys.token("dc")) as client:
        assert (await register(client, "agni"))["payload"]["code"] == "forbidden"
    query = f"{hub.url}?token={keys.token('dc')}"
    async with connect(query) as client:
        assert (await register(client, "dc"))["payload"]["namespace"] == "default"


async def test_without_a_good_token_the_answer_is_401_before_the_upgrade(
    hub: HubProcess, keys: Keys, tmp_path: Path
) -> None:
    good = keys.token("dc")
    cases = {
        "missing": None,
        "malformed": "nothing",
        "kid": Keys(tmp_path / "other").token("dc"),
        "signature": good[:-6] + "AAAAAA",
        "expired": keys.token("dc", lives_ms=-60_000),
    }
    for reason, token in cases.items():
        response = await refused(hub, token)
        assert response.status_code == 401, reason
        assert response.headers["WWW-Authenticate"].startswith("Bearer realm=")
        assert token is None or token not in str(response.headers) + response.body.decode()
        assert f'"reason": "{reason}"' in hub.log
    assert good.rpartition(".")[2] not in hub.log


async def test_a_token_in_the_url_is_in_no_log_and_no_title(tmp_path: Path, keys: Keys) -> None:
    config = tmp_path / "broker.toml"
    config.write_text('[log]\nlevel = "debug"\n')
    async with HubProcess(tmp_path / "data", "--config", str(config)) as hub:
        good = keys.token("dc")
        bad = good[:-6] + "AAAAAA"
        async with connect(f"{hub.url}?token={good}") as client:
            await register(client, "dc")
        await refused(hub, url=f"{hub.url}?token={bad}")
        await refused(hub, url=f"{hub.url}?token={good}&token={good}")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            for path in ("/health", "/nothing", "/ws", "/health/ready"):
                for token in (good, bad):
                    await http.get(f"{hub.http_url}{path}?token={token}")
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(f"GET /health?token={bad} HTTP/1.1\r\nHost: \0\r\n\r\n".encode())
        await reader.read()
        writer.close()
        title = Path(f"/proc/{hub.pid}/cmdline")
        shown = title.read_text() if title.exists() else ""
        await hub.terminate()
        said = hub.log + shown + hub.ready_line
        assert '"connection_refused"' in said
        for token in (good, bad):
            for part in token.split("."):
                assert part not in said
        assert "?token" not in said


async def test_health_in_full_is_for_this_host_and_for_operators_and_observers(
    hub: HubProcess, keys: Keys
) -> None:
    far = {"X-Forwarded-For": "192.0.2.1"}
    async with httpx.AsyncClient(trust_env=False, base_url=hub.http_url, timeout=60) as http:

        async def keys_of(headers: dict[str, str]) -> set[str]:
            return set((await http.get("/health", headers=headers)).json())

        assert "namespaces" in await keys_of({})
        assert await keys_of(far) == {"status"}
        assert await keys_of({"Host": "evil.example"}) == {"status"}
        for role in ("operator", "observer"):
            token = keys.token(role, role=role)
            assert "namespaces" in await keys_of(far | bearer(token))
        assert await keys_of(far | bearer(keys.token("dc"))) == {"status"}
        assert (await http.get("/health", headers=bearer("nothing"))).status_code == 401
        for path in ("/health/live", "/health/ready"):
            assert (await http.get(path, headers=far | bearer("nothing"))).status_code == 200


async def test_new_keys_are_taken_and_broken_ones_are_not(hub: HubProcess, keys: Keys) -> None:
    before = keys.token("dc")
    key_file.rotate(keys.path, None, time.time_ns() // 1_000_000)
    after = keys.token("dc")
    await until_admitted(hub, after)
    await until_admitted(hub, before)
    keys.path.write_text("{broken")
    await until_logged(hub, '"keys_not_taken"')
    await until_admitted(hub, after)
    keys.path.write_text("{}")
    keys.path.unlink()
    key_file.init(keys.path, "EdDSA", time.time_ns() // 1_000_000)
    await until_admitted(hub, keys.token("agni"))
    assert (await refused(hub, after)).status_code == 401


async def test_whom_a_token_was_made_for_can_be_written_to_at_once(
    hub: HubProcess, keys: Keys
) -> None:
    keys.token("agni")
    async with agent(hub, keys.token("dc")) as client:
        await register(client, "dc")
        stage = ""
        async with asyncio.timeout(60):
            while stage != "accepted":  # within a second, as the hub looks at the list
                await client.send('{"type":"STATUS","to":"agni","id":"m","payload":1}')
                stage = json.loads(await client.recv())["payload"].get("stage", "")
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("what", ["token", "agent"])
async def test_a_revoked_token_ends_its_session_and_opens_none(
    hub: HubProcess, keys: Keys, what: str
) -> None:
    token = keys.token("dc")
    async with agent(hub, token) as client, agent(hub, keys.token("agni")) as other:
        await register(client, "dc")
        await register(other, "agni")
        revoke(keys, token, what)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 4401
        assert (await refused(hub, token)).status_code == 401
        await other.send('{"type":"STATUS","to":"agni","id":"m","payload":1}')
        assert "accepted" in str(await other.recv())
    await hub.restart()
    assert (await refused(hub, token)).status_code == 401


async def test_a_token_revoked_at_one_hub_is_revoked_at_all_that_share_a_redis(
    tmp_path: Path,
) -> None:
    here, there = Keys(tmp_path / "here"), tmp_path / "there"
    there.mkdir(0o700)
    token = here.token("dc")
    # The same keys, but a list of its own, as on another host.
    copy = there / "keys.json"
    copy.touch(0o600)
    copy.write_bytes(here.path.read_bytes())
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        one = HubProcess(tmp_path / "a", "--redis", redis.url, "--keys", str(here.path), node="a")
        two = HubProcess(tmp_path / "b", "--redis", redis.url, "--keys", str(copy), node="b")
        async with one, two, agent(two, token) as client:
            await register(client, "dc")
            revoke(here, token, "token")
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 4401
            assert (await refused(two, token)).status_code == 401
            assert (await refused(one, token)).status_code == 401
    finally:
        redis.kill()


def revoke(keys: Keys, token: str, what: str) -> None:
    """As `broker token revoke` does."""
    ledger = key_file.ledger_of(keys.path)
    (issued,) = [each for each in ledger.read().entries if each.jti and each.sub == "dc"]  # type: ignore[union-attr]
    at = time.time_ns() // 1_000_000
    if what == "token":
        ledger.add(Revoked(at=at, ns="default", jti=issued.jti, until=issued.exp))  # type: ignore[union-attr]
    else:
        ledger.add(Revoked(at=at, ns="default", agent="dc", before=at, until=issued.exp))  # type: ignore[union-attr]


async def until_admitted(hub: HubProcess, token: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with agent(hub, token):
                    return
            except InvalidStatus:
                await asyncio.sleep(0.05)


async def until_logged(hub: HubProcess, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in hub.log:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
