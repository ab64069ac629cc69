"""What recipients say of their mail goes along with the next commit, or waits a moment for one."""

from __future__ import annotations

from tests.support.hub_bench import Bench, Peer
from trishula_broker.store import base

PATIENCE_MS = 5


def patient() -> tuple[Bench, Peer, Peer]:
    """A hub whose settlements wait, and two agents of which the first has mail of the other."""
    bench = Bench(patience_ms=PATIENCE_MS)
    one, two = bench.agent("one"), bench.agent("two")
    two.tell("one", "m1")
    [bench_mail] = one.mail()
    assert bench_mail["seq"] == 1
    two.take()
    return bench, one, two


def test_a_lone_settlement_has_a_commit_of_its_own_a_moment_later() -> None:
    bench, one, _ = patient()
    one.ack("done", 1)
    bench.advance(PATIENCE_MS - 1)
    assert one.acks("settled") == []
    bench.advance(1)
    assert one.acks("settled") == [1]


def test_the_first_of_several_says_when_their_moment_is_over() -> None:
    bench, one, two = patient()
    two.tell("one", "m2")
    one.ack("done", 1)
    bench.advance(PATIENCE_MS - 1)
    one.ack("done", 2)
    bench.advance(1)
    assert one.acks("settled") == [1, 2]


def test_a_settlement_goes_along_with_the_next_message_and_before_it() -> None:
    bench, one, _ = patient()
    bench.hold_commits = True
    one.ack("done", 1)
    assert bench.hub.ops_to_commit() == []
    one.tell("two", "m2")
    settle, accept = bench.hub.ops_to_commit()
    assert isinstance(settle, base.Settle)
    assert isinstance(accept, base.Accept)


def test_a_question_that_is_read_and_answered_at_once_is_one_commit_more() -> None:
    bench, one, _ = patient()
    bench.hold_commits = True
    one.ack("read", 1)
    answer = {"type": "RESULT", "to": "two", "id": "a1", "reply_to": "m1", "settles": 1}
    one.send(answer)
    read, accept = bench.hub.ops_to_commit()
    assert isinstance(read, base.Read)
    assert isinstance(accept, base.Accept)
    assert accept.settles == 1


def test_who_leaves_at_once_has_settled_all_the_same() -> None:
    bench, one, _ = patient()
    one.ack("done", 1)
    one.drop()
    assert bench.agent("one").mail() == []


def test_patience_is_at_its_end_when_the_store_is_well_again() -> None:
    bench, one, _ = patient()
    bench.failing = "full"
    one.ack("done", 1)
    bench.advance(PATIENCE_MS)
    assert one.acks("settled") == []
    bench.failing = None
    bench.advance(1_000)
    assert one.acks("settled") == [1]


def test_a_hub_that_drains_waits_for_what_is_patient() -> None:
    bench, one, _ = patient()
    one.ack("done", 1)
    bench.hub.drain(bench.now)
    bench.run()
    bench.advance(PATIENCE_MS)
    assert one.acks("settled") == [1]
    assert one.close_code() == 1012
