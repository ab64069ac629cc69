"""Spans of messages, from what a driver knows: a table of lives, and properties of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.net import spans
from trishula_broker.net.spans import Budget, Span, Spans
from trishula_broker.store import base
from trishula_protocol.address import parse_address
from trishula_protocol.codec import JSON, Item, decode_json

TRACE, SENDER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SENDER}-01", f"00-{TRACE}-{SENDER}-00"
MS = 1_000_000


def body(id_: str, traceparent: str | None = None, payload: str = "null") -> bytes:
    headers = "" if traceparent is None else f'"headers":{{"traceparent":"{traceparent}"}},'
    return f'{{"type":"COMMAND","id":"{id_}","to":"agni",{headers}"payload":{payload}}}'.encode()


def accept(id_: str, stored: bytes, settles: int | None = None) -> base.Accept:
    to = parse_address("agni")
    return base.Accept("dc", 1, to, id_, "COMMAND", 3, None, None, False, None, stored, settles)


def copy(seq: int, id_: str, stored: bytes, attempts: int = 0) -> base.Copy:
    message = base.Message(seq, id_, "dc", "COMMAND", "agni", 3, None, False, 5_000, None, stored)
    return base.Copy(message, attempts, 0, None)


class Life:
    """Drives :class:`Spans` as a driver does; its clock is a millisecond on at each look."""

    def __init__(self, ratio: float = 0.0, per_s: int = 100, began: int = 10_000) -> None:
        self.made: list[Span] = []
        ticks = count(began * MS, MS)
        ids = count(1)
        self.spans = Spans(
            self.made.extend,
            lambda: next(ticks),
            lambda: f"{next(ids):016x}",
            ratio=ratio,
            per_s=per_s,
        )

    def arrive(self, *bodies: bytes) -> None:
        items: list[Item] = [decode_json(each) for each in bodies]
        self.spans.arrived(items)

    def commit(
        self, ops: Sequence[base.Operation], outcomes: Sequence[base.Outcome], why: str = ""
    ) -> None:
        self.spans.collected(True)
        batches = [base.Batch("default", ops)]
        self.spans.committed(batches, [] if why else [outcomes], why)

    def names(self) -> list[str]:
        return [span.name for span in self.made]


def test_a_message_is_followed_from_its_arrival_to_its_settlement() -> None:
    life = Life()
    stored = body("1", SAMPLED)
    life.arrive(stored)
    life.commit([accept("1", stored)], [base.Accepted(7, 0, ("agni",))])
    life.spans.handed_out("default", "agni", [copy(7, "1", stored)])
    life.commit([base.Settle("agni", 1, (7,), (None,))], [base.Marked((7,), ())])
    accepted, committed, delivered, settled = life.made
    assert life.names() == ["accept", "commit", "deliver", "settle"]
    assert {span.trace_id for span in life.made} == {TRACE}
    assert accepted.parent_id == delivered.parent_id == SENDER
    assert committed.parent_id == accepted.span_id
    assert settled.parent_id == delivered.span_id
    assert len({span.span_id for span in life.made}) == 4
    assert accepted.began < committed.began < accepted.ended == committed.ended
    assert delivered.began == accepted.ended < delivered.ended < settled.began < settled.ended
    assert accepted.attributes == {
        "messaging.system": "trishula",
        "messaging.message.id": "1",
        "messaging.message.conversation_id": "1",
        "messaging.destination.name": "agni",
        "trishula.namespace": "default",
        "trishula.type": "COMMAND",
        "trishula.sender": "dc",
        "trishula.outcome": "accepted",
        "trishula.seq": 7,
    }
    assert committed.attributes == {"messaging.batch.message_count": 1}
    assert delivered.attributes["trishula.agent"] == "agni"
    assert settled.attributes["trishula.outcome"] == "done"


@pytest.mark.parametrize(
    "stored",
    [
        body("1"),
        body("1", UNSAMPLED),
        body("1", "not one"),
        body("1", payload=f'{{"traceparent":"{SAMPLED}"}}'),
        body("1", UNSAMPLED, f'{{"traceparent":"{SAMPLED}"}}'),
    ],
)
def test_what_nobody_traces_is_not_followed(stored: bytes) -> None:
    life = Life()
    life.arrive(stored)
    life.commit([accept("1", stored)], [base.Accepted(7, 0, ("agni",))])
    life.spans.handed_out("default", "agni", [copy(7, "1", stored)])
    life.commit([base.Settle("agni", 1, (7,), (None,))], [base.Marked((7,), ())])
    assert not life.made


@pytest.mark.parametrize(
    ("outcome", "told", "failed"),
    [
        (base.Duplicate(7, b""), "duplicate", ""),
        (base.Refused("unknown_recipient"), "unknown_recipient", "unknown_recipient"),
        (base.Refused("mailbox_full", ("agni",)), "mailbox_full", "mailbox_full"),
        (base.Fenced(3), "fenced", "fenced"),
    ],
)
def test_an_acceptance_tells_its_outcome(outcome: base.Outcome, told: str, failed: str) -> None:
    life = Life()
    stored = body("1", SAMPLED)
    life.arrive(stored)
    life.commit([accept("1", stored)], [outcome])
    assert life.names() == ["accept", "commit"]
    assert life.made[0].attributes["trishula.outcome"] == told
    assert {span.failed for span in life.made} == {failed}


def test_a_commit_that_failed_fails_its_acceptances() -> None:
    life = Life()
    stored = body("1", SAMPLED)
    life.arrive(stored)
    life.commit([accept("1", stored)], [], "the disk is full")
    assert [span.failed for span in life.made] == ["the disk is full"] * 2
    assert life.made[0].attributes["trishula.outcome"] == "unavailable"


@pytest.mark.parametrize(
    ("op", "outcome", "told"),
    [
        (base.Settle("agni", 1, (7,), (None,)), base.Marked((7,), ()), "done"),
        (accept("2", body("2"), settles=7), base.Accepted(8, 0, ("dc",)), "done"),
        (base.Requeue("agni", 1, (7,)), base.Requeued(((7, 1, 0),), ()), "requeued"),
        (base.Discard("agni", 1, 7, "rejected", "", None), base.Discarded(True), "rejected"),
        (base.Discard("agni", 1, 7, "rejected", "", None), base.Discarded(False), None),
        (base.Settle("agni", 1, (7,), (None,)), base.Marked((), (7,)), None),
        (base.Read("agni", 1, (7,), 1), base.Marked((7,), ()), None),
        (base.Settle("vayu", 1, (7,), (None,)), base.Marked((7,), ()), None),
    ],
)
def test_an_attempt_ends_by_what_is_said_of_it(
    op: base.Operation, outcome: base.Outcome, told: str | None
) -> None:
    life = Life()
    if isinstance(op, base.Accept):
        op = msgspec.structs.replace(op, sender="agni")
    life.spans.handed_out("default", "agni", [copy(7, "1", body("1", SAMPLED), attempts=2)])
    (delivered,) = life.made
    assert delivered.attributes["trishula.attempt"] == 3
    assert delivered.began == 5_000 * MS  # accepted by another node, at that time
    life.commit([op], [outcome])
    assert [s.attributes["trishula.outcome"] for s in life.made[1:]] == ([told] if told else [])


def test_a_share_of_what_nobody_traces_begins_a_trace_that_every_node_knows() -> None:
    bodies = [body(f"id-{n}") for n in range(200)]
    one, two = Life(0.25, 1_000), Life(0.25, 1_000)
    one.arrive(*bodies)
    ops = [accept(f"id-{n}", bodies[n]) for n in range(200)]
    one.commit(ops, [base.Accepted(n + 1, 0, ("agni",)) for n in range(200)])
    two.spans.handed_out("default", "agni", [copy(n + 1, f"id-{n}", bodies[n]) for n in range(200)])
    roots = {span.trace_id: span for span in one.made if span.name == "accept"}
    assert 20 < len(roots) < 80
    assert {span.parent_id for span in roots.values()} == {""}
    assert {span.trace_id for span in two.made} == set(roots)
    for span in two.made:
        assert span.parent_id == roots[span.trace_id].span_id
    again = Life(0.25, 1_000)
    again.arrive(*bodies)
    again.commit(ops, [base.Duplicate(n + 1, b"") for n in range(200)])
    for span in again.made:
        if span.name == "accept":
            assert span.parent_id == roots[span.trace_id].span_id != span.span_id


def test_a_trace_that_its_sender_does_not_record_is_none_for_any_ratio() -> None:
    life = Life(1.0)
    life.arrive(body("1", UNSAMPLED), body("2"))
    ops = [accept("1", body("1", UNSAMPLED)), accept("2", body("2"))]
    life.commit(ops, [base.Accepted(n, 0, ("agni",)) for n in (1, 2)])
    assert {span.attributes.get("messaging.message.id", "2") for span in life.made} == {"2"}


def test_no_more_are_followed_than_are_allowed() -> None:
    life = Life(per_s=3)
    bodies = [body(str(n), SAMPLED) for n in range(10)]
    life.arrive(*bodies)
    ops = [accept(str(n), bodies[n]) for n in range(10)]
    life.commit(ops, [base.Accepted(n + 1, 0, ("agni",)) for n in range(10)])
    assert life.names().count("accept") == 3
    life.spans.handed_out("default", "agni", [copy(n, str(n), bodies[n]) for n in range(10)])
    assert life.names().count("deliver") == 3


def test_an_id_that_two_agents_use_at_once_is_not_mixed_up() -> None:
    life = Life()
    traced, plain = body("1", SAMPLED), body("1")
    life.arrive(traced, plain)
    life.commit([accept("1", plain)], [base.Accepted(1, 0, ("agni",))])
    assert not life.made


def test_what_never_comes_to_an_end_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "REMEMBERED", 5)
    life = Life(per_s=1_000)
    for n in range(50):
        life.arrive(body(str(n), SAMPLED))
        life.spans.handed_out("default", "agni", [copy(n, str(n), body(str(n), SAMPLED))])
    assert repr(life.spans) == "<Spans arrived=5 held=5>"
    monkeypatch.setattr(spans, "AGENTS", 5)
    for n in range(50):
        life.spans.handed_out("default", f"a{n}", [copy(n, "1", body("1", SAMPLED))])
    assert repr(life.spans) == "<Spans arrived=5 held=6>"


def test_what_does_not_parse_and_heartbeats_are_let_be() -> None:
    life = Life(1.0)
    items = JSON.decode(b'[{"type":"HEARTBEAT"},{"type":"COMMAND"},{"type":5}]')
    life.spans.arrived(items)
    life.spans.collected(False)
    life.spans.committed([], [], "")
    assert not life.made


@given(st.lists(st.integers(0, 1_500), max_size=60), st.integers(1, 5))
def test_a_budget_gives_no_more_in_any_second_than_twice_its_share(
    steps: list[int], per_s: int
) -> None:
    budget, now = Budget(per_s), 10**18
    taken: list[int] = []
    for step in steps:
        now += step * MS
        if budget.left(now):
            budget.take()
            taken.append(now)
    for at in taken:
        assert sum(at <= each < at + spans.SECOND_NS for each in taken) <= 2 * per_s


def test_a_budget_goes_on_when_the_clock_is_set_back() -> None:
    budget = Budget(1)
    assert budget.left(10**18)
    budget.take()
    assert not budget.left(10**18 + MS)
    assert budget.left(10**17)
