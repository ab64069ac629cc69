"""Ports of the tests' servers: nobody else's, neither now nor while a server is away."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from tests.support.ports import EACH, SHARES, free_port, ports_of

pids = st.integers(1, 2**22)


@given(st.sets(st.integers(0, SHARES - 1), min_size=2, max_size=2), pids)
def test_processes_of_one_run_share_no_port(numbers: set[int], pid: int) -> None:
    one, two = (set(ports_of(f"gw{number}", pid + number)) for number in numbers)
    assert not one & two


@given(st.sampled_from(["", "master", "gw0", "gw999"]), pids)
def test_no_port_is_one_the_system_gives_away(worker: str, pid: int) -> None:
    ports = ports_of(worker, pid)
    assert len(ports) == EACH
    assert 10_240 <= min(ports) < max(ports) < 32_768


def test_a_port_is_free_and_another_one_each_time() -> None:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", free_port()))
        listening.listen()
        taken = listening.getsockname()[1]
        found = [free_port() for _ in range(EACH // 2)]
        assert taken not in found
        assert len(set(found)) == EACH // 2
