"""What is sent is accepted, delivered and settled as promised."""

from __future__ import annotations

import itertools

import pytest

from tests.support.hub_bench import Bench, Peer
from trishula_broker.hub.delivery import NOTE_MS
from trishula_broker.hub.now import Now
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import Batch, Fetch, MailboxLimits, Trace


def ids(peer: Peer) -> list[str]:
    return [mail["id"] for mail in peer.mail()]


def test_acknowledged_and_delivered_only_after_the_commit() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    bench.hold_commits = True
    sender.tell("agni", "m1", {"n": 1}, priority=2)
    assert sender.take() == []
    assert receiver.take() == []
    bench.hold_commits = False
    bench.run()
    assert sender.acks("accepted") == ["m1"]
    [mail] = receiver.mail()
    assert mail["from"] == "dc"
    assert mail["payload"] == {"n": 1}
    assert (mail["priority"], mail["attempt"], mail["timestamp"]) == (2, 1, bench.now.wall)
    receiver.ack("done", mail["seq"])
    assert receiver.acks("settled") == [mail["seq"]]
    receiver.ack("done", mail["seq"])  # a repetition is a success
    assert receiver.acks("settled") == [mail["seq"]]


def test_forged_from_is_forbidden() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.send({"type": "STATUS", "to": "agni", "id": "m1", "from": "rushabdev"})
    assert sender.errors() == ["forbidden"]
    assert receiver.mail() == []


def test_unknown_recipients_are_told_with_the_nearest_names() -> None:
    bench = Bench()
    sender = bench.agent("dc", groups=["ops"], capabilities=["review"])
    bench.agent("agni", groups=["ops"])
    for to, nearest in [("agnii", ["agni"]), ("#opps", ["#ops"]), ("@reviews", ["@review"])]:
        sender.tell(to, f"to{to[1:]}")
        [error] = sender.take()
        assert error["payload"]["code"] == "unknown_recipient"
        assert error["payload"]["details"] == {"nearest": nearest}
        assert error["reply_to"] == f"to{to[1:]}"


def test_priority_is_strict_and_order_kept_within_it() -> None:
    bench = Bench()
    sender = bench.agent("dc")
    bench.agent("agni").drop()
    for n, priority in enumerate([3, 1, 5, 3, 1]):
        sender.tell("agni", f"m{n}", priority=priority)
    assert ids(bench.agent("agni")) == ["m1", "m4", "m0", "m3", "m2"]


def test_prefetch_bounds_what_is_neither_read_nor_settled() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni", prefetch=2)
    for n in range(5):
        sender.tell("agni", f"m{n}")
    first = receiver.mail()
    assert [mail["id"] for mail in first] == ["m0", "m1"]
    receiver.ack("read", first[0]["seq"])
    assert ids(receiver) == ["m2"]
    receiver.ack("done", first[1]["seq"])
    assert ids(receiver) == ["m3"]


@pytest.mark.parametrize("count", [30, 300])
def test_a_deep_mailbox_is_delivered_in_order_through_a_small_window(count: int) -> None:
    bench = Bench(HubSettings(window_messages=8))
    sender, receiver = bench.agent("dc"), bench.agent("agni", prefetch=3)
    sent = [(n % 5 + 1, f"m{n}") for n in range(count)]
    held = receiver.mail()
    for priority, name in sent:
        sender.tell("agni", name, priority=priority)
    got = []
    while held := held + receiver.mail():
        got.append(held[0]["id"])
        receiver.ack("done", held.pop(0)["seq"])
    assert sorted(got) == sorted(name for _, name in sent)
    # The first few went out as they came; the rest keeps priority, then acceptance.
    rest = got[3:]
    key = {name: (priority, n) for n, (priority, name) in enumerate(sent)}
    assert rest == sorted(rest, key=key.__getitem__)


