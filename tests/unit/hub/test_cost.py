"""What a frame costs the core: the same, whoever else is there."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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


def calls_of_ten_seconds(agents: int) -> int:
    """Functions that a hub calls for its deadlines while so many agents speak all the time."""
    bench = Bench()
    peers = [bench.agent(f"agent-{n}", heartbeat_ms=2_000) for n in range(agents)]
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    for step in range(100):
        for peer in peers[step % 10 :: 10]:
            bench.hub.alive(peer.link, bench.now)
        sys.setprofile(count)
        try:
            bench.advance(100)
        finally:
            sys.setprofile(before)
    assert not any(peer.close_code() for peer in peers)
    return calls


def test_who_speaks_is_looked_after_together_with_all_the_others() -> None:
    none, many = calls_of_ten_seconds(0), calls_of_ten_seconds(400)
    # Three looks or four. With a deadline of its own on the agenda each agent would take 50.
    assert (many - none) / 400 < 35


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["beat", "full", "drained", "leave", "wait"])),
        max_size=60,
    ),
    waits=st.lists(st.integers(1, 2_500), min_size=60, max_size=60),
)
def test_a_session_ends_at_its_deadline_and_not_before(
    steps: list[tuple[int, str]], waits: list[int]
) -> None:
    bench = Bench()
    beats = [2_000, 2_100, 5_000, 30_000]
    peers = [bench.agent(f"agent-{n}", heartbeat_ms=ms) for n, ms in enumerate(beats)]
    due = [bench.now.mono + 2 * ms for ms in beats]
    stalled = [False] * 4
    ended: set[int] = set()
    for (n, what), wait in zip(steps, waits, strict=False):
        if n not in ended:
            link, now = peers[n].link, bench.now
            if what == "beat" and not stalled[n]:
                peers[n].send({"type": "HEARTBEAT"})
                due[n] = now.mono + 2 * beats[n]
            elif what == "full" and not stalled[n]:
                bench.hub.writable(link, False, now)
                bench.run()
                stalled[n], due[n] = True, now.mono + max(2 * beats[n], 10_000)
            elif what == "drained" and stalled[n]:
                bench.hub.writable(link, True, now)
                bench.run()
                stalled[n], due[n] = False, now.mono + 2 * beats[n]
            elif what == "leave":
                peers[n].drop()
                ended.add(n)
        bench.advance(wait)
        for n, peer in enumerate(peers):
            if n in ended:
                assert peer.close_code() is None
            elif bench.now.mono >= due[n]:
                assert peer.close_code() in (4408, 1013)
                peer.drop()
                peer.closed = None
                ended.add(n)
            else:
                assert peer.close_code() is None
