"""The senders keep to their schedule, whatever the hub does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from types import SimpleNamespace
from typing import Any

import pytest

from trishula import AgentClosed, Refused
from trishula_broker.benchmark import sending
from trishula_broker.benchmark.sending import TIMER_NS, Load
from trishula_broker.benchmark.talk import Member, Plan

MS = 1_000_000


class Hub:
    """Takes messages at the place of an agent; ``answer`` is what becomes of one."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.priorities: list[int] = []
        self.mail: Callable[[Any], None]
        self.answering = asyncio.Event()
        self.answering.set()

    def on_message(self, handler: Callable[[Any], None]) -> None:
        self.mail = handler

    async def send(self, to: str, body: dict[str, Any], priority: int) -> None:
        self.bodies.append(body)
        self.priorities.append(priority)
        self.answer()
        await self.answering.wait()

    def answer(self) -> None:
        """Nothing out of the ordinary."""


def plan(**values: Any) -> Plan:
    usual: dict[str, Any] = {
        "run": "r",
        "urls": [],
        "connect_s": 1.0,
        "members": [Member("from")],
        "group": "",
        "to": ["to"],
        "seconds": 0.05,
        "rate": 1000.0,
        "size": 10,
        "mix": {},
        "window": 4,
        "fan_out": 1,
    }
    return Plan(**(usual | values))


def load(hub: Hub, **values: Any) -> Load:
    found = plan(**values)
    agents: list[Any] = [hub] * len(found.members)
    return Load(found, agents)


async def test_messages_are_sent_when_planned_though_none_before_was_answered() -> None:
    class Silent(Hub):
        def answer(self) -> None:
            if len(self.bodies) == 50:  # the last one has been sent, and nothing was accepted
                self.answering.set()

    hub = Silent()
    hub.answering.clear()
    running = load(hub)
    await running.run(monotonic_ns())
    assert (running.planned, running.accepted, dict(running.failed)) == (50, 50, {})
    assert [body["n"] for body in hub.bodies] == list(range(50))
    assert running.accepting.count == 50


async def test_what_a_stall_held_up_counts_from_its_planned_moment() -> None:
    start = monotonic_ns()

    class Stalling(Hub):
        def answer(self) -> None:
            while len(self.bodies) == 5 and monotonic_ns() < start + 60 * MS:
                pass  # the whole process stands still until all is overdue

    hub = Stalling()
    running = load(hub)
    await running.run(start)
    held_up = [body for body in hub.bodies if body["n"] >= 5]
    assert [body["t"] for body in held_up] == [start + n * MS for n in range(5, 50)]
    assert running.late >= 45


async def test_what_a_timer_is_late_by_is_not_the_hubs() -> None:
    hub = Hub()
    begun = monotonic_ns()
    running = load(hub, seconds=0.001)
    await running.run(begun)
    [body] = hub.bodies
    late = body["t"] - begun
    assert late == 0 if running.late else 0 <= late <= TIMER_NS


async def test_refusals_are_counted_by_code_and_the_load_goes_on() -> None:
    class Refusing(Hub):
        def answer(self) -> None:
            if len(self.bodies) % 2:
                raise Refused("mailbox_full", "full")

    running = load(Refusing())
    await running.run(monotonic_ns())
    assert dict(running.failed) == {"mailbox_full": 25}
    assert (running.planned, running.accepted) == (50, 25)


async def test_what_is_not_answered_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "GRACE_SECONDS", 0.0)
    hub = Hub()
    hub.answering.clear()
    running = load(hub)
    await running.run(monotonic_ns())
    assert running.planned == 50
    assert running.accepted == 0
    assert running.failed["unanswered"] + running.failed["unsent"] == 50


async def test_what_had_no_time_to_begin_counts_as_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "GRACE_SECONDS", 0.0)
    hub = Hub()
    hub.answering.clear()
    running = load(hub)
    await running.run(monotonic_ns() - 60 * MS)  # over before its first step
    assert running.failed["unanswered"] == len(hub.bodies)
    assert running.failed["unsent"] == running.planned - len(hub.bodies)
    assert running.planned == 50