def test_the_same_id_is_acknowledged_again_or_refused() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1", {"a": 1, "b": [2.0, True]})
    bench.advance(1_000)
    sender.tell("agni", "m1", {"b": [2, True], "a": 1.0})
    assert sender.acks("accepted") == ["m1", "m1"]
    assert ids(receiver) == ["m1"]
    sender.tell("agni", "m1", {"a": 1, "b": [2.0, 1]})
    assert sender.errors() == ["duplicate_id"]
    assert receiver.mail() == []


def test_a_result_settles_what_it_answers_in_one_commit() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.send({"type": "COMMAND", "to": "agni", "id": "c1", "payload": 1, "receipt": True})
    [command] = receiver.mail()
    answer = {
        "type": "RESULT",
        "to": "dc",
        "id": "a1",
        "reply_to": "c1",
        "settles": command["seq"],
        "payload": 2,
    }
    receiver.send(answer)
    heard = sender.take()
    [result] = [each for each in heard if "seq" in each]
    assert (result["payload"], result["thread"]) == (2, "c1")
    assert "settles" not in result
    stages = [each["payload"]["stage"] for each in heard if each["type"] == "ACK"]
    assert stages == ["accepted", "delivered", "done"]
    assert receiver.ask("peek")["payload"]["count"] == 0
    receiver.send(answer)  # the acknowledgement was lost
    assert receiver.acks("accepted") == ["a1", "a1"]
    assert sender.mail() == []


def test_a_result_that_settles_anothers_mail_stores_nothing() -> None:
    bench = Bench()
    sender, receiver, thief = bench.agent("dc"), bench.agent("agni"), bench.agent("thief")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    thief.send({"type": "RESULT", "to": "dc", "id": "a", "reply_to": "m1", "settles": mail["seq"]})
    assert thief.errors() == ["stale_ack"]
    assert sender.mail() == []
    assert receiver.ask("peek")["payload"]["count"] == 1


def test_receipts_tell_delivered_read_and_done() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1", receipt=True)
    [mail] = receiver.mail()
    receiver.ack("read", mail["seq"])
    receiver.ack("done", mail["seq"])
    told = [each["payload"] for each in sender.take() if each["type"] == "ACK"]
    assert [(each["stage"], each.get("by")) for each in told] == [
        ("accepted", None),
        ("delivered", "agni"),
        ("read", "agni"),
        ("done", "agni"),
    ]


def test_broadcast_and_group_reach_everyone_but_the_sender() -> None:
    bench = Bench()
    sender = bench.agent("dc", groups=["ops"])
    agni = bench.agent("agni", groups=["ops"])
    rushabdev = bench.agent("rushabdev")
    offline = bench.agent("offline")
    offline.drop()
    sender.tell("broadcast", "b1")
    sender.tell("#ops", "g1")
    assert ids(agni) == ["b1", "g1"]
    assert ids(rushabdev) == ["b1"]
    assert ids(bench.agent("offline")) == ["b1"]
    assert sender.mail() == []


def test_a_capability_goes_to_the_least_loaded_and_waits_when_nobody_is_online() -> None:
    bench = Bench()
    sender = bench.agent("dc", capabilities=["review"])
    one = bench.agent("one", capabilities=["review"], prefetch=10)
    two = bench.agent("two", capabilities=["review"], prefetch=10)
    for n in range(4):
        sender.tell("@review", f"m{n}")
    assert (ids(one), ids(two)) == (["m0", "m2"], ["m1", "m3"])
    one.drop()
    two.drop()
    sender.tell("@review", "m4")
    assert sender.mail() == []  # never the sender itself
    three = bench.agent("three", capabilities=["review"])
    assert ids(three) == ["m4"]


def test_a_capability_told_by_a_side_session_brings_what_waits_for_it() -> None:
    bench = Bench()
    sender = bench.agent("dc")
    bench.agent("gone", capabilities=["review"]).drop()
    sender.tell("@review", "m1")
    agni = bench.agent("agni")
    bench.agent("agni", receive=False, capabilities=["review"])
    assert ids(agni) == ["m1"]


