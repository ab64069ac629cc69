"""Hostile sessions on the bench: the typed refusal, the session goes on, nobody else notices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.hub_bench import Bench, Json, Peer
from tests.unit.protocol.hostile_frames import (
    ENVELOPES,
    FRAMES,
    MSGPACK_ENVELOPES,
    MSGPACK_FRAMES,
    Hostile,
    batched,
    batched_msgpack,
)
from tests.unit.protocol.reference import pack
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import Batch
from trishula_protocol.codec import JSON, MSGPACK, Codec

MINUTE = 60_000


class Scene:
    """Two honest agents and one that is not."""

    def __init__(self, codec: Codec = JSON, settings: HubSettings | None = None) -> None:
        self.bench = Bench(settings)
        self.codec = codec
        self.dc = self.bench.agent("dc", heartbeat_ms=MINUTE)
        self.agni = self.bench.agent("agni", heartbeat_ms=MINUTE)
        self.evil = self.bench.peer(codec)
        self.say(_command("r", op="register", agent="evil", heartbeat_ms=MINUTE))
        [registered] = self.evil.take()
        assert registered["type"] == "RESULT"

    def say(self, *envelopes: Json) -> None:
        """The hostile one sends a frame."""
        many = list(envelopes)
        self.evil.raw(pack(many) if self.codec.binary else json.dumps(many).encode())

    def refusals(self) -> list[Json]:
        """The ERRORs the hostile one heard, and nothing else did it hear."""
        heard = self.evil.take()
        assert all(each["type"] == "ERROR" and "seq" not in each for each in heard), heard
        return heard

    def check(self) -> None:
        """Everybody is served as before, the hostile one too."""
        assert self.evil.close_code() is None
        assert not self.evil.paused
        self.say({"type": "HEARTBEAT"})
        assert [each["type"] for each in self.evil.take()] == ["HEARTBEAT"]
        assert self.agni.take() == []
        self.dc.tell("agni", "check", {"x": 1})
        [mail] = self.agni.mail()
        assert (mail["id"], mail["payload"]) == ("check", {"x": 1})
        self.agni.ack("done", mail["seq"])
        assert self.agni.acks("settled") == [mail["seq"]]
        assert self.dc.acks("accepted") == ["check"]
        assert self.agni.ask("peek")["payload"]["count"] == 0


def _command(request: str, **payload: Any) -> Json:
    return {"type": "COMMAND", "to": "hub", "id": request, "payload": payload}


def _ack(stage: str, seqs: list[int], **fields: Any) -> Json:
    return {"type": "ACK", "to": "hub", "payload": {"stage": stage, "seqs": seqs, **fields}}


def each(cases: list[Hostile]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("hostile", cases, ids=lambda hostile: hostile.name)


def refused(scene: Scene, hostile: Hostile) -> None:
    [error] = scene.refusals()
    assert error["payload"]["code"] == hostile.code
    assert error["payload"]["retryable"] is False
    assert all(word in error["payload"]["message"] for word in hostile.says)
    assert error["reply_to"] == ("bad" if hostile.named else None)


# --- frames and envelopes ---


@each(ENVELOPES + FRAMES)
def test_a_hostile_json_frame_costs_itself_alone(hostile: Hostile) -> None:
    scene = Scene()
    scene.evil.raw(hostile.frame)
    refused(scene, hostile)
    scene.check()


@each(MSGPACK_ENVELOPES + MSGPACK_FRAMES)
def test_a_hostile_msgpack_frame_costs_itself_alone(hostile: Hostile) -> None:
    scene = Scene(MSGPACK)
    scene.evil.raw(hostile.frame)
    refused(scene, hostile)
    scene.check()


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
def test_good_neighbours_of_a_hostile_envelope_are_delivered_exactly(codec: Codec) -> None:
    scene = Scene(codec)
    cases = [each for each in ENVELOPES if not each.frame.startswith(b"[")]
    for hostile in MSGPACK_ENVELOPES if codec.binary else cases:
        scene.evil.raw(batched_msgpack(hostile) if codec.binary else batched(hostile))
        heard = scene.evil.take()
        [error] = [each for each in heard if each["type"] == "ERROR"]
        assert error["payload"]["code"] == hostile.code
        mail = scene.agni.mail()
        assert [each["id"] for each in mail] in (["good1", "good2"], [])  # again, by dedup
        assert all(each["payload"]["x"] == 1e22 for each in mail)
        scene.agni.ack("done", *(each["seq"] for each in mail))
        scene.agni.take()
    scene.check()


def test_a_whole_frame_refused_counts_towards_ten_but_a_bad_envelope_does_not() -> None:
    scene = Scene()
    for _ in range(3):
        for _ in range(9):
            scene.evil.raw(b"nope")
        for hostile in ENVELOPES[:12]:
            scene.evil.raw(hostile.frame)
    scene.evil.take()
    scene.check()


def test_what_the_client_says_in_the_hubs_own_fields_is_overwritten() -> None:
    scene = Scene()
    forged = {"seq": 999, "attempt": 7, "expires_in": 3, "settles": None, "from": "evil"}
    scene.say({"type": "STATUS", "to": "agni", "id": "m1", **forged})
    [mail] = scene.agni.mail()
    assert (mail["seq"], mail["attempt"]) == (1, 1)
    assert "expires_in" not in mail
    scene.agni.ack("done", 1)
    scene.agni.take()
    scene.evil.take()
    scene.check()


@pytest.mark.parametrize(
    "envelope",
    [
        {"type": "STATUS", "to": "agni", "id": "q"},
        {"type": "STATUS", "id": "q", "payload": "busy"},
        _command("q", op="peek"),
        _ack("done", [1]),
        {"type": "HEARTBEAT"},
    ],
    ids=["message", "status", "operation", "ack", "heartbeat"],
)
@pytest.mark.parametrize("name", ["agni", "hub", "Evil", ""])
def test_another_agents_name_in_from_is_forbidden_on_everything(envelope: Json, name: str) -> None:
    scene = Scene()
    scene.say({**envelope, "from": name})
    [error] = scene.refusals()
    assert error["payload"]["code"] == "forbidden"
    assert error["reply_to"] == envelope.get("id")
    scene.check()


def test_another_agents_name_in_the_from_of_a_registration_is_forbidden() -> None:
    bench = Bench()
    peer = bench.peer()
    peer.send({**_command("r", op="register", agent="evil"), "from": "agni"})
    assert peer.errors() == ["forbidden"]
    peer.register("evil")


def test_an_ack_is_for_the_hub_alone() -> None:
    scene = Scene()
    scene.say({**_ack("done", [1]), "to": "agni", "id": "q"})
    [error] = scene.refusals()
    assert (error["payload"]["code"], error["reply_to"]) == ("bad_message", "q")
    scene.check()


# --- settling ---


def others_mail(scene: Scene) -> int:
    """The seq of a message that is not the hostile one's."""
    scene.dc.tell("agni", "m1")
    scene.dc.take()
    [mail] = scene.agni.mail()
    seq: int = mail["seq"]
    return seq


