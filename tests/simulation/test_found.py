"""Faults that simulated runs have found, each as small as it can be told."""

from __future__ import annotations

from tests.support.hub_bench import Bench
from trishula_broker.hub.mailbox import Mailbox
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import Batch, Copy, Fetched, MailboxLimits, Message
from trishula_protocol.errors import CloseCode, ErrorCode, ProtocolError


def copy(seq: int, priority: int = 3) -> Copy:
    message = Message(seq, f"m{seq}", "dc", "STATUS", "agni", priority, None, False, 0, None, b"{}")
    return Copy(message, 0, 0, None)


def test_a_doubt_that_comes_while_a_fetch_is_on_its_way_is_not_forgotten() -> None:
    mailbox = Mailbox(10, HubSettings())
    mailbox.fetch()
    mailbox.fetched(Fetched((copy(4),), more=True, due_at=None))
    assert mailbox.fetch()[0] == (3, 4)
    mailbox.doubt()  # a copy before the fourth has become due
    mailbox.fetched(Fetched((copy(6),), more=True, due_at=None))
    assert mailbox.wants_fetch()
    assert mailbox.fetch()[0] is None


def test_a_copy_given_back_before_it_was_known_to_be_taken_up_comes_again() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    receiver.ack("read", mail["seq"])
    receiver.drop()
    receiver = bench.agent("agni")
    bench.hold_commits = True
    receiver.ack("read", mail["seq"])  # the handler outlived its connection ...
    taken_up = bench.hub.ops_to_commit()
    receiver.ack("rejected", mail["seq"], requeue=True)  # ... and fails now
    [outcomes] = bench.store.apply(bench.now.wall, [Batch("default", taken_up)])
    bench.hub.committed(outcomes, bench.now)
    bench.hold_commits = False
    bench.run()
    bench.advance(1_000)
    assert [(again["id"], again["attempt"]) for again in receiver.mail()] == [("m1", 2)]


def test_a_copy_given_back_is_not_delivered_again_before_that_is_durable() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    bench.failing = "out of order"
    receiver.ack("rejected", mail["seq"], requeue=True)  # the window is fetched anew meanwhile
    bench.failing = None
    sender.tell("agni", "m2")
    bench.advance(300)
    assert [again["id"] for again in receiver.mail()] == ["m2"]
    bench.advance(2_000)
    assert [(again["id"], again["attempt"]) for again in receiver.mail()] == [("m1", 2)]


def test_mail_for_a_capability_reaches_the_only_one_who_offers_it_though_its_mailbox_is_full() -> (
    None
):
    bench = Bench(limits=MailboxLimits(messages=1))
    sender = bench.agent("dc")
    bench.agent("agni", capabilities=["review"]).drop()
    sender.tell("@review", "m1")
    sender.tell("agni", "m2")
    receiver = bench.agent("agni")
    assert sorted(mail["id"] for mail in receiver.mail()) == ["m1", "m2"]


def test_mail_committed_while_much_else_is_to_be_said_is_not_forgotten() -> None:
    bench = Bench(HubSettings(outgoing_bytes=100))
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    bench.hold_commits = True
    sender.tell("agni", "m1")
    ops = bench.hub.ops_to_commit()
    [outcomes] = bench.store.apply(bench.now.wall, [Batch("default", ops)])
    nonsense = ProtocolError(ErrorCode.BAD_MESSAGE, "x" * 200)
    bench.hub.receive(receiver.link, [nonsense], 1, bench.now)
    bench.hub.committed(outcomes, bench.now)
    bench.hold_commits = False
    bench.run()
    bench.advance(0)
    assert [mail["id"] for mail in receiver.mail()] == ["m1"]


def test_a_late_registration_of_a_connection_that_is_gone_does_not_end_the_agent() -> None:
    bench = Bench()
    receiver = bench.agent("agni")
    bench.hold_commits = True
    ghost = bench.peer()
    payload = {"op": "register", "agent": "agni"}
    ghost.send({"type": "COMMAND", "to": "hub", "id": "late", "payload": payload})
    ghost.drop()
    bench.hold_commits = False
    bench.run()
    # Told to come back, and not that another has taken its place: it would stay away.
    assert receiver.close_code() == CloseCode.RESTART
    sender, back = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    assert [mail["id"] for mail in back.mail()] == ["m1"]


def test_what_is_tried_again_after_a_failure_is_not_overtaken_by_what_came_later() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    bench.failing = "no store"
    receiver.ack("read", mail["seq"])
    bench.failing = None
    receiver.ack("rejected", mail["seq"], requeue=True)
    bench.advance(2_000)
    assert [(again["id"], again["attempt"]) for again in receiver.mail()] == [("m1", 2)]