def test_capability_mail_moves_after_the_lease_of_an_assignee_that_left() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    one = bench.agent("one", capabilities=["review"], lease_ms=5_000)
    sender.tell("@review", "m1")
    [mail] = one.mail()
    two = bench.agent("two", capabilities=["review"], heartbeat_ms=60_000)
    one.drop()
    bench.advance(4_000)
    assert two.mail() == []
    bench.advance(3_000)
    assert ids(two) == ["m1"]
    back = bench.agent("one", capabilities=["review"])
    back.ack("done", mail["seq"])
    assert back.errors() == ["stale_ack"]


def test_capability_mail_that_moves_waits_for_its_next_attempt_and_is_given_up_in_the_end() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    bench.agent("w0", capabilities=["review"]).drop()
    sender.tell("@review", "m1")
    begun: list[int] = []
    for second in range(240):
        worker = bench.agent(f"w{second % 2}", capabilities=["review"], lease_ms=1_000)
        bench.advance(100)
        for mail in worker.mail():
            begun.append(bench.now.mono)
            assert mail["attempt"] == len(begun)
            worker.ack("read", mail["seq"])
        worker.drop()  # whoever handles it crashes
        bench.advance(2_400)
        sender.send({"type": "HEARTBEAT"})
    waits = [later - sooner for sooner, later in itertools.pairwise(begun)]
    assert len(waits) == 4
    for wait, delay in zip(waits, (1_000, 5_000, 30_000, 120_000), strict=True):
        assert wait >= delay
    assert [mail["payload"]["code"] for mail in sender.mail()] == ["undeliverable"]


def test_a_ttl_ends_what_nobody_holds_and_the_sender_is_told() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    bench.agent("agni").drop()
    sender.tell("agni", "m1", ttl=5_000)
    sender.tell("agni", "m2", ttl=60_000)
    bench.advance(7_000)
    [expired] = sender.mail()
    assert (expired["payload"]["code"], expired["reply_to"]) == ("expired", "m1")
    assert expired["from"] == "hub"
    [mail] = bench.agent("agni").mail()
    assert mail["id"] == "m2"
    assert mail["expires_in"] == 53_000


def test_what_is_held_does_not_expire() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    receiver = bench.agent("agni", heartbeat_ms=60_000)
    sender.tell("agni", "m1", ttl=2_000)
    [mail] = receiver.mail()
    bench.advance(10_000)
    receiver.ack("done", mail["seq"])
    assert receiver.acks("settled") == [mail["seq"]]
    assert sender.mail() == []


def test_a_lease_that_is_not_renewed_ends_the_attempt() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    receiver = bench.agent("agni", lease_ms=2_000, heartbeat_ms=60_000)
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    receiver.ack("read", mail["seq"])
    bench.advance(1_500)
    receiver.ack("read", mail["seq"])
    bench.advance(1_900)
    assert receiver.mail() == []
    bench.advance(1_200)
    [again] = receiver.mail()
    assert (again["id"], again["attempt"]) == ("m1", 2)


def test_five_requeues_with_growing_delay_then_the_dead_letters() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    receiver = bench.agent("agni", heartbeat_ms=60_000)
    sender.tell("agni", "m1")
    waits = []
    for attempt in range(1, 6):
        [mail] = receiver.mail()
        assert mail["attempt"] == attempt
        receiver.ack("rejected", mail["seq"], reason="not now", requeue=True)
        assert receiver.acks("settled") == [mail["seq"]]
        begun = bench.now.mono
        while attempt < 5 and not receiver.heard:
            receiver.send({"type": "HEARTBEAT"})
            receiver.take()
            sender.send({"type": "HEARTBEAT"})
            bench.advance(500)
        waits.append(bench.now.mono - begun)
    assert waits == [1_000, 5_000, 30_000, 120_000, 0]
    [notice] = sender.mail()
    assert (notice["payload"]["code"], notice["reply_to"]) == ("undeliverable", "m1")
    [letter] = sender.ask("deadletters")["payload"]["deadletters"]
    assert letter["outcome"] == "dead"
    assert "not now" in letter["reason"]
    assert sender.ask("retry", agent="agni", seq=mail["seq"])["type"] == "RESULT"
    [again] = receiver.mail()
    assert (again["id"], again["attempt"]) == ("m1", 1)