@pytest.mark.parametrize("stage", ["done", "read", "rejected"])
@pytest.mark.parametrize("fields", [{}, {"requeue": True}], ids=["", "requeue"])
def test_settling_others_mail_is_stale_and_changes_nothing(stage: str, fields: Json) -> None:
    scene = Scene()
    seq = others_mail(scene)
    scene.say(_ack(stage, [seq, 2**53, seq], **fields))
    [error] = scene.refusals()
    assert error["payload"]["code"] == "stale_ack"
    assert error["payload"]["details"] == {"seqs": [seq, 2**53]}
    scene.agni.ack("done", seq)
    assert scene.agni.acks("settled") == [seq]
    scene.check()


def test_an_answer_that_settles_others_mail_is_stale_and_not_sent() -> None:
    scene = Scene()
    seq = others_mail(scene)
    answer = {"type": "RESULT", "to": "agni", "id": "z", "reply_to": "m1"}
    scene.say(*({**answer, "settles": each} for each in (seq, 2**53)))
    assert [each["payload"]["code"] for each in scene.refusals()] == ["stale_ack"] * 2
    scene.agni.ack("done", seq)
    assert scene.agni.acks("settled") == [seq]
    scene.check()


@pytest.mark.parametrize("stage", ["done", "read", "rejected"])
def test_ten_thousand_seqs_of_nonsense_are_one_refusal(stage: str) -> None:
    scene = Scene()
    scene.say(_ack(stage, list(range(1_000, 11_000))))
    [error] = scene.refusals()
    assert error["payload"]["code"] == "stale_ack"
    assert len(error["payload"]["details"]["seqs"]) == 10_000
    scene.check()


