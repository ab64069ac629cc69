"""How bad each thing is that is found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.keys import Keys
from trishula_broker.config import Config, load
from trishula_broker.doctor import credentials, host, redis
from trishula_broker.doctor.clock import offset
from trishula_broker.doctor.finding import worst
from trishula_broker.doctor.hubs import Answered, leading

DAY = 24 * 3600
INFO = {
    "redis_version": "7.4.1",
    "role": "master",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "used_memory": "1000",
}
levels = st.sampled_from(["ok", "warning", "bad"])


def configured(tmp_path: Path, **flags: Any) -> Config:
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load({"data": str(tmp_path / "data"), **given}, {}, None, tmp_path).config


@pytest.mark.parametrize(
    ("told", "fsync", "replicas", "level", "says"),
    [
        ({}, "always", 0, "ok", "Redis 7.4.1 at db: append-only file synced always"),
        ({}, "unknown", 0, "ok", "an interval that it does not tell"),
        ({"redis_version": "6.2.9"}, "always", 0, "bad", "Redis 6.2.9 at db is too old"),
        ({"server_name": "valkey", "valkey_version": "8.0.1"}, "always", 0, "ok", "Valkey 8.0.1"),
        ({"role": "slave"}, "always", 0, "bad", "is a replica"),
        ({"loading": "1"}, "always", 0, "warning", "is loading"),
        ({"aof_enabled": "0"}, "always", 0, "bad", "no append-only file"),
        ({}, "everysec", 0, "warning", "appendfsync everysec"),
        ({}, "no", 0, "warning", "appendfsync no"),
        ({"maxmemory_policy": "allkeys-lru"}, "always", 0, "bad", "allkeys-lru"),
        ({"aof_last_write_status": "err"}, "always", 0, "bad", "could not write"),
        ({"maxmemory": "1100"}, "always", 0, "warning", "91 % of maxmemory"),
        ({}, "always", 2, "bad", "has 0 replicas, and redis.require_replicas is 2"),
        (
            {"redis_version": "7.0.15", "connected_slaves": "1"},
            "always",
            1,
            "warning",
            "only for their memory",
        ),
    ],
)
def test_a_redis_is_judged_by_what_it_says(
    told: dict[str, str], fsync: str, replicas: int, level: str, says: str
) -> None:
    (found,) = redis.judge({**INFO, **told}, fsync, "db", replicas)
    assert (found.level, says in found.found, bool(found.todo)) == (level, True, level != "ok")


@given(st.integers(0, 2**45), st.integers(0, 2**45), st.integers(1, 2**46))
def test_more_room_is_never_worse(one: int, two: int, total: int) -> None:
    more, less = (host.disk_level(free, total) for free in (max(one, two), min(one, two)))
    assert worst(more, less) == less


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (100 << 20, 1 << 40, "bad"),
        (1 << 30, 10 << 30, "warning"),
        (40 << 30, 1 << 40, "warning"),
        (100 << 30, 1 << 40, "ok"),
    ],
)
def test_room_is_judged_by_size_and_share(free: int, total: int, level: str) -> None:
    assert host.disk_level(free, total) == level


@pytest.mark.parametrize(
    ("ms", "level"), [(0.1, "ok"), (9.9, "ok"), (10, "warning"), (99, "warning"), (100, "bad")]
)
def test_a_slow_disk_is_told(ms: float, level: str) -> None:
    assert host.sync_level(ms) == level


@pytest.mark.parametrize(
    ("limit", "level"), [(-1, "ok"), (65536, "ok"), (1024, "warning"), (255, "bad"), (0, "bad")]
)
def test_a_low_limit_of_descriptors_is_told(limit: int, level: str) -> None:
    assert host.descriptors_level(limit) == level


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="the system does not tell")
def test_the_limit_is_that_of_the_process_that_is_asked_about() -> None:
    (found,) = host.descriptors(os.getpid())
    assert f"the hub (pid {os.getpid()})" in found.found
    (found,) = host.descriptors(None)
    assert "started here" in found.found


@pytest.mark.parametrize(
    ("kind", "says"),
    [("ext4", None), ("nfs4", "network file system (nfs4)"), ("tmpfs", "in memory (tmpfs)")],
)
def test_a_file_system_that_does_not_keep_or_lock_is_told(
    tmp_path: Path, kind: str, says: str | None
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / tmpfs rw 0 0\nb {tmp_path.resolve()} {kind} rw 0 0\n")
    found = host.file_system(tmp_path / "data" / "not" / "there", mounts)
    assert [says in each.found for each in found if says] == [True] * (says is not None)
    assert all(each.level == "warning" for each in found)


def test_a_synced_write_is_timed_and_leaves_nothing(tmp_path: Path) -> None:
    (found,) = host.sync_time(tmp_path / "data")
    assert "of 20" in found.found
    assert list(tmp_path.iterdir()) == []
    (found,) = host.sync_time(Path("/proc"))
    assert found.level == "bad"


@pytest.mark.parametrize(
    ("seconds", "give_or_take", "level"),
    [
        (0.0, 0.0, "ok"),
        (0.9, 0.0, "ok"),
        (-1.5, 0.0, "warning"),
        (5.0, 4.5, "ok"),
        (29.0, 0.0, "warning"),
        (-31.0, 0.0, "bad"),
    ],
)
def test_a_clock_is_wrong_when_it_is_so_for_sure(
    seconds: float, give_or_take: float, level: str
) -> None:
    found = offset("db", seconds, give_or_take, 30.0)
    assert found.level == level
    assert ("behind" in found.found) == (seconds < 0)


@pytest.mark.parametrize(
    ("days", "level", "says"),
    [(60, "ok", "ends on"), (20, "warning", "ends on"), (1, "bad", "ends on"), (-1, "bad", "has")],
)
def test_a_certificate_is_told_before_it_ends(days: int, level: str, says: str) -> None:
    found = credentials.expiry("c", 1_700_000_000 + days * DAY, 1_700_000_000)
    assert (found.level, says in found.found) == (level, True)


def node(name: str, *, alive: bool = True, leads: bool = False) -> dict[str, Any]:
    return {"node": name, "alive": alive, "leads": leads, "address": ""}


@pytest.mark.parametrize(
    ("answered", "told"),
    [
        ([], []),
        ([Answered("u", "a", [node("a", leads=True)])], [("ok", "a leads, of 1")]),
        (
            [Answered("u", "a", [node("a", leads=True), node("b", alive=False)])],
            [("warning", "b is not alive"), ("ok", "a leads, of 2")],
        ),
        ([Answered("u", "a", [node("a")])], [("bad", "no hub leads")]),
        (
            [Answered("u", "a", [node("a", alive=False, leads=True), node("b")])],
            [("warning", "a is not alive"), ("bad", "no hub leads")],
        ),
        (
            [
                Answered("u", "a", [node("a", leads=True)]),
                Answered("v", "b", [node("b", leads=True)]),
            ],
            [
                ("bad", "a knows nothing of b: they share no store"),
                ("bad", "b knows nothing of a: they share no store"),
                ("bad", "several lead: a, b"),
            ],
        ),
    ],
)
def test_one_leads_and_all_know_one_another(
    answered: list[Answered], told: list[tuple[str, str]]
) -> None:
    found = leading(answered)
    assert [each.level for each in found] == [level for level, _ in told]
    assert all(text in each.found for each, (_, text) in zip(found, told, strict=True))


def test_keys_that_are_closed_are_well_and_open_ones_are_bad(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    keys.token("dc", lives_ms=30 * DAY * 1000)
    config = configured(tmp_path, auth__keys=str(keys.path))
    now = int(Path(keys.path).stat().st_mtime * 1000)
    assert {each.level for each in credentials.keys(config, now)} == {"ok"}
    keys.path.chmod(0o644)
    (found,) = credentials.keys(config, now)
    assert (found.level, found.todo) == ("bad", f"chmod 600 {keys.path}")
    assert "others may read it" in found.found


def test_agents_whose_last_token_expires_soon_are_named(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    for agent, days in (("dc", 1), ("dc", 30), ("agni", 2), ("mac", 30)):
        keys.token(agent, lives_ms=days * DAY * 1000)
    config = configured(tmp_path, auth__keys=str(keys.path))
    now = int(Path(keys.path).stat().st_mtime * 1000)
    (found,) = [each for each in credentials.keys(config, now) if each.check == "tokens"]
    assert found.level == "warning"
    assert found.found.endswith("the last one expires of agni")


@pytest.mark.parametrize(
    ("flags", "level"),
    [({}, "warning"), ({"host": "0.0.0.0"}, "bad"), ({"auth__keys": "k"}, "bad")],
)
def test_a_hub_without_keys_is_for_its_host_alone(
    tmp_path: Path, flags: dict[str, str], level: str
) -> None:
    (found,) = credentials.keys(configured(tmp_path, **flags), 0)
    assert found.level == level
    assert "broker keys init" in found.todo


def test_files_that_others_can_look_at_are_bad(tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert {each.level for each in credentials.files(config)} == {"ok"}
    (tmp_path / "data").mkdir(0o755)
    found, _ = credentials.files(config)
    assert (found.level, found.todo) == ("bad", f"type: chmod 700 {tmp_path / 'data'}")
    (tmp_path / "data").chmod(0o700)
    assert {each.level for each in credentials.files(config)} == {"ok"}
