"""How sessions begin, are taken over and end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.hub_bench import START, Bench
from trishula_broker.store.base import Batch
from trishula_protocol import limits
from trishula_protocol.codec import MSGPACK


def test_a_registration_is_answered_with_who_and_what() -> None:
    bench = Bench()
    answer = bench.peer().ask("register", agent="dc", capabilities=["python"], prefetch=10)
    assert answer["type"] == "RESULT"
    assert answer["from"] == "hub"
    payload = answer["payload"]
    assert (payload["agent"], payload["namespace"], payload["node"]) == ("dc", "default", "bench")
    assert payload["limits"]["prefetch"] == 10
    assert payload["server_time"] == START


def test_anything_before_registration_is_refused_and_the_connection_lives() -> None:
    bench = Bench()
    peer = bench.peer()
    peer.tell("agni", "m1")
    assert peer.errors() == ["not_registered"]
    peer.register("dc")


@pytest.mark.parametrize("said", [None, {"type": "HEARTBEAT"}, {"type": "STATUS", "id": "m"}])
def test_who_does_not_register_within_ten_seconds_is_closed_whatever_it_says(
    said: dict[str, Any] | None,
) -> None:
    bench = Bench()
    peer = bench.peer()
    for _ in range(9):
        bench.advance(1_000)
        if said is not None:
            peer.send(said)
    assert peer.close_code() is None
    bench.advance(1_001)
    assert peer.close_code() == 4400


def test_a_bad_registration_names_the_field() -> None:
    bench = Bench()
    peer = bench.peer()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"agent": "Not Good"}, "payload.agent"),
        ({"agent": "con"}, "reserve"),
        ({"agent": "hub"}, "taken"),
        ({"agent": "dc", "prefetch": 0}, "prefetch"),
        ({"agent": "dc", "heartbeat_ms": 10}, "heartbeat_ms"),
        ({"agent": "dc", "groups": ["#x"]}, "groups"),
        ({}, "agent"),
    ]
    for fields, expected in cases:
        answer = peer.ask("register", **fields)
        assert answer["payload"]["code"] == "bad_message"
        assert expected in answer["payload"]["message"]
    peer.register("dc")


def test_what_is_sent_along_with_the_registration_is_taken_after_it() -> None:
    bench = Bench()
    bench.agent("agni")
    peer = bench.peer()
    peer.send(
        {"type": "COMMAND", "to": "hub", "id": "r", "payload": {"op": "register", "agent": "dc"}},
        {"type": "STATUS", "to": "agni", "id": "m1"},
    )
    assert peer.acks("accepted") == ["m1"]


def test_a_newer_registration_takes_over_with_4409_and_gets_what_was_unsettled() -> None:
    bench = Bench()
    sender = bench.agent("sender")
    older = bench.agent("dc")
    sender.tell("dc", "m1")
    [first] = older.mail()
    newer = bench.agent("dc")
    assert older.close_code() == 4409
    [again] = newer.mail()
    assert (again["id"], again["seq"]) == ("m1", first["seq"])
    older.ack("done", first["seq"])  # too late: settles nothing
    assert newer.ask("peek")["payload"]["count"] == 1


def test_a_side_session_sends_and_takes_over_nothing() -> None:
    bench = Bench()
    main = bench.agent("dc")
    side = bench.agent("dc", receive=False)
    bench.agent("agni").tell("dc", "m1")
    assert main.close_code() is None
    assert [mail["id"] for mail in main.mail()] == ["m1"]
    side.tell("agni", "m2", receipt=True)
    assert side.acks("accepted") == ["m2"]
    side.ack("done", 1)
    assert side.errors() == ["stale_ack"]


def test_silence_of_two_heartbeats_ends_a_session_with_4408() -> None:
    bench = Bench()
    peer = bench.agent("dc", heartbeat_ms=2_000)
    watcher = bench.agent("watcher", heartbeat_ms=60_000)
    bench.advance(3_999)
    assert peer.close_code() is None
    peer.send({"type": "HEARTBEAT"})
    assert peer.take()[-1] == {
        "type": "HEARTBEAT",
        "from": "hub",
        "payload": {"time": bench.now.wall},
    }
    bench.advance(3_999)
    assert peer.close_code() is None
    bench.advance(2)
    assert peer.close_code() == 4408
    [dc] = watcher.ask("agents", online=False)["payload"]["agents"]
    assert dc["id"] == "dc"


def test_a_ping_is_life() -> None:
    bench = Bench()
    peer = bench.agent("dc", heartbeat_ms=2_000)
    bench.advance(3_000)
    bench.hub.alive(peer.link, bench.now)
    bench.advance(3_000)
    assert peer.close_code() is None


def test_a_hub_that_was_frozen_does_not_blame_the_silent() -> None:
    bench = Bench()
    peer = bench.agent("dc", heartbeat_ms=2_000)
    bench.jump(bench.now.mono + 60_000)
    bench.hub.timeout(bench.now)
    bench.run()
    assert peer.close_code() is None


@pytest.mark.parametrize("late", [101, 500, 870])
def test_a_hub_that_is_behind_reads_before_it_calls_anybody_silent(late: int) -> None:
    bench = Bench()
    spoke = bench.agent("spoke", heartbeat_ms=2_000)
    silent = bench.agent("silent", heartbeat_ms=2_000)
    due = bench.now.mono + 4_000
    bench.advance(3_900)
    bench.jump(due + late)
    bench.hub.timeout(bench.now)
    bench.run()
    assert (spoke.close_code(), silent.close_code()) == (None, None)
    spoke.send({"type": "HEARTBEAT"})  # it was in the socket
    bench.advance(50)
    assert (spoke.close_code(), silent.close_code()) == (None, 4408)


def test_a_hub_that_stays_behind_calls_who_is_silent_so_all_the_same() -> None:
    bench = Bench()
    silent = bench.agent("silent", heartbeat_ms=2_000)
    due = bench.now.mono + 4_000
    bench.advance(3_900)
    for moment in (due + 500, due + 1_000):
        bench.jump(moment)
        bench.hub.timeout(bench.now)
        bench.run()
    assert silent.close_code() == 4408


def test_a_connection_that_never_registers_is_closed() -> None:
    bench = Bench()
    peer = bench.peer()
    bench.advance(10_001)
    assert peer.close_code() == 4400


def test_ten_unreadable_frames_in_a_row_close_with_4400() -> None:
    bench = Bench()
    peer = bench.agent("dc")
    for _ in range(9):
        peer.raw(b"nope")
    peer.send({"type": "HEARTBEAT"})
    for _ in range(9):
        peer.raw(b"{")
    assert peer.close_code() is None
    assert set(peer.errors()) == {"bad_message"}
    peer.raw(b"[[[")
    assert peer.close_code() == 4400


def test_drain_finishes_commits_and_closes_with_1012() -> None:
    bench = Bench()
    bench.agent("agni")
    peer = bench.agent("dc")
    bench.hold_commits = True
    peer.tell("agni", "m1")
    bench.hub.drain(bench.now)
    bench.run()
    assert peer.paused
    assert peer.close_code() is None
    bench.hold_commits = False
    bench.run()
    assert peer.acks("accepted") == ["m1"]
    assert peer.close_code() == 1012
    assert bench.hub.drained
    late = bench.peer()
    assert late.close_code() == 1012


def test_ephemeral_agents_get_no_broadcasts_and_are_forgotten_a_minute_after_leaving() -> None:
    bench = Bench()
    sender = bench.agent("sender", heartbeat_ms=60_000)
    visitor = bench.agent("visitor", ephemeral=True, heartbeat_ms=60_000)
    sender.tell("broadcast", "b1")
    assert visitor.mail() == []
    sender.tell("visitor", "m1")
    visitor.drop()
    bench.advance(62_000)
    notices = sender.mail()
    assert [(n["reply_to"], n["payload"]["code"]) for n in notices] == [("m1", "undeliverable")]
    assert [a["id"] for a in sender.ask("agents")["payload"]["agents"]] == ["sender"]
    [dead] = sender.ask("deadletters")["payload"]["deadletters"]
    assert (dead["agent"], dead["message"]["id"]) == ("visitor", "m1")


def test_capability_mail_of_an_ephemeral_agent_moves_and_watchers_hear_it_is_forgotten() -> None:
    bench = Bench()
    sender = bench.agent("sender", heartbeat_ms=60_000)
    sender.ask("watch")
    visitor = bench.agent("a", ephemeral=True, capabilities=["review"], lease_ms=600_000)
    other = bench.agent("b", capabilities=["review"], heartbeat_ms=60_000)
    sender.tell("@review", "m1")
    visitor.drop()
    sender.take()
    bench.advance(62_000)
    assert [mail["id"] for mail in other.mail()] == ["m1"]
    heard = sender.take()
    assert [each["payload"]["event"] for each in heard] == ["forgotten"]


def test_an_ephemeral_agent_that_comes_back_just_then_keeps_its_mail() -> None:
    bench = Bench()
    sender = bench.agent("sender", heartbeat_ms=60_000)
    bench.agent("visitor", ephemeral=True).drop()
    sender.tell("visitor", "m1")
    bench.advance(59_990)
    bench.hold_commits = True
    bench.advance(20)
    sweep = bench.hub.ops_to_commit()
    [outcomes] = bench.store.apply(bench.now.wall, [Batch("default", sweep)])
    visitor = bench.peer()
    register = {"op": "register", "agent": "visitor", "ephemeral": True}
    visitor.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": register})
    bench.hub.committed(outcomes, bench.now)
    bench.hold_commits = False
    bench.run()
    bench.advance(2_000)
    assert [mail["id"] for mail in visitor.mail()] == ["m1"]
    assert sender.mail() == []


def test_a_msgpack_session_hears_bin_for_base64() -> None:
    bench = Bench()
    bench.agent("dc")
    peer = bench.peer(MSGPACK)
    peer.raw(
        msgspec.msgpack.encode(
            [
                {
                    "type": "COMMAND",
                    "to": "hub",
                    "id": "r",
                    "payload": {"op": "register", "agent": "mp"},
                },
                {"type": "STATUS", "to": "mp", "id": "m1", "payload": {"b": b"\x00\xff"}},
            ]
        )
    )
    [mail] = peer.mail()
    assert mail["payload"] == {"b": b"\x00\xff"}
    page = bench.agent("mp2")
    page.tell("mp", "m2", {"b": {"$base64": "AP8="}})
    [mail] = peer.mail()
    assert mail["payload"] == {"b": b"\x00\xff"}


def test_what_goes_to_many_comes_to_each_in_its_codec_and_its_sender_hears_of_each() -> None:
    bench = Bench()
    sender = bench.agent("dc")
    pages = [bench.agent(name, groups=["ops"]) for name in ("a", "b")]
    packed = [bench.peer(MSGPACK) for _ in range(2)]
    for n, peer in enumerate(packed):
        payload = {"op": "register", "agent": f"p{n}", "groups": ["ops"]}
        command = {"type": "COMMAND", "to": "hub", "id": "r", "payload": payload}
        peer.raw(msgspec.msgpack.encode(command))
    value = {"b": {"$base64": "AP8="}}
    sender.tell("#ops", "m1", value, receipt=True)
    assert [each.mail()[0]["payload"] for each in pages] == [value] * 2
    assert [each.mail()[0]["payload"] for each in packed] == [{"b": b"\x00\xff"}] * 2
    told = [ack["payload"]["by"] for ack in sender.take() if "by" in ack["payload"]]
    assert sorted(told) == ["a", "b", "p0", "p1"]


def test_mail_that_is_taken_over_a_hundred_times_unread_is_given_up() -> None:
    bench = Bench()
    sender = bench.agent("sender", heartbeat_ms=60_000)
    bench.agent("dc")
    sender.tell("dc", "m1")
    for _ in range(limits.DELIVERIES):
        assert sender.mail() == []
        receiver = bench.agent("dc")
    assert receiver.mail() == []
    [notice] = sender.mail()
    assert (notice["reply_to"], notice["payload"]["code"]) == ("m1", "undeliverable")
    assert "never read" in notice["payload"]["message"]


def test_a_session_that_is_being_replaced_is_handed_nothing_more() -> None:
    bench = Bench()
    sender = bench.agent("sender")
    older, newer = bench.agent("dc"), bench.peer()
    bench.hold_commits = True
    sender.tell("dc", "m1")
    accept = bench.hub.ops_to_commit()
    register = {"op": "register", "agent": "dc"}
    newer.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": register})
    [outcomes] = bench.store.apply(bench.now.wall, [Batch("default", accept)])
    bench.hub.committed(outcomes, bench.now)
    bench.run()
    assert older.mail() == []  # the registration, on its way, could not count it
    bench.failing = "disk full"
    bench.hold_commits = False
    bench.run()
    assert newer.errors() == ["unavailable"]
    bench.failing = None
    bench.advance(1_000)
    assert [mail["id"] for mail in older.mail()] == ["m1"]


def test_what_was_sent_along_with_a_registration_that_failed_is_answered() -> None:
    bench = Bench()
    agni = bench.agent("agni")
    peer = bench.peer()
    register = {"op": "register", "agent": "dc"}
    bench.failing = "disk full"
    peer.send(
        {"type": "COMMAND", "to": "hub", "id": "r", "payload": register},
        {"type": "STATUS", "to": "agni", "id": "m1"},
        {"type": "STATUS", "to": "agni", "id": "m2", "priority": 9},
        {"type": "HEARTBEAT"},
        {"type": "COMMAND", "to": "hub", "id": "q1", "payload": {"op": "peek"}},
    )
    heard = [(e["reply_to"], e["payload"]["code"], e["payload"]["retryable"]) for e in peer.take()]
    assert heard == [
        ("m2", "bad_message", False),
        ("r", "unavailable", True),
        ("m1", "unavailable", True),
        ("q1", "unavailable", True),
    ]
    bench.failing = None
    peer.register("dc")
    peer.tell("agni", "m1")
    assert [mail["id"] for mail in agni.mail()] == ["m1"]
