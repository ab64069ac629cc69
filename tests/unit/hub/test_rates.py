"""How many messages a second an agent may send: buckets, what a hub says, and what an SDK does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.hub_bench import Bench
from trishula.core import AgentCore
from trishula.events import Accepted
from trishula.outbox import Outgoing
from trishula_broker.hub.rates import KEPT, PAUSE_MS, Bucket
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import Peek
from trishula_protocol.bodies import Register
from trishula_protocol.envelope import Envelope

steps = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 30)), max_size=60)
"""Milliseconds that pass, and how many are sent then."""


@given(per_s=st.integers(1, 2_000), burst=st.integers(1, 50), steps=steps)
def test_no_stretch_of_time_lets_more_through_than_burst_and_rate(
    per_s: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    bucket = Bucket(per_s, burst)
    now = 5
    taken: list[int] = []
    for pause, count in steps:
        now += pause
        taken += [now for _ in range(count) if not bucket.take("dc", now)]
    for n, begin in enumerate(taken):
        for m in range(n, len(taken)):
            allowed = burst + (taken[m] - begin) * per_s / 1000 + 1e-6
            assert m - n + 1 <= allowed


@given(per_s=st.floats(0.01, 50_000), burst=st.integers(1, 50), steps=steps)
def test_who_waits_as_long_as_is_said_may_send_again(
    per_s: float, burst: int, steps: list[tuple[int, int]]
) -> None:
    bucket = Bucket(per_s, burst)
    now = 5
    for pause, count in steps:
        now += pause
        for _ in range(count):
            wait = bucket.take("dc", now)
            assert wait >= 0
            if wait:
                assert wait <= max(PAUSE_MS, 1_000 / per_s + 1)
                assert bucket.take("dc", now + wait - 1) == 1
                now += wait
                assert bucket.take("dc", now) == 0


@given(burst=st.integers(1, 100))
def test_a_rested_agent_may_send_a_burst_and_agents_do_not_share(burst: int) -> None:
    bucket = Bucket(0.001, burst)
    for agent in ("dc", "agni"):
        assert [bucket.take(agent, 7) for _ in range(burst)] == [0] * burst
        assert bucket.take(agent, 7) > 0


def test_agents_that_have_rested_are_forgotten() -> None:
    bucket = Bucket(1_000, 10)
    for n in range(10 * KEPT):
        assert bucket.take(f"a{n}", n) == 0
    assert len(bucket) <= KEPT + 1


# --- at the hub -------------------------------------------------------------------------------

SETTINGS = HubSettings(messages_per_s=10, messages_burst=3)


def test_what_comes_too_fast_is_refused_and_may_come_again() -> None:
    bench = Bench(SETTINGS)
    bench.agent("agni")
    dc = bench.agent("dc")
    dc.send(*({"type": "STATUS", "to": "agni", "id": f"m{n}"} for n in range(5)))
    heard = dc.take()
    errors = [each for each in heard if each["type"] == "ERROR"]
    assert [each["reply_to"] for each in errors] == ["m3", "m4"]
    payload = errors[0]["payload"]
    assert (payload["code"], payload["retryable"]) == ("rate_limited", True)
    assert payload["details"] == {"messages_per_s": 10}
    bench.advance(payload["retry_after_ms"])
    dc.tell("agni", "m3")
    assert dc.acks("accepted") == ["m3"]


def test_asking_the_hub_and_settling_are_not_counted() -> None:
    bench = Bench(SETTINGS)
    dc = bench.agent("dc")
    for _ in range(10):
        assert dc.ask("agents")["type"] == "RESULT"
        dc.ack("read", 1)
    assert dc.errors() == ["stale_ack"] * 10


def test_sessions_of_one_agent_share_its_bucket() -> None:
    bench = Bench(SETTINGS)
    bench.agent("agni")
    one, two = bench.agent("dc"), bench.agent("dc", receive=False)
    one.send(*({"type": "STATUS", "to": "agni", "id": f"m{n}"} for n in range(3)))
    assert len(one.acks("accepted")) == 3
    two.tell("agni", "m9")
    assert two.errors() == ["rate_limited"]


def test_without_a_limit_nothing_is_refused() -> None:
    bench = Bench()
    bench.agent("agni")
    dc = bench.agent("dc")
    dc.send(*({"type": "STATUS", "to": "agni", "id": f"m{n}"} for n in range(900)))
    assert len(dc.acks("accepted")) == 900


# --- the SDK ----------------------------------------------------------------------------------


class Sender:
    """An SDK's core on a bench's hub, without a socket."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.peer = bench.peer()
        self.core = AgentCore(Register("dc", heartbeat_ms=2_000), fraction=lambda: 0.5)
        self.core.connect("reg", bench.now.mono)
        self.accepted: list[str] = []
        self.refused = 0

    def turn(self) -> None:
        """Exchange frames until nothing more is said."""
        while frames := self.core.frames():
            for frame in frames:
                self.peer.raw(frame)
            for envelope in self.peer.take():
                self.refused += envelope.get("payload", {}).get("code") == "rate_limited"
                item = Envelope(
                    envelope["type"],
                    sender="hub",
                    reply_to=envelope.get("reply_to"),
                    payload=envelope["payload"],
                )
                self.core.receive(self.core.encode(item), self.bench.now.mono)
            for event in self.core.events():
                if isinstance(event, Accepted):
                    self.accepted += [out.id for out in event.outs]

    def send(self, count: int) -> list[str]:
        ids = [f"m{n:05}" for n in range(count)]
        for id_ in ids:
            envelope = Envelope("STATUS", id=id_, to="agni")
            self.core.send(Outgoing(id_, self.core.encode(envelope)))
        return ids

    def live(self, ms: int) -> None:
        end = self.bench.now.mono + ms
        while (due := self.core.next_timeout()) is not None and due <= end:
            self.bench.advance(max(0, due - self.bench.now.mono))
            self.core.timeout(self.bench.now.mono)
            self.turn()
        self.bench.advance(end - self.bench.now.mono)


def test_an_sdk_goes_as_fast_as_it_may_in_order_and_loses_nothing() -> None:
    bench = Bench(HubSettings(messages_per_s=200, messages_burst=50))
    bench.agent("agni")
    sender = Sender(bench)
    sender.turn()
    ids = sender.send(1_000)
    sender.turn()
    first = sender.refused
    sender.live(6_000)
    assert sender.accepted == ids
    assert first == 950
    assert sender.refused - first <= 50
    stored = bench.store.answer("default", Peek("agni", 1))
    assert stored.count == 1_000
