"""What a frame costs the core: the same, whoever else is there."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from tests.support.hub_bench import Bench
from trishula_protocol.codec import JSON

HEARTBEAT = b'{"type":"HEARTBEAT"}'


def calls_of_a_heartbeat(waiting: int) -> int:
    """Functions called for one while the answers to so many others have not been
    written yet."""
    bench = Bench()
    peers = [bench.agent(f"agent-{n}") for n in range(waiting + 1)]
    for peer in peers[:waiting]:
        bench.hub.receive(peer.link, JSON.decode(HEARTBEAT), len(HEARTBEAT), bench.now)
    items = JSON.decode(HEARTBEAT)
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        bench.hub.receive(peers[-1].link, items, len(HEARTBEAT), bench.now)
    finally:
        sys.setprofile(before)
    bench.run()
    assert all(peer.take()[-1]["type"] == "HEARTBEAT" for peer in peers)
    return calls


def test_a_heartbeat_costs_the_same_however_many_answers_wait_to_be_written() -> None:
    assert calls_of_a_heartbeat(200) == calls_of_a_heartbeat(10)