def test_a_rejection_is_final_and_the_sender_hears_why() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    receiver.ack("rejected", mail["seq"], reason="not my job")
    assert receiver.acks("settled") == [mail["seq"]]
    [notice] = sender.mail()
    assert notice["payload"]["code"] == "undeliverable"
    assert "not my job" in notice["payload"]["message"]
    sender.ack("done", notice["seq"])
    assert sender.ask("drop", agent="agni", seq=mail["seq"])["type"] == "RESULT"
    assert sender.ask("deadletters")["payload"]["deadletters"] == []


def test_a_handler_that_outlives_its_hub_goes_on() -> None:
    bench = Bench()
    bench.agent("dc").tell("dc", "m0")
    bench.agent("agni").tell("dc", "m1", receipt=True)
    receiver = bench.agent("dc")
    seqs = [mail["seq"] for mail in receiver.mail()]
    receiver.ack("read", *seqs)
    bench.restart()
    sender = bench.agent("agni", heartbeat_ms=60_000)
    receiver = bench.agent("dc", heartbeat_ms=60_000)
    receiver.ack("read", *seqs)
    bench.advance(5_000)
    assert receiver.mail() == []  # taken up again, so not handed out again
    receiver.ack("rejected", seqs[1], reason="no")
    assert receiver.acks("settled") == [seqs[1]]
    assert [n["reply_to"] for n in sender.mail()] == ["m1"]
    bench.advance(70_000)
    receiver = bench.agent("dc", heartbeat_ms=60_000)
    bench.advance(5_000)
    [again] = receiver.mail()
    assert (again["id"], again["attempt"]) == ("m0", 2)


def test_read_under_a_hub_that_died_comes_back_as_the_second_attempt() -> None:
    bench = Bench()
    bench.agent("agni").tell("agni", "m1")
    receiver = bench.agent("agni")
    receiver.ack("read", receiver.mail()[0]["seq"])
    bench.restart()
    receiver = bench.agent("agni")
    assert receiver.mail() == []
    bench.advance(1_100)
    [again] = receiver.mail()
    assert (again["id"], again["attempt"]) == ("m1", 2)


def test_mail_that_was_merely_prefetched_loses_no_attempt() -> None:
    bench = Bench()
    sender = bench.agent("dc")
    sender.tell("dc", "m1")
    for _ in range(20):
        receiver = bench.agent("dc")
        [mail] = receiver.mail()
        assert mail["attempt"] == 1
        receiver.drop()


def test_a_full_mailbox_costs_its_own_copy_alone() -> None:
    bench = Bench(limits=MailboxLimits(messages=2))
    sender = bench.agent("dc", groups=["ops"])
    bench.agent("full", groups=["ops"]).drop()
    bench.agent("free", groups=["ops"]).drop()
    sender.tell("full", "m1")
    sender.tell("full", "m2")
    sender.tell("full", "m3")
    [error] = [e for e in sender.take() if e["type"] == "ERROR"]
    assert error["payload"]["code"] == "mailbox_full"
    assert error["payload"]["retryable"] is True
    sender.tell("#ops", "g1")
    [notice] = sender.mail()
    assert notice["payload"]["details"]["agents"] == ["full"]
    assert notice["reply_to"] == "g1"
    assert ids(bench.agent("free")) == ["g1"]


def test_a_failing_store_is_unavailable_and_nothing_is_lost_when_it_returns() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    sender.take()
    bench.failing = "disk full"
    sender.tell("agni", "m2")
    [error] = sender.take()
    assert error["payload"]["code"] == "unavailable"
    assert error["payload"]["retryable"] is True
    receiver.ack("done", mail["seq"])
    bench.advance(1_000)
    assert receiver.take() == []
    bench.failing = None
    bench.advance(1_000)
    assert receiver.acks("settled") == [mail["seq"]]
    sender.tell("agni", "m2")
    assert sender.acks("accepted") == ["m2"]
    assert ids(receiver) == ["m2"]


