"""What a service manager hears of a process, on a real socket."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
import structlog
from structlog.testing import CapturingLogger

from tests.support.service_manager import ServiceManager as Listener
from trishula_broker.notify import BEATS, ServiceManager

PID = 4711


@pytest.fixture
def told() -> CapturingLogger:
    return CapturingLogger()


@pytest.fixture
def log(told: CapturingLogger) -> structlog.typing.FilteringBoundLogger:
    made: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(told, processors=[])
    return made


def hear_until_silent(listener: Listener) -> None:
    """Return when nothing is said for as long as the socket waits."""
    try:
        while listener.hear():
            pass
    except TimeoutError:
        pass


def test_without_a_socket_nothing_is_said(log: structlog.typing.FilteringBoundLogger) -> None:
    manager = ServiceManager.of({"WATCHDOG_USEC": "1000000"}, PID, log)
    assert (manager.on, manager.watchdog_s) == (False, 0.0)
    manager.ready("serving")
    manager.alive()
    manager.stopping("draining")
    manager.close()


@pytest.mark.parametrize(
    "name",
    [
        "notify",
        pytest.param(
            f"@trishula-test-notify-{os.getpid()}",  # another run beside this one has its own
            id="@abstract",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux'"),
        ),
    ],
)
def test_start_and_end_are_told_with_a_line_for_people(
    tmp_path: Path, name: str, log: structlog.typing.FilteringBoundLogger
) -> None:
    address = name if name.startswith("@") else str(tmp_path / name)
    with Listener(address) as listener:
        manager = ServiceManager.of(listener.environ(), PID, log)
        assert (manager.on, manager.watchdog_s) == (True, 0.0)
        manager.ready("serving ws://x")
        manager.stopping("draining")
        manager.close()
        assert listener.hear() == {"READY": "1", "STATUS": "serving ws://x"}
        assert listener.hear() == {"STOPPING": "1", "STATUS": "draining"}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-1"}, 0.0),
        ({"WATCHDOG_USEC": "²"}, 0.0),
    ],
)
def test_the_watchdog_is_for_the_process_that_it_names(
    tmp_path: Path,
    environ: dict[str, str],
    seconds: float,
    log: structlog.typing.FilteringBoundLogger,
) -> None:
    given = {"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ}
    manager = ServiceManager.of(given, PID, log)
    assert manager.watchdog_s == seconds
    manager.close()


async def test_the_loop_beats_while_it_turns_and_not_while_it_hangs(
    tmp_path: Path, log: structlog.typing.FilteringBoundLogger
) -> None:
    with Listener(tmp_path / "notify") as listener:
        manager = ServiceManager.of(listener.environ(0.08), PID, log)
        manager.watch(asyncio.get_running_loop())
        for _ in range(2 * BEATS):
            assert await asyncio.to_thread(listener.hear) == {"WATCHDOG": "1"}
        listener.socket.settimeout(0.3)
        hear_until_silent(listener)  # in this thread, which is the loop's: it would go on for ever
        listener.socket.settimeout(60.0)
        assert await asyncio.to_thread(listener.hear) == {"WATCHDOG": "1"}
        manager.close()


def test_a_manager_that_is_not_there_is_told_of_once(
    tmp_path: Path, told: CapturingLogger, log: structlog.typing.FilteringBoundLogger
) -> None:
    manager = ServiceManager.of({"NOTIFY_SOCKET": str(tmp_path / "none")}, PID, log)
    manager.ready("serving")
    manager.alive()
    manager.close()
    (line,) = told.calls
    assert (line.method_name, line.args) == ("warning", ())
    assert line.kwargs == {"event": "not_notified", "why": "No such file or directory"}


def test_an_address_of_another_kind_is_told_of_and_left_alone(
    told: CapturingLogger, log: structlog.typing.FilteringBoundLogger
) -> None:
    assert not ServiceManager.of({"NOTIFY_SOCKET": "vsock:2:1234"}, PID, log).on
    (line,) = told.calls
    assert line.kwargs["why"].endswith("neither a path nor @name: vsock:2:1234")


async def test_a_beat_that_a_busy_manager_has_no_room_for_is_left_out(
    tmp_path: Path, told: CapturingLogger, log: structlog.typing.FilteringBoundLogger
) -> None:
    with Listener(tmp_path / "notify") as listener:
        manager = ServiceManager.of(listener.environ(1.0), PID, log)
        while not told.calls:
            manager.alive()
        listener.hear()
        manager.alive()  # there is room for it
        manager.close()
    assert len(told.calls) == 1
