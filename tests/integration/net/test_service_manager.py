"""A hub that systemd started: it says when it serves, that it lives, and that it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_process import HubProcess
from tests.support.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path / "notify") as listening:
        yield listening


async def test_it_is_told_of_the_start_of_life_and_of_the_end(
    tmp_path: Path, manager: ServiceManager
) -> None:
    async with HubProcess(tmp_path / "data", environ=manager.environ(0.4)) as hub:
        ready = manager.hear()
        assert ready == {"READY": "1", "STATUS": hub.ready_line.strip()}
        for _ in range(8):
            assert await manager.heard("WATCHDOG") == {"WATCHDOG": "1"}
        await hub.signal(signal.SIGTERM)
        assert (await manager.heard("STOPPING"))["STATUS"].startswith("draining")
        assert await hub.wait() == 0


async def test_a_reload_of_a_hub_with_nothing_to_read_again_does_not_end_it(
    tmp_path: Path, manager: ServiceManager
) -> None:
    async with HubProcess(tmp_path / "data", environ=manager.environ(0.4)) as hub:
        await hub.signal(signal.SIGHUP)
        while "nothing_to_reload" not in hub.log:
            await manager.heard("WATCHDOG")
        assert await hub.terminate() == 0


async def test_a_hub_that_cannot_start_never_says_that_it_serves(
    tmp_path: Path, manager: ServiceManager
) -> None:
    async with HubProcess(tmp_path / "data") as hub:
        other = HubProcess(tmp_path / "data", port=hub.port, environ=manager.environ())
        with pytest.raises(RuntimeError, match="the hub ended with 3"):
            await other.start()
    manager.socket.settimeout(0.0)
    with pytest.raises(BlockingIOError):
        manager.hear()