def test_a_commit_that_failed_but_was_applied_is_found() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    bench.hold_commits = True
    sender.tell("agni", "m1")
    ops = bench.hub.ops_to_commit()
    bench.store.apply(bench.now.wall, [Batch("default", ops)])
    bench.hub.commit_failed("connection lost", bench.now)
    bench.hold_commits = False
    bench.advance(300)
    assert sender.errors() == ["unavailable"]
    assert ids(receiver) == ["m1"]
    sender.tell("agni", "m1")
    assert sender.acks("accepted") == ["m1"]
    assert receiver.mail() == []


def test_backpressure_stops_reading_and_goes_on_at_half() -> None:
    bench = Bench(HubSettings(unaccepted_messages=10))
    sender = bench.agent("dc", heartbeat_ms=2_000)
    bench.agent("agni", heartbeat_ms=60_000)
    bench.hold_commits = True
    sender.send(*[{"type": "STATUS", "to": "agni", "id": f"m{n}"} for n in range(12)])
    assert bench.peers[sender.link].paused
    bench.advance(10_000)  # its deadline stands still, and it hears the hub
    assert sender.close_code() is None
    assert [each["type"] for each in sender.take()] == ["HEARTBEAT"] * 5
    bench.hold_commits = False
    bench.run()
    assert not sender.paused
    assert len(sender.acks("accepted")) == 12


def test_all_sessions_together_have_a_bound_too() -> None:
    bench = Bench(HubSettings(all_unaccepted_bytes=2_000))
    bench.agent("agni", heartbeat_ms=60_000)
    one, two = bench.agent("one"), bench.agent("two")
    bench.hold_commits = True
    one.tell("agni", "m1", "x" * 1_500)
    assert not one.paused
    two.tell("agni", "m2", "x" * 1_500)
    assert bench.peers[two.link].paused
    bench.hold_commits = False
    bench.run()
    assert not bench.peers[two.link].paused
    assert two.acks("accepted") == ["m2"]


def test_a_slow_reader_is_closed_and_its_mailbox_untouched() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc", heartbeat_ms=60_000), bench.agent("agni")
    bench.hub.writable(receiver.link, False, bench.now)
    bench.run()
    sender.tell("agni", "m1")
    assert receiver.take() == []
    bench.advance(61_000)
    assert receiver.close_code() == 1013
    assert ids(bench.agent("agni")) == ["m1"]


def test_the_hubs_own_mail_belongs_to_the_thread_it_is_about() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    receiver.ack("rejected", receiver.mail()[0]["seq"], reason="no")
    page = sender.ask("history", thread="m1")["payload"]["messages"]
    assert [(each["id"], each["thread"]) for each in page] == [
        ("m1", "m1"),
        (sender.mail()[0]["id"], "m1"),
    ]


def test_a_requeue_said_twice_counts_one_attempt() -> None:
    bench = Bench()
    bench.agent("dc").tell("dc", "m1")
    receiver = bench.agent("dc", heartbeat_ms=60_000)
    [mail] = receiver.mail()
    receiver.ack("rejected", mail["seq"], requeue=True)
    receiver.ack("rejected", mail["seq"], requeue=True)
    assert receiver.acks("settled") == [mail["seq"], mail["seq"]]
    bench.advance(1_500)
    [again] = receiver.mail()
    assert again["attempt"] == 2


def test_a_requeue_of_what_still_waits_has_its_delay_too() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni", prefetch=1)
    sender.tell("agni", "m1")
    sender.tell("agni", "m2")
    [first] = receiver.mail()
    receiver.ack("rejected", first["seq"] + 1, requeue=True)
    assert receiver.acks("settled") == [first["seq"] + 1]
    receiver.ack("done", first["seq"])
    assert receiver.mail() == []
    bench.advance(1_000)
    assert [(again["id"], again["attempt"]) for again in receiver.mail()] == [("m2", 2)]


