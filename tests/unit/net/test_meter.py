"""What the driver and the core count."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from tests.support.hub_bench import Bench
from trishula_broker.hub.counts import Buckets, Counts
from trishula_broker.net.meter import REASONS, Meter
from trishula_broker.store import base
from trishula_protocol.address import parse_address

VALUES = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 5)), max_size=30)


@given(VALUES, VALUES)
def test_a_histogram_has_every_value_once(one: list[tuple[int, int]], two: list[tuple[int, int]]):  # type: ignore[no-untyped-def]
    bounds = (1, 10, 100, 1000)
    halves = []
    for values in (one, two):
        half = Buckets(bounds)
        for value, times in values:
            half.add(value, times)
        halves.append(half)
    both = halves[0].plus(halves[1])
    assert both.sum == sum(value * times for value, times in one + two)
    assert sum(both.counts) == sum(times for _, times in one + two)
    for n, count in enumerate(both.counts):
        assert count == sum(times for value, times in one + two if bisect_left(bounds, value) == n)


def accept(id_: str, settles: int | None = None, type_: str = "COMMAND") -> base.Accept:
    return base.Accept(
        "dc", 1, parse_address("agni"), id_, type_, 3, None, None, False, None, b"{}", settles
    )


def test_a_commit_is_counted_by_what_became_of_each_operation() -> None:
    meter = Meter()
    ops: list[base.Operation] = [
        accept("1"),
        accept("2", settles=1, type_="RESULT"),
        accept("3"),
        accept("4"),
        accept("5"),
        base.Settle("dc", 1, (1, 2), (None, None)),
        base.Settle("dc", 1, (1,), (None,)),
        base.Discard("dc", 1, 3, "dead", "", None),
        base.Discard("dc", 1, 3, "dead", "", None),
    ]
    outcomes: list[base.Outcome] = [
        base.Accepted(1, 0, ("agni",)),
        base.Accepted(2, 0, ("agni",)),
        base.Duplicate(1, b"{}"),
        base.Refused("unknown_recipient"),
        base.Fenced(2),
        base.Marked((1, 2), ()),
        base.Fenced(2),
        base.Discarded(True, None),
        base.Discarded(False, "dead"),
    ]
    meter.arrived(4)
    meter.arrived(5)
    meter.collected(True)
    meter.arrived(1)  # it belongs to the next
    meter.committed([base.Batch("default", ops)], [outcomes])
    assert meter.messages == {
        ("COMMAND", "accepted"): 1,
        ("RESULT", "accepted"): 1,
        ("COMMAND", "duplicate"): 1,
        ("COMMAND", "unknown_recipient"): 1,
        ("COMMAND", "fenced"): 1,
    }
    assert meter.settled == {"done": 3, "dead": 1}
    assert sum(meter.accept.counts) == 9
    assert sum(meter.commits.counts) == 1
    assert meter.sizes.sum == 9
    assert meter.pending_s == 0


def test_what_came_without_a_commit_counts_for_none() -> None:
    meter = Meter()
    meter.arrived(1)
    meter.collected(False)  # a heartbeat
    meter.arrived(1)
    meter.collected(True)
    meter.committed([base.Batch("default", [accept("1")])], [[base.Accepted(1, 0, ())]])
    assert sum(meter.accept.counts) == 1


def test_a_commit_that_failed_is_counted_and_its_messages_are_not() -> None:
    meter = Meter()
    meter.collected(True)
    meter.committed([base.Batch("default", [accept("1")])], [])
    assert (meter.failed, meter.messages) == (1, {})
    meter.committed([], [])  # to ask the store whether it is well
    assert meter.failed == 1


def test_reasons_without_end_are_counted_together() -> None:
    meter = Meter()
    for n in range(2 * REASONS):
        meter.turned_away("tls", str(n), 0)
    meter.turned_away("http", "missing", 401)
    assert len(meter.refused) <= REASONS + 2
    assert meter.refused.total() == 2 * REASONS + 1
    assert meter.unproven == 1


def test_a_delivery_counts_as_late_only_for_who_was_there() -> None:
    counts = Counts()
    counts.out(3, waited=40, there=1_000)
    counts.out(5, waited=3_600_000, there=1_000)  # it waited for who was away
    assert sum(counts.delivered.counts) == 3
    assert counts.delivered.sum == 120
    assert counts.handed_out == 8


def test_the_core_counts_what_goes_out_and_what_it_refuses() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc"), bench.agent("agni")
    dc.tell("agni", "m1")
    dc.tell("nobody", "m2")
    counts = bench.hub.counts
    assert (counts.handed_out, counts.redelivered) == (1, 0)
    assert sum(counts.delivered.counts) == 1
    assert counts.errors == {"unknown_recipient": 1}
    (message,) = agni.mail()
    agni.ack("rejected", message["seq"], requeue=True)
    bench.advance(1_500)
    assert [each["attempt"] for each in agni.mail()] == [2]
    assert (counts.handed_out, counts.redelivered) == (2, 1)


def test_dead_letters_and_ended_nodes_are_told_as_they_are_counted() -> None:
    meter = Meter()
    told: list[tuple[str, base.Operation]] = []
    meter.ended = lambda namespace, op, outcome: told.append((namespace, op))
    ops: list[base.Operation] = [
        base.Discard("dc", 1, 3, "dead", "", None),
        base.Discard("dc", 1, 4, "rejected", "", None),
        base.Discard("dc", 1, 5, "expired", "", None),
        base.Discard("dc", 1, 6, "dead", "", None),
        base.EndNode("n2", 7, 100),
    ]
    outcomes: list[base.Outcome] = [
        base.Discarded(True),
        base.Discarded(True),
        base.Discarded(True),
        base.Discarded(False, "dead"),
        base.NodeEnded(("agni",), False, None),
    ]
    meter.collected(True)
    meter.committed([base.Batch("ops", ops)], [outcomes])
    assert told == [("ops", ops[0]), ("ops", ops[1]), ("ops", ops[4])]
    assert meter.dead_letters == 2
