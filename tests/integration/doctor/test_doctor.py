"""`broker doctor` over real hubs, Redis and nginx: what is well, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.command import Broker, Done
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.nginx import Nginx
from tests.support.redis_server import RedisServer
from tests.support.two_hubs import two_hubs
from trishula import Agent
from trishula_broker.audit.packing import Packer, unpack

ITS_OWN = {"fsync", "disk", "descriptors"}
"""What the machine that runs the tests may lack."""


async def doctor(*args: str) -> Done:
    return await Broker("")("doctor", "--json", *args, env={"TRISHULA_URL": ""})


def of(done: Done, check: str) -> list[dict[str, Any]]:
    return [each for each in done.json["findings"] if each["check"] == check]


def bad(done: Done) -> set[str]:
    """What was bad, of what the tests are responsible for."""
    found = {each["check"] for each in done.json["findings"] if each["level"] == "bad"}
    assert (done.code, bool(found)) in ((0, False), (1, True))
    return found - ITS_OWN


async def test_before_the_first_start_nothing_is_bad_and_nothing_is_made(tmp_path: Path) -> None:
    done = await doctor("--data", str(tmp_path / "data"), "--port", "1")
    assert bad(done) == set()
    assert [each["level"] for each in of(done, "hub")] == ["warning"]
    assert "start it with `broker serve`" in of(done, "hub")[0]["todo"]
    assert list(tmp_path.iterdir()) == []


async def test_a_hub_that_runs_is_found_with_its_clock_its_descriptors_and_its_archive(
    tmp_path: Path,
) -> None:
    async with HubProcess(tmp_path / "data") as hub:
        async with Agent("dc", hub.url) as dc:
            await dc.send("dc", 1)
        args = ("--data", str(hub.data), "--port", str(hub.port), "--node", "hub")
        done = await doctor(*args)
        assert bad(done) == set()
        assert of(done, "hub")[0]["found"] == f"hub (primary) at {hub.url} answers"
        assert of(done, "lead")[0]["found"] == "hub leads, of 1"
        assert f"hub at {hub.url} is " in of(done, "clock")[0]["found"]
        assert f"the hub (pid {hub.pid})" in of(done, "descriptors")[0]["found"]
        await hub.terminate()
        (audit,) = of(done := await doctor(*args), "audit")
        assert audit["found"].endswith("records fit one another and the signed heads"), audit
        assert audit["level"] == "ok"


async def test_what_was_done_to_an_archive_and_who_can_read_it_is_bad(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "data") as hub:
        async with Agent("dc", hub.url) as dc:
            await dc.send("dc", "a payload")
        await hub.terminate()
    said = 0
    for file in (tmp_path / "data" / "audit").rglob("*.open.jsonl.zst"):
        text, _ = unpack(file.read_bytes(), finished=False)
        said += text.count(b"a payload")
        lines = text.replace(b"a payload", b"A payload").splitlines(keepends=True)
        file.write_bytes(b"".join(Packer().pack(lines)))
    assert said == 1
    (tmp_path / "data").chmod(0o755)
    args = ("--data", str(tmp_path / "data"), "--port", "1")
    done = await doctor(*args)
    assert bad(done) == {"audit", "files"}
    assert "is not as it was written" in of(done, "audit")[0]["found"]
    assert of(done, "files")[0]["todo"].startswith("type: chmod 700 ")


async def test_two_hubs_behind_nginx_are_well_but_for_a_certificate_that_ends(
    tmp_path: Path,
) -> None:
    keys = Keys(tmp_path / "keys")
    config = tmp_path / "broker.toml"
    config.write_text('[websocket]\nproxies = ["127.0.0.1"]\n')
    options = ("--keys", str(keys.path), "--config", str(config))
    async with two_hubs(tmp_path, *options) as (one, two):
        nginx = Nginx(tmp_path / "nginx", one.port, two.port)
        nginx.start()  # its certificate lives for two days
        try:
            urls = f"{nginx.url}/primary/ws,{nginx.url}/failover/ws"
            redis = one.options[one.options.index("--redis") + 1]
            args = (
                *("--data", str(one.data), "--port", str(one.port), "--redis", redis, *options),
                *("--nginx", str(nginx.directory / "nginx.conf"), "--url", urls),
                *("--ca-file", str(nginx.ca_file)),
            )
            done = await doctor(*args)
            assert bad(done) == {"certificate"}
            assert len(of(done, "certificate")) == 3
            assert all(" ends on " in each["found"] for each in of(done, "certificate"))
            assert [each["level"] for each in of(done, "nginx")] == ["ok"]
            assert [each["level"] for each in of(done, "redis")] == ["ok"]
            assert [each["level"] for each in of(done, "clock")] == ["ok"] * 3
            assert of(done, "lead")[0]["found"] == "one leads, of 2"
            # Of one hub the other is told, and is asked where it says it is.
            done = await doctor(*args[:-4], "--url", one.url)
            assert {each["found"] for each in of(done, "hub")} == {
                f"one (primary) at {one.url} answers",
                f"two (failover) at {two.url} answers",
            }
            await two.kill()
            done = await doctor(*args)
            assert bad(done) == {"certificate", "hub"}
            assert any("HTTP 502" in each["found"] for each in of(done, "hub"))
        finally:
            nginx.stop()


async def test_a_token_is_shown_and_a_bad_one_is_told_and_shown_nowhere(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    token = tmp_path / "token"
    async with HubProcess(tmp_path / "data", "--keys", str(keys.path)) as hub:
        args = ("--data", str(tmp_path / "elsewhere"), "--url", hub.url, "--token-file", str(token))
        token.write_text(keys.token("dc", role="observer"))
        token.chmod(0o600)
        assert "hub" not in bad(await doctor(*args))
        wrong = keys.token("dc", lives_ms=-3_600_000)
        token.write_text(wrong)
        done = await doctor(*args)
        assert "hub" in bad(done)
        assert "HTTP 401" in of(done, "hub")[0]["found"]
        assert wrong not in done.out + done.err


@pytest.mark.parametrize(
    ("options", "level", "says"),
    [
        ({"appendfsync": "everysec"}, "warning", "appendfsync everysec"),
        ({"appendonly": "no"}, "bad", "keeps no append-only file"),
        ({"maxmemory_policy": "allkeys-lru"}, "bad", "may throw messages away"),
    ],
)
async def test_a_redis_that_may_lose_what_was_accepted_is_told_and_nothing_is_written_to_it(
    tmp_path: Path, options: dict[str, str], level: str, says: str
) -> None:
    redis = RedisServer(tmp_path / "redis", **options)
    redis.start()
    try:
        args = ("--data", str(tmp_path / "data"), "--port", "1", "--redis", redis.url)
        done = await doctor(*args)
        assert [each["level"] for each in of(done, "redis")] == [level]
        assert says in of(done, "redis")[0]["found"]
        assert of(done, "redis")[0]["todo"].startswith("Set ")
        assert redis.ask("DBSIZE") == ":0\r\n"
    finally:
        redis.kill()


async def test_an_archive_that_is_left_out_is_told_with_why(tmp_path: Path) -> None:
    done = await doctor("--data", str(tmp_path / "data"), "--port", "1", "--no-audit")
    (told,) = of(done, "audit")
    assert told["level"] == "warning"
    assert "--no-audit was said here" in told["found"]


async def test_a_redis_that_is_away_is_bad_for_itself_and_for_the_hub_that_needs_it(
    tmp_path: Path,
) -> None:
    async with two_hubs(tmp_path) as (one, _):
        redis = one.options[one.options.index("--redis") + 1]
        args = ("--data", str(one.data), "--port", str(one.port), "--redis", redis)
        assert bad(await doctor(*args)) == set()
        port = redis.rpartition(":")[2].partition("/")[0]
        done = await doctor(*args[:-1], redis.replace(port, "1"))
        assert bad(done) == {"redis"}
        assert "Redis does not answer" in of(done, "redis")[0]["found"]
        (audit,) = of(done, "audit")
        assert (audit["level"], "out of reach" in audit["found"]) == ("warning", True)


async def test_hubs_that_share_no_store_are_told(tmp_path: Path) -> None:
    async with (
        HubProcess(tmp_path / "a", node="a") as one,
        HubProcess(tmp_path / "b", node="b") as two,
    ):
        args = ("--data", str(one.data), "--url", f"{one.url},{two.url}", "--port", str(one.port))
        done = await doctor(*args)
        assert {"hub", "lead"} <= bad(done)
        assert any("they share no store" in each["found"] for each in of(done, "hub"))


async def test_a_configuration_that_cannot_be_used_is_all_that_is_told(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text("port = 99999\n")
    done = await doctor("--config", str(config))
    assert bad(done) == {"configuration"}
    (found,) = done.json["findings"]
    assert found["found"].startswith("port: ")


async def test_people_read_a_line_for_each_and_what_to_do(tmp_path: Path) -> None:
    url = "ws://127.0.0.1:1/ws"
    args = ("--data", str(tmp_path / "data"), "--url", url)
    done = await Broker("")("doctor", *args)
    assert done.code == 1
    assert f"BAD      hub: no hub is reached at {url}: Connection refused\n         → " in done.out
    assert done.out.splitlines()[-1].endswith(" bad")
    assert done.err.startswith("Error: something is bad: ")