def test_repetitions_settle_once_and_are_answered_once() -> None:
    scene = Scene()
    scene.dc.tell("evil", "e1")
    [mail] = scene.evil.mail()
    seq = mail["seq"]
    scene.say(*(_ack(stage, [seq] * 5) for stage in ("read", "done", "rejected", "read", "done")))
    heard = scene.evil.take()
    assert [each["payload"]["stage"] for each in heard] == ["settled"]
    assert set(heard[0]["payload"]["seqs"]) == {seq}
    assert len(heard[0]["payload"]["seqs"]) <= 3  # done, rejected, done
    assert scene.dc.take()[0]["payload"]["stage"] == "accepted"
    scene.check()


def test_mail_that_was_rejected_twice_over_tells_its_sender_once() -> None:
    scene = Scene()
    scene.dc.tell("evil", "e1")
    [mail] = scene.evil.mail()
    scene.say(_ack("rejected", [mail["seq"]] * 3), _ack("rejected", [mail["seq"]]))
    assert set(scene.evil.acks("settled")) == {mail["seq"]}
    assert [each["reply_to"] for each in scene.dc.mail()] == ["e1"]


def test_what_waits_unsent_and_is_settled_all_the_same_is_not_sent_any_more() -> None:
    scene = Scene()
    evil = scene.bench.agent("evil", prefetch=1, heartbeat_ms=MINUTE)
    for n in range(3):
        scene.dc.tell("evil", f"e{n}")
    [first] = evil.mail()
    evil.ack("done", first["seq"] + 1)
    assert evil.acks("settled") == [first["seq"] + 1]
    evil.ack("done", first["seq"])
    assert [each["id"] for each in evil.mail()] == ["e2"]


def test_what_waits_unsent_and_is_answered_all_the_same_is_not_sent_any_more() -> None:
    scene = Scene()
    evil = scene.bench.agent("evil", prefetch=1, heartbeat_ms=MINUTE)
    for n in range(3):
        scene.dc.tell("evil", f"e{n}")
    [first] = evil.mail()
    answer = {"type": "RESULT", "to": "dc", "id": "a", "reply_to": "e1"}
    evil.send({**answer, "settles": first["seq"] + 1})
    evil.ack("done", first["seq"])
    assert [each["id"] for each in evil.mail()] == ["e2"]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        5,
        "done",
        [],
        {},
        {"stage": "done"},
        {"stage": "settled", "seqs": [1]},
        {"stage": "x" * 100_000, "seqs": [1]},
        {"stage": ["done"], "seqs": [1]},
        {"stage": "done", "seqs": {"1": 1}},
        {"stage": "done", "seqs": "1"},
        {"stage": "done", "seqs": [1.0]},
        {"stage": "done", "seqs": [True]},
        {"stage": "done", "seqs": ["1"]},
        {"stage": "done", "seqs": [0]},
        {"stage": "done", "seqs": [-1]},
        {"stage": "done", "seqs": [2**53 + 1]},
        {"stage": "done", "seqs": [2**64]},
        {"stage": "done", "seqs": list(range(1, 10_002))},
        {"stage": "rejected", "seqs": [1], "requeue": 1},
        {"stage": "rejected", "seqs": [1], "reason": "x" * 1025},
        {"stage": "rejected", "seqs": [1], "reason": None},
    ],
    ids=repr,
)
def test_an_ack_that_is_none_is_refused(payload: Any) -> None:
    scene = Scene()
    scene.say({"type": "ACK", "to": "hub", "id": "q", "payload": payload})
    [error] = scene.refusals()
    assert (error["payload"]["code"], error["reply_to"]) == ("bad_message", "q")
    assert "payload" in error["payload"]["message"]
    assert len(error["payload"]["message"]) <= 1024
    scene.check()


def test_an_ack_of_nothing_is_nothing() -> None:
    scene = Scene()
    scene.say(_ack("done", []), _ack("read", []), _ack("rejected", []))
    assert scene.refusals() == []
    scene.check()