def test_settled_is_said_of_nothing_that_is_not() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    answer = {"type": "RESULT", "id": "r1", "to": "dc", "reply_to": "m1", "payload": 1}
    receiver.send(answer)
    receiver.take()
    receiver.send({**answer, "settles": mail["seq"]})
    assert receiver.acks("settled") == [mail["seq"]]
    assert receiver.ask("peek")["payload"]["count"] == 0
    receiver.send({**answer, "settles": mail["seq"] + 1})  # the answer itself, in dc's mailbox
    assert receiver.errors() == ["stale_ack"]


def test_what_the_store_does_not_find_expired_is_delivered() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    receiver = bench.agent("agni", prefetch=1, heartbeat_ms=60_000)
    sender.tell("agni", "m1")
    sender.tell("agni", "m2", ttl=20_000)
    [mail] = receiver.mail()
    bench.now = Now(bench.now.mono, bench.now.wall + 60_000)
    bench.hold_commits = True
    receiver.ack("done", mail["seq"])
    bench.now = Now(bench.now.mono, bench.now.wall - 60_000)
    bench.hold_commits = False
    bench.run()
    bench.advance(1_000)
    assert ids(receiver) == ["m2"]


def test_a_retried_dead_letter_is_as_if_new() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    receiver.ack("read", mail["seq"])
    receiver.ack("rejected", mail["seq"], reason="no")
    receiver.drop()
    sender.ask("retry", agent="agni", seq=mail["seq"])
    assert sender.ask("recall", id="m1")["payload"] == {"recalled": ["agni"], "kept": []}


def test_capability_mail_keeps_its_order_behind_a_deep_pool() -> None:
    bench = Bench()
    sender = bench.agent("dc")
    bench.agent("agni", capabilities=["review"]).drop()
    for n in range(450):
        sender.tell("@review", f"m{n:03}")
    bench.hold_commits = True
    worker = bench.peer()
    register = {"op": "register", "agent": "agni", "prefetch": 1_000}
    worker.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": register})
    ops = bench.hub.ops_to_commit()
    for n in range(450, 455):  # each meets another piece of the pool on its way
        sender.tell("@review", f"m{n:03}")
        [outcomes] = bench.store.apply(bench.now.wall, [Batch("default", ops)])
        bench.hub.committed(outcomes, bench.now)
        ops = bench.hub.ops_to_commit()
        assert ops
    [outcomes] = bench.store.apply(bench.now.wall, [Batch("default", ops)])
    bench.hub.committed(outcomes, bench.now)
    bench.hold_commits = False
    bench.run()
    assert ids(worker) == [f"m{n:03}" for n in range(455)]


def test_direct_mail_does_not_overtake_a_deep_pool_when_its_agent_comes() -> None:
    bench = Bench()
    sender = bench.agent("dc")
    bench.agent("agni", capabilities=["review", "test"]).drop()
    sent = [f"m{n:03}" for n in range(900)]
    for n, id_ in enumerate(sent):
        sender.tell(("@review", "@test", "agni")[n % 3], id_)
    assert ids(bench.agent("agni", prefetch=1_000)) == sent


def test_direct_mail_does_not_overtake_a_pool_that_the_store_could_not_hand_out_at_once() -> None:
    bench = Bench()
    sender = bench.agent("dc")
    bench.agent("agni", capabilities=["review"]).drop()
    sender.tell("@review", "m1")
    sender.tell("agni", "m2")
    worker = bench.peer()
    bench.hold_commits = True
    register = {"op": "register", "agent": "agni"}
    worker.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": register})
    ops = bench.hub.ops_to_commit()
    [outcomes] = bench.store.apply(bench.now.wall, [Batch("default", ops)])
    bench.hub.committed(outcomes, bench.now)
    bench.hub.ops_to_commit()
    bench.hub.commit_failed("no disk", bench.now)
    bench.hold_commits = False
    sender.tell("agni", "m3")
    assert ids(worker) == []
    bench.advance(1_000)
    assert ids(worker) == ["m1", "m2", "m3"]


