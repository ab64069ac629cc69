"""The password of a Redis in a file of its own: for the hub, and for whatever else asks Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.cli.command import Broker
from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer
from trishula import Agent

PASSWORD = "s3cret-of-the-test"


class Place(NamedTuple):
    redis: RedisServer
    file: Path

    def hub(self, data: Path, **environ: str) -> HubProcess:
        given = {"TRISHULA_REDIS_PASSWORD_FILE": str(self.file), **environ}
        return HubProcess(data, "--redis", self.redis.url, environ=given)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    server = RedisServer(tmp_path / "redis", requirepass=PASSWORD)
    server.start()
    file = tmp_path / "redis-password"
    file.touch(0o600)
    file.write_text(f"{PASSWORD}\n")
    yield Place(server, file)
    server.kill()


async def test_hub_doctor_and_backup_read_it_and_nobody_prints_it(
    tmp_path: Path, place: Place
) -> None:
    environ = {"TRISHULA_REDIS_PASSWORD_FILE": str(place.file)}
    broker = Broker("")
    async with place.hub(tmp_path / "data") as hub:
        async with Agent("dc", hub.url) as dc:
            await dc.send("dc", 1)
        options = ("--redis", place.redis.url, "--data", str(hub.data))
        looked = await broker("doctor", *options, "--port", str(hub.port), env=environ)
        assert "Redis does not answer" not in looked.out
        saved = await broker("backup", str(tmp_path / "backup"), *options, env=environ)
        assert saved.code == 0, saved.err
        verified = await broker("audit", "verify", *options, env=environ)
        assert "out of reach" not in verified.out
        shown = await broker("config", *options, env=environ)
        assert f'password_file = "{place.file}"' in shown.out
        for said in (looked, saved, verified, shown):
            assert PASSWORD not in said.out + said.err
        assert PASSWORD not in hub.log + hub.ready_line


async def test_a_file_that_cannot_be_used_is_named_by_all_of_them(
    tmp_path: Path, place: Place
) -> None:
    place.file.chmod(0o644)
    todo = f"redis.password_file: others can read {place.file}; type: chmod 600 {place.file}"
    environ = {"TRISHULA_REDIS_PASSWORD_FILE": str(place.file)}
    with pytest.raises(RuntimeError, match="the hub ended with 3") as error:
        await place.hub(tmp_path / "data").start()
    assert f"broker: {todo}\n" in str(error.value)
    broker = Broker("")
    looked = await broker("doctor", "--redis", place.redis.url, "--port", "1", env=environ)
    assert todo in looked.out
    saved = await broker("backup", str(tmp_path / "b"), "--redis", place.redis.url, env=environ)
    assert (saved.code, saved.err) == (1, f"Error: {todo}\n")


@pytest.mark.parametrize(
    ("environ", "said", "todo"),
    [
        ({}, "Redis asks for a password", "set TRISHULA_REDIS_PASSWORD, or redis.password_file"),
        (
            {"TRISHULA_REDIS_PASSWORD": "another"},
            "Redis does not accept the user or the password",
            "compare redis.username and the password with those in redis.conf",
        ),
    ],
)
async def test_without_the_right_one_each_says_where_it_is_given(
    tmp_path: Path, place: Place, environ: dict[str, str], said: str, todo: str
) -> None:
    options = ("--redis", place.redis.url, "--data", str(tmp_path / "data"))
    broker = Broker("")
    looked = await broker("doctor", *options, "--port", "1", env=environ)
    assert said in looked.out
    assert f"→ {todo}" in looked.out
    saved = await broker("backup", str(tmp_path / "backup"), *options, env=environ)
    assert saved.code == 1
    assert f"{said}: {todo}" in saved.err
    for told in (looked, saved):
        assert "another" not in told.out + told.err


async def test_a_password_in_two_places_is_refused(tmp_path: Path, place: Place) -> None:
    hub = place.hub(tmp_path / "data", TRISHULA_REDIS_PASSWORD=PASSWORD)
    with pytest.raises(RuntimeError, match="the hub ended with 2") as error:
        await hub.start()
    assert "redis.password: redis.password_file has one too (TRISHULA_REDIS_PASSWORD)" in str(
        error.value
    )
    assert PASSWORD not in str(error.value)
