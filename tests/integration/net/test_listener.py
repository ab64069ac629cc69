"""The port itself: descriptors that run out, and ports that are taken."""

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.net.rig import Raw, Rig, upgrade_request
from trishula_broker.net.neighbour import who_listens
from trishula_broker.net.sockets import RESERVED_DESCRIPTORS, PortInUse


@pytest.fixture
def no_descriptors() -> Iterator[Callable[[], list[int]]]:
    """Uses up all this process may have; free again once what it returns is closed."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def use_up() -> list[int]:
        used: list[int] = [os.open(os.devnull, os.O_RDONLY)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (used[0] + 50, before[1]))
        while True:
            try:
                used.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return used

    yield use_up
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def client_socket(rig: Rig) -> socket.socket:
    """Connected as far as the kernel is concerned, accepted or not."""
    return socket.create_connection(("127.0.0.1", rig.port))


async def served(connection: socket.socket) -> Raw:
    connection.setblocking(False)
    raw = Raw(*await asyncio.open_connection(sock=connection))
    await raw.send(upgrade_request())
    assert "101" in await raw.head()
    return raw


async def test_accepting_pauses_before_the_last_descriptors_and_resumes(rig_of: Any) -> None:
    rig = await rig_of(descriptors=RESERVED_DESCRIPTORS + 2)
    first, second, third = (client_socket(rig) for _ in range(3))
    raws = [await served(first), await served(second)]
    (fields,) = await rig.log.heard.next("accepting_paused")
    assert "file descriptors" in fields["why"]
    await raws[0].close()
    raws.append(await served(third))
    for raw in raws[1:]:
        await raw.close()


async def test_when_descriptors_are_used_up_nobody_is_lost(
    rig: Rig, no_descriptors: Callable[[], list[int]]
) -> None:
    connections = [client_socket(rig) for _ in range(20)]
    used = no_descriptors()
    (fields,) = await rig.log.heard.next("accepting_paused")
    assert "Too many open files" in fields["why"]
    for file in used:
        os.close(file)
    raws = await asyncio.gather(*(served(connection) for connection in connections))
    for raw in raws:
        await raw.close()


async def test_a_port_in_use_says_so_and_by_whom(rig: Rig, rig_of: Any) -> None:
    other = await rig_of()
    with pytest.raises(PortInUse) as found:
        await other.listener.bind("127.0.0.1", rig.port)
    assert str(found.value) == f"127.0.0.1:{rig.port} is in use"
    who = await who_listens("127.0.0.1", rig.port)
    assert who == f"a trishula hub (node rig, pid {os.getpid()})"


async def test_a_name_is_served_on_every_address_this_machine_has(rig: Rig) -> None:
    rig.listener.stop()
    port = await rig.listener.bind("localhost", 0)
    families = {info[0] for info in socket.getaddrinfo("localhost", port)}
    assert socket.AF_INET in families
    rig.port = port
    raw = await rig.upgraded()
    await raw.close()


async def test_somebody_else_on_the_port_is_not_mistaken_for_a_hub() -> None:
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await who_listens("127.0.0.1", port) == "another program"


async def test_a_stopped_listener_takes_nobody_and_serves_who_is_there(rig: Rig) -> None:
    raw = await rig.upgraded()
    rig.listener.stop()
    with pytest.raises(ConnectionRefusedError):
        client_socket(rig)
    await raw.send(b"\x89\x80" + bytes(4))
    await rig.heard.next("alive")
    await raw.close()


async def test_a_client_that_goes_at_once_leaves_nothing(rig: Rig) -> None:
    for _ in range(50):
        client_socket(rig).close()
    raw = await rig.upgraded()
    assert rig.listener.count == 1
    await raw.close()