def test_held_mail_past_its_ttl_does_not_keep_other_mail_from_expiring() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    holder = bench.agent("agni", prefetch=2_000, heartbeat_ms=60_000)
    bench.agent("gone").drop()
    for n in range(1_100):
        sender.tell("agni", f"m{n}", ttl=1_000)
    sender.tell("gone", "late", ttl=2_000)
    assert len(holder.mail()) == 1_100
    bench.advance(5_000)
    assert [(told["reply_to"], told["payload"]["code"]) for told in sender.mail()] == [
        ("late", "expired")
    ]


def test_read_of_what_is_settled_changes_nothing_and_is_not_stale() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    receiver = bench.agent("agni", heartbeat_ms=60_000)
    sender.tell("agni", "m1")
    sender.tell("agni", "m2")
    one, two = [mail["seq"] for mail in receiver.mail()]
    sender.ask("recall", id="m2")
    receiver.ack("rejected", one, reason="no")
    receiver.take()
    receiver.ack("read", one, two)
    assert receiver.take() == []
    receiver.ack("done", one, two)
    assert receiver.acks("settled") == [one, two]
    # A dead letter that is retried goes out, whatever was said of it before.
    receiver.ack("read", one)
    bench.failing = "disk full"
    sender.tell("agni", "m3")
    bench.failing = None
    sender.ask("retry", agent="agni", seq=one)
    bench.advance(1_000)
    assert [(mail["id"], mail["attempt"]) for mail in receiver.mail()] == [("m1", 1)]


def test_a_clock_that_is_set_back_does_not_put_off_the_next_attempt() -> None:
    bench = Bench()
    bench.agent("dc").tell("dc", "m1")
    receiver = bench.agent("dc", heartbeat_ms=60_000)
    [mail] = receiver.mail()
    bench.hold_commits = True
    receiver.ack("rejected", mail["seq"], requeue=True)
    ops = bench.hub.ops_to_commit()
    [outcomes] = bench.store.apply(bench.now.wall, [Batch("default", ops)])
    bench.now = Now(bench.now.mono, bench.now.wall - 3_600_000)
    bench.hub.committed(outcomes, bench.now)
    bench.hold_commits = False
    bench.run()
    bench.advance(1_000)
    assert [again["attempt"] for again in receiver.mail()] == [2]


def test_a_clock_ahead_of_the_stores_does_not_make_the_hub_ask_all_the_time() -> None:
    bench = Bench()
    bench.agent("dc").tell("dc", "m1")
    receiver = bench.agent("dc", heartbeat_ms=60_000)
    [mail] = receiver.mail()
    receiver.ack("rejected", mail["seq"], requeue=True)
    fetches = 0
    store_now = bench.now.wall
    bench.now = Now(bench.now.mono, bench.now.wall + 3_600_000)
    bench.hold_commits = True
    while bench.now.mono < 3_500:
        bench.advance(1)
        ops = bench.hub.ops_to_commit()
        fetches += sum(isinstance(op, Fetch) for op in ops)
        if ops:
            [outcomes] = bench.store.apply(store_now, [Batch("default", ops)])
            bench.hub.committed(outcomes, bench.now)
    assert 1 <= fetches <= 10


def test_a_retried_dead_letter_past_its_ttl_is_delivered() -> None:
    bench = Bench()
    sender = bench.agent("dc", heartbeat_ms=60_000)
    receiver = bench.agent("agni", heartbeat_ms=60_000)
    sender.tell("agni", "m1", ttl=1_000)
    [mail] = receiver.mail()
    receiver.ack("rejected", mail["seq"], reason="no")
    sender.take()
    bench.advance(5_000)
    sender.ask("retry", agent="agni", seq=mail["seq"])
    bench.advance(5_000)
    [again] = receiver.mail()
    assert (again["id"], "expires_in" in again) == ("m1", False)
    assert sender.mail() == []


