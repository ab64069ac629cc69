"""Replicas that confirm, Sentinels that fail over, a cluster: with real processes."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.test_redis_hints import Hearer
from tests.contract.world import World
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore
from trishula_broker.store.redis.store import CONNECT_TIMEOUT, TIMEOUT

FAILOVER_SECONDS = 60.0
"""Instead of hanging; how long it takes is the Sentinels' business."""
HASTE_SECONDS = 4.0
"""For a host that never answers; long for one that does, and shorter than connecting may take."""


class Servers:
    """Servers of a test, which end with it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._made = 0

    def start(self, *arguments: str, **options: str) -> RedisServer:
        """One more."""
        self._made += 1
        server = RedisServer(self._directory / f"redis{self._made}", **options)
        server.start(*arguments)
        self._stack.callback(server.kill)
        return server

    def replica(self, master: RedisServer) -> RedisServer:
        """One that follows ``master``."""
        replica = self.start(replicaof=f"127.0.0.1 {master.port}")
        replica.wait_for("master_link_status:up", "INFO", "replication")
        master.ask("SET", "follows", "yes")  # it is sent nothing until it has confirmed once
        replica.wait_for("yes", "GET", "follows")
        return replica


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path, stack)


async def works_again(world: World, id_: str) -> base.Accepted:
    """The message is accepted as soon as it can be; its sender may have to come back."""
    started = time.monotonic()
    while True:
        try:
            (outcome,) = await world.do(world.mail("ada", "bob", id_, epoch=0))
        except base.StoreUnavailable:
            assert time.monotonic() - started < FAILOVER_SECONDS
            await asyncio.sleep(0.05)
            continue
        assert isinstance(outcome, base.Accepted), outcome
        return outcome


async def test_a_commit_is_confirmed_by_replicas(servers: Servers) -> None:
    master = servers.start()
    replica = servers.replica(master)
    store = RedisStore(master.url, require_replicas=1, timeout=10)
    world = World(lambda: store)
    await store.open()
    await world.come("ada")
    await world.come("bob")
    replica.signal(signal.SIGSTOP)
    with pytest.raises(base.StoreUnavailable, match="0 of 1 Redis replicas have confirmed"):
        await world.send("ada", "bob", "m1")
    replica.signal(signal.SIGCONT)
    (again,) = await world.do(world.mail("ada", "bob", "m1"))
    assert isinstance(again, base.Duplicate)  # it was stored, only not promised
    await store.close()


async def test_more_replicas_than_there_are_confirm_nothing(servers: Servers) -> None:
    master = servers.start()
    servers.replica(master)
    store = RedisStore(master.url, require_replicas=2, timeout=10)
    world = World(lambda: store)
    await store.open()
    with pytest.raises(base.StoreUnavailable, match="1 of 2 Redis replicas"):
        await world.come("ada")
    await store.close()


async def test_sentinels_name_the_master_and_its_successor(servers: Servers) -> None:
    master = servers.start()
    replica = servers.replica(master)
    sentinel = servers.start(
        "--sentinel",
        sentinel=f"monitor main 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds main 60000\n"
        "sentinel failover-timeout main 3000",
    )
    sentinel.wait_for("slaves=1", "INFO", "sentinel")
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main/0"
    world = Hearer(url, "n1")
    await world.store.open()
    await world.come("ada")
    await world.come("bob")
    kept = await world.send("ada", "bob", "m1")
    assert (await world.store.health())["where"] == f"127.0.0.1:{master.port}"
    replica.wait_for(f"\r\n{kept.seq}\r\n", "HGET", "trishula:{default}:state", "seq")
    master.kill()
    # Only now: a master that is slow on a busy machine has not gone.
    sentinel.ask("SENTINEL", "SET", "main", "down-after-milliseconds", "300")
    after = await works_again(world, "m2")
    assert after.seq > kept.seq
    health = await world.store.health()
    assert (health["where"], health["problem"]) == (f"127.0.0.1:{replica.port}", None)
    assert len((await world.ask(base.Peek("bob", 9))).heads) == 2
    assert base.Missed() in await world.next()
    await world.store.close()


async def test_no_sentinel_that_answers(servers: Servers) -> None:
    sentinel = servers.start("--sentinel")
    store = RedisStore(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main")
    with pytest.raises(base.StoreUnavailable, match="no Sentinel names the master of main"):
        await store.open()


async def test_a_host_that_says_nothing_does_not_hide_the_others(servers: Servers) -> None:
    """Its system takes connections, as that of a frozen Sentinel does, and no answer comes."""
    silent = socket.create_server(("127.0.0.1", 0))
    nobody = f"127.0.0.1:{silent.getsockname()[1]}"
    master = servers.start()
    sentinel = servers.start("--sentinel", sentinel=f"monitor main 127.0.0.1 {master.port} 1")
    shard = servers.start(cluster_enabled="yes", cluster_port=str(free_port()))
    shard.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    shard.wait_for("cluster_state:ok", "CLUSTER", "INFO")
    with silent:
        for url in (
            f"redis+sentinel://{nobody},127.0.0.1:{sentinel.port}/main/0",
            f"redis+cluster://{nobody},127.0.0.1:{shard.port}",
        ):
            # Nobody has the patience to hear the second one, at first.
            store = RedisStore(url, timeout=HASTE_SECONDS)
            with pytest.raises(base.StoreUnavailable, match="does not answer in time"):
                await store.open()
            await store.open()
            assert (await store.health())["problem"] is None
            await store.close()


def test_a_first_packet_that_is_lost_costs_no_connection() -> None:
    sent_again_s = 1.0  # TCP's first time-out, RFC 6298
    assert sent_again_s < CONNECT_TIMEOUT < TIMEOUT


async def test_namespaces_spread_over_a_cluster(servers: Servers) -> None:
    first, second = (
        servers.start(
            cluster_enabled="yes", cluster_node_timeout="15000", cluster_port=str(free_port())
        )
        for _ in range(2)
    )
    first.ask("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
    second.ask("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
    first.ask("CLUSTER", "MEET", "127.0.0.1", str(second.port), second.options["cluster-port"])
    for server in (first, second):
        server.wait_for("cluster_state:ok", "CLUSTER", "INFO")
        server.wait_for("cluster_known_nodes:2", "CLUSTER", "INFO")
    url = f"redis+cluster://127.0.0.1:{first.port},127.0.0.1:{second.port}"
    one, two = Hearer(url, "n1"), Hearer(url, "n2")
    for world in (one, two):
        await world.store.open()
    for namespace in ("default", "other", "third"):
        for world, agent in ((one, "ada"), (two, "bob")):
            world.namespace = namespace
            world.epochs.clear()
            await world.do(base.Beat(world.node, "life", "primary", "", 60_000))
            await world.come(agent, node=world.node)
        sent = await one.send("ada", "bob", "m1")
        (hint,) = await two.next()
        assert isinstance(hint, base.Mail)
        assert hint.copy is not None
        assert hint.copy.message.seq == sent.seq
    sizes = [int(server.ask("DBSIZE").strip().lstrip(":")) for server in (first, second)]
    assert min(sizes) > 5
    assert (await one.store.health())["log_bytes"] == 3 * 20
    await one.store.trim(one.now, base.Retention())
    for world in (one, two):
        await world.store.close()


async def works(store: RedisStore) -> None:
    """Something can be stored there."""
    world = World(lambda: store)
    await store.open()
    await world.come("ada")
    await world.send("ada", "ada", "m1")
    await store.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A file with one that nobody has signed, and one with its key."""
    files = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=redis -addext"
    subject = ("subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1])
    subprocess.run([*command.split(), *subject], check=True, capture_output=True)
    return files


async def test_over_tls(servers: Servers, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    port = str(free_port())
    servers.start(
        tls_port=port,
        tls_cert_file=cert,
        tls_key_file=key,
        tls_ca_cert_file=cert,
        tls_auth_clients="no",
    )
    url = f"rediss://127.0.0.1:{port}/0"
    await works(RedisStore(url, timeout=60, tls={"ssl_ca_certs": cert}))
    with pytest.raises(base.StoreUnavailable, match="certificate verify failed"):
        await RedisStore(url, timeout=60).open()


async def test_over_a_unix_socket(servers: Servers) -> None:
    with tempfile.TemporaryDirectory() as short:  # a socket's path is 100 characters at most
        servers.start(unixsocket=f"{short}/redis")
        await works(RedisStore(f"unix://{short}/redis", timeout=60))