async def test_a_full_sender_waits_and_what_it_never_sent_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Filling(Hub):
        def answer(self) -> None:
            if len(self.bodies) == 10:  # it is full: let it end at once
                monkeypatch.setattr(sending, "GRACE_SECONDS", 0.0)
                asyncio.get_running_loop().call_soon(running.stop)

    monkeypatch.setattr(sending, "GRACE_SECONDS", 3600.0)
    monkeypatch.setattr(sending, "UNDERWAY", 10)
    hub = Filling()
    hub.answering.clear()
    running = load(hub)
    await running.run(monotonic_ns() - 60 * MS)  # all of it is due
    assert len(hub.bodies) == 10
    assert dict(running.failed) == {"unanswered": 10, "unsent": 40}
    assert running.planned == 50


async def test_stopping_ends_it_with_what_was_sent() -> None:
    class Stopping(Hub):
        def answer(self) -> None:
            if len(self.bodies) == 7:
                running.stop()

    hub = Stopping()
    running = load(hub, seconds=3600.0)
    await running.run(monotonic_ns())
    assert running.planned == running.accepted == len(hub.bodies)
    assert 7 <= running.planned < 3_000_000


async def test_at_full_speed_as_many_are_under_way_as_the_window_allows() -> None:
    class Counting(Hub):
        def answer(self) -> None:
            if len(self.bodies) == 4:
                asyncio.get_running_loop().call_soon(at_rest)

    def at_rest() -> None:
        seen.append(len(hub.bodies))
        running.stop()
        hub.answering.set()

    seen: list[int] = []
    hub = Counting()
    hub.answering.clear()
    running = load(hub, rate=0.0)
    await running.run(monotonic_ns())
    assert seen == [4]
    assert running.accepted == running.planned == 4


@pytest.mark.parametrize("fan_out", [1, 5])
async def test_at_full_speed_receivers_are_not_left_behind(fan_out: int) -> None:
    running = load(Hub(), rate=0.0, fan_out=fan_out)
    found = []
    for accepted, delivered in ((-1, 0), (0, 0), (0, fan_out)):
        running.accepted = sending.BACKLOG + accepted
        running.delivered(delivered)
        found.append((running.ahead, running.progress.is_set()))
    # Ahead though nobody has said a word: receivers may have no time to.
    assert found == [(False, True), (True, False), (False, True)]


async def test_stopping_ends_the_wait_for_receivers() -> None:
    running = load(Hub(), rate=0.0)
    running.accepted = sending.BACKLOG
    before = running.ahead
    running.stop()
    assert (before, running.ahead, running.progress.is_set()) == (True, False, True)


async def test_an_open_loop_never_waits_for_receivers() -> None:
    hub = Hub()
    running = load(hub)
    running.accepted = 10 * sending.BACKLOG
    await running.run(monotonic_ns())
    assert len(hub.bodies) == 50


async def test_senders_take_turns_and_share_the_priorities() -> None:
    hub = Hub()
    running = load(hub, members=[Member("a"), Member("b")], to=["x", "y"], mix={1: 1, 5: 1})
    await running.run(monotonic_ns())
    by_sender = {s: [b["n"] for b in hub.bodies if b["s"] == s] for s in (0, 1)}
    assert by_sender == {0: list(range(25)), 1: list(range(25))}
    assert (hub.priorities.count(1), hub.priorities.count(5)) == (26, 24)


async def test_an_agent_that_is_over_costs_its_messages_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "GRACE_SECONDS", 0.0)

    class Closed(Hub):
        def answer(self) -> None:
            raise AgentClosed("from")

    running = load(Closed())
    await running.run(monotonic_ns())
    assert set(running.failed) <= {"AgentClosed", "unanswered", "unsent"}
    assert sum(running.failed.values()) == running.planned == 50


async def test_what_the_hub_writes_about_accepted_mail_is_counted() -> None:
    hub = Hub()
    running = load(hub)
    for payload in ({"code": "expired"}, {"code": "expired"}, "what"):
        hub.mail(SimpleNamespace(payload=payload, type="ERROR"))
    assert dict(running.mailed) == {"expired": 2, "ERROR": 1}


async def test_a_report_has_totals_and_only_new_latencies() -> None:
    hub = Hub()
    running = load(hub)
    await running.run(monotonic_ns())
    first, second = running.report(2, over=False), running.report(3, over=True)
    assert (first.accepted, second.accepted) == (50, 50)
    assert (first.accepting.count, second.accepting.count) == (50, 0)
    assert (second.reconnects, second.over) == (3, True)