# --- what the store knows of deliveries -------------------------------------------------------


def told_of(bench: Bench, envelope_id: str) -> int | None:
    """When the store thinks that this message of dc went out."""
    [found] = bench.store.answer("default", Trace("dc", envelope_id))
    at: int | None = found.copies[0].delivered_at
    return at


def test_a_delivery_that_is_not_settled_in_time_is_told_to_the_store_and_no_other() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc", heartbeat_ms=60_000), bench.agent("agni", heartbeat_ms=60_000)
    dc.tell("agni", "m1")
    first = bench.now.wall
    bench.advance(NOTE_MS - 500)
    dc.tell("agni", "m2")
    dc.tell("agni", "m3")
    second = bench.now.wall
    agni.ack("done", agni.mail()[-1]["seq"])
    bench.advance(499)
    assert told_of(bench, "m1") is None
    bench.advance(1)
    assert told_of(bench, "m1") == first
    assert told_of(bench, "m2") is None
    bench.advance(NOTE_MS - 500)
    assert told_of(bench, "m2") == second


@pytest.mark.parametrize("requeue", [False, True])
def test_a_refusal_tells_the_store_when_what_it_is_about_went_out(requeue: bool) -> None:
    bench = Bench()
    dc, agni = bench.agent("dc", heartbeat_ms=60_000), bench.agent("agni", heartbeat_ms=60_000)
    dc.tell("agni", "m1")
    went_out = bench.now.wall
    bench.advance(7)
    agni.ack("rejected", agni.mail()[0]["seq"], reason="no", requeue=requeue)
    assert told_of(bench, "m1") == went_out


def test_a_refusal_of_what_an_earlier_session_got_leaves_when_it_went_out() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc", heartbeat_ms=60_000), bench.agent("agni", heartbeat_ms=60_000)
    dc.tell("agni", "m1")
    went_out = bench.now.wall
    [mail] = agni.mail()
    agni.ack("read", mail["seq"])
    bench.advance(NOTE_MS)
    assert told_of(bench, "m1") == went_out
    again = bench.agent("agni", heartbeat_ms=60_000)
    again.ack("rejected", mail["seq"], reason="no")
    [fate] = bench.store.answer("default", Trace("dc", "m1"))[0].copies
    assert (fate.outcome, fate.delivered_at) == ("rejected", went_out)


@pytest.mark.parametrize("again", [False, True], ids=["at once", "said again"])
def test_an_answer_tells_the_store_when_what_it_settles_went_out(again: bool) -> None:
    bench = Bench()
    dc, agni = bench.agent("dc", heartbeat_ms=60_000), bench.agent("agni", heartbeat_ms=60_000)
    dc.tell("agni", "m1")
    went_out = bench.now.wall
    answer = {"type": "RESULT", "to": "dc", "id": "r1", "reply_to": "m1"}
    if again:  # accepted before, when it settled nothing
        agni.send(answer)
    bench.advance(7)
    agni.send(answer | {"settles": agni.mail()[0]["seq"]})
    [found] = bench.store.answer("default", Trace("dc", "m1"))
    [fate] = found.copies
    assert (fate.delivered_at, fate.outcome) == (went_out, "done")


def test_a_clock_that_is_set_back_delays_what_the_store_is_told_and_no_longer() -> None:
    bench = Bench()
    dc = bench.agent("dc", heartbeat_ms=60_000)
    bench.agent("agni", heartbeat_ms=60_000)
    dc.tell("agni", "m1")
    bench.now = Now(bench.now.mono, bench.now.wall - 3_600_000)
    dc.tell("agni", "m2")
    bench.advance(2 * NOTE_MS)
    assert told_of(bench, "m2") is None  # behind m1, which is of a later time
    bench.now = Now(bench.now.mono, bench.now.wall + 3_600_000)
    bench.advance(2 * NOTE_MS)
    assert told_of(bench, "m1") is not None
    assert told_of(bench, "m2") is not None