# --- operations ---


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (None, "unknown_op"),
        ([], "unknown_op"),
        ({}, "unknown_op"),
        ({"op": None}, "unknown_op"),
        ({"op": ["peek"]}, "unknown_op"),
        ({"op": "x" * 100_000}, "unknown_op"),
        ({"op": "Peek"}, "unknown_op"),
        ({"op": "register", "agent": "agni"}, "bad_message"),
        ({"op": "history", "after": -1}, "bad_message"),
        ({"op": "history", "after": 2**63}, "bad_message"),
        ({"op": "history", "after": 1.0}, "bad_message"),
        ({"op": "history", "limit": 0}, "bad_message"),
        ({"op": "history", "limit": 1001}, "bad_message"),
        ({"op": "history", "limit": True}, "bad_message"),
        ({"op": "history", "thread": "a\n"}, "bad_message"),
        ({"op": "deadletters", "after": -5}, "bad_message"),
        ({"op": "deadletters", "agent": "../x"}, "bad_message"),
        ({"op": "deadletters", "agent": "x" * 100_000}, "bad_message"),
        ({"op": "retry", "agent": "No One", "seq": 1}, "bad_message"),
        ({"op": "retry", "agent": "nobody", "seq": 1}, "bad_message"),
        ({"op": "retry", "agent": "@nobody", "seq": 1}, "bad_message"),
        ({"op": "retry", "agent": "agni", "seq": 0}, "bad_message"),
        ({"op": "drop", "agent": "agni", "seq": 2**53}, "bad_message"),
        ({"op": "drop", "agent": "agni\0", "seq": 1}, "bad_message"),
        ({"op": "recall", "id": "nope"}, "bad_message"),
        ({"op": "recall", "id": ""}, "bad_message"),
        ({"op": "trace", "id": "../"}, "bad_message"),
        ({"op": "trace"}, "bad_message"),
        ({"op": "peek", "limit": 10**30}, "bad_message"),
        ({"op": "join", "group": "a\n"}, "bad_message"),
        ({"op": "join", "group": "#ops"}, "bad_message"),
        ({"op": "leave"}, "bad_message"),
        ({"op": "agents", "online": "yes"}, "bad_message"),
        ({"op": "watch", "on": 1}, "bad_message"),
        ({"op": "status", "text": "x" * 1025}, "bad_message"),
        ({"op": "status", "text": 5}, "bad_message"),
        ({"op": "status", "details": "é" * 2_100}, "too_large"),
        ({"op": "status", "details": [2**64]}, "bad_message"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_operation_is_refused(payload: Any, code: str) -> None:
    scene = Scene()
    scene.say({"type": "COMMAND", "to": "hub", "id": "q", "payload": payload})
    [error] = scene.refusals()
    assert (error["payload"]["code"], error["reply_to"]) == (code, "q")
    assert len(error["payload"]["message"]) <= 1024
    scene.check()


@pytest.mark.parametrize("kind", ["RESULT", "ERROR"])
def test_the_hub_takes_no_answers(kind: str) -> None:
    scene = Scene()
    scene.say({"type": kind, "to": "hub", "id": "q", "reply_to": "x"})
    assert [each["payload"]["code"] for each in scene.refusals()] == ["bad_message"]
    scene.check()


def test_a_status_nested_too_deep_is_refused() -> None:
    scene = Scene()
    deep = b"[" * 500 + b"]" * 500
    scene.evil.raw(b'{"type":"STATUS","id":"q","payload":{"details":' + deep + b"}}")
    [error] = scene.refusals()
    assert error["payload"]["code"] == "bad_message"
    assert "payload.details" in error["payload"]["message"]
    assert scene.dc.ask("agents")["payload"]["agents"][2]["status"] is None
    scene.check()


def test_others_mail_is_neither_recalled_nor_traced_nor_read() -> None:
    scene = Scene()
    scene.bench.agent("offline").drop()
    scene.dc.tell("offline", "secret", "x")
    scene.dc.take()
    scene.say(_command("1", op="recall", id="secret"), _command("2", op="trace", id="secret"))
    assert [each["payload"]["code"] for each in scene.refusals()] == ["bad_message"] * 2
    scene.say(_command("3", op="history", thread="secret"))
    assert scene.evil.take()[0]["payload"]["messages"] == []
    assert [each["id"] for each in scene.bench.agent("offline").mail()] == ["secret"]


def test_registering_twice_in_one_frame_is_refused_the_second_time() -> None:
    bench = Bench()
    peer = bench.peer()
    peer.send(_command("1", op="register", agent="dc"), _command("2", op="register", agent="agni"))
    heard = {each["reply_to"]: each for each in peer.take()}
    assert heard["1"]["type"] == "RESULT"
    assert heard["2"]["payload"]["code"] == "bad_message"
    assert [each["id"] for each in peer.ask("agents")["payload"]["agents"]] == ["dc"]


# --- amounts ---


def test_a_session_has_so_many_questions_open_and_the_others_are_asked_again() -> None:
    scene = Scene()
    scene.say(*(_command(f"q{n}", op="history") for n in range(1000)))
    heard = scene.evil.take()
    answered = [each for each in heard if each["type"] == "RESULT"]
    refusals = [each["payload"] for each in heard if each["type"] == "ERROR"]
    assert len(answered) == 32
    assert {(each["code"], each["retryable"]) for each in refusals} == {("rate_limited", True)}
    assert len(answered) + len(refusals) == 1000
    scene.say(_command("later", op="history"))
    assert [each["type"] for each in scene.evil.take()] == ["RESULT"]
    scene.check()


def test_pages_are_bounded_in_bytes() -> None:
    scene = Scene()
    for n in range(4):
        scene.dc.tell("evil", f"m{n}", "x" * 400_000)
        scene.evil.ack("rejected", scene.evil.mail()[0]["seq"])
        scene.evil.take()
    for op, name in (("history", "messages"), ("deadletters", "deadletters")):
        page = scene.evil.ask(op)["payload"]
        assert len(page[name]) == 2
        rest = scene.evil.ask(op, after=page["next"])["payload"]
        assert len(rest[name]) == 2


def test_a_page_of_dead_letters_does_not_end_inside_a_message_to_many() -> None:
    bench = Bench()
    dc = bench.agent("dc", heartbeat_ms=MINUTE)
    peers: list[Peer] = [bench.agent(name, heartbeat_ms=MINUTE) for name in ("a", "b", "c")]
    dc.tell("a", "one")
    dc.tell("broadcast", "all")
    for peer in peers:
        for mail in peer.mail():
            peer.ack("rejected", mail["seq"])
    after, seen = 0, []
    while True:
        page = dc.ask("deadletters", after=after, limit=3)["payload"]
        seen += [(each["message"]["id"], each["agent"]) for each in page["deadletters"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [("one", "a"), ("all", "a"), ("all", "b"), ("all", "c")]


@pytest.mark.parametrize(
    "envelope",
    [_ack("done", [7]), _ack("read", [7]), _command("q", op="join", group="ops")],
    ids=["done", "read", "join"],
)
def test_a_store_that_is_slow_stops_the_reading_of_whoever_talks_on(envelope: Json) -> None:
    scene = Scene(settings=HubSettings(unaccepted_messages=100))
    scene.bench.hold_commits = True
    scene.say(envelope)
    ops = scene.bench.hub.ops_to_commit()  # a commit is under way
    for _ in range(30):
        if not scene.evil.paused:
            scene.say(*[envelope] * 10)
    assert scene.evil.paused
    assert not scene.dc.paused
    [outcomes] = scene.bench.store.apply(scene.bench.now.wall, [Batch("default", ops)])
    scene.bench.hub.committed(outcomes, scene.bench.now)
    scene.bench.hold_commits = False
    scene.bench.run()
    scene.evil.take()
    scene.check()


def test_what_comes_along_with_a_slow_registration_is_bounded() -> None:
    bench = Bench(HubSettings(unaccepted_messages=100))
    bench.agent("agni", heartbeat_ms=MINUTE)
    peer = bench.peer()
    bench.hold_commits = True
    peer.send(_command("r", op="register", agent="evil"))
    sent = 0
    while not peer.paused and sent < 1000:
        peer.send(*({"type": "STATUS", "to": "agni", "id": f"m{sent + n}"} for n in range(10)))
        sent += 10
    assert sent <= 100
    bench.hold_commits = False
    bench.run()
    assert peer.acks("accepted") == [f"m{n}" for n in range(sent)]
    assert not peer.paused
