"""``pause``, ``resume`` and ``forget``: what operators do to agents."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.hub_bench import Bench, Peer
from tests.unit.hub.test_nodes import agent, make_pair
from trishula_broker.hub.duties import ASSIGN
from trishula_broker.store import base
from trishula_protocol import limits


def ids(peer: Peer) -> list[str]:
    return [mail["id"] for mail in peer.mail()]


def asked(op: str, id_: str) -> dict[str, Any]:
    return {"type": "COMMAND", "to": "hub", "id": id_, "payload": {"op": op, "agent": "agni"}}


def answers(peer: Peer, id_: str) -> list[dict[str, Any]]:
    return [each["payload"] for each in peer.take() if each.get("reply_to") == id_]


def applied(bench: Bench) -> list[base.Outcome]:
    """What the store made of what the hub has for it now; the hub has not heard of it yet."""
    ops = bench.hub.ops_to_commit()
    [outcomes] = bench.store.apply(bench.now.wall, [base.Batch("default", ops)])
    return outcomes


# --- pause and resume ---


def test_a_paused_agent_gets_its_mail_when_it_is_resumed() -> None:
    bench = Bench()
    operator, dc, agni = bench.agent("op"), bench.agent("dc"), bench.agent("agni")
    answer = operator.ask("pause", agent="agni", reason="audit")
    assert answer["payload"] == {"agent": "agni", "paused": True}
    for n in range(3):
        dc.tell("agni", f"m{n}", priority=3 - n)
    bench.advance(2_000)
    assert ids(agni) == []
    assert operator.ask("resume", agent="agni")["payload"] == {"agent": "agni", "paused": False}
    assert ids(agni) == ["m2", "m1", "m0"]
    dc.tell("agni", "m3")
    assert ids(agni) == ["m3"]


def test_a_pause_that_is_asked_for_right_after_a_resume_holds() -> None:
    bench = Bench()
    operator, dc, agni = bench.agent("op"), bench.agent("dc"), bench.agent("agni")
    operator.ask("pause", agent="agni")
    orders = [{"op": op, "agent": "agni"} for op in ("resume", "pause")]
    operator.send(
        *({"type": "COMMAND", "to": "hub", "id": f"o{n}", "payload": each}
          for n, each in enumerate(orders))
    )  # fmt: skip
    dc.tell("agni", "m1")
    assert ids(agni) == []
    operator.ask("resume", agent="agni")
    assert ids(agni) == ["m1"]


def test_what_waits_in_a_pool_is_not_overtaken_by_what_came_later_when_its_agent_is_resumed() -> (
    None
):
    one, two = make_pair()
    agni = agent(one, "agni", capabilities=["review"])
    operator = agent(two, "op")
    operator.ask("pause", agent="agni")
    operator.tell("@review", "m1")
    operator.tell("agni", "m2")
    one.hold_commits = two.hold_commits = True
    operator.send(asked("resume", "r"))
    outcomes = applied(two)
    one.hold_commits = False
    one.run()  # which hears of that commit before the other hub has gone on
    assert ids(agni) == ["m1", "m2"]
    two.hub.committed(outcomes, two.now)
    two.hold_commits = False
    two.run()
    assert ids(agni) == []


def test_a_deep_pool_comes_before_what_was_sent_later_when_its_agent_is_resumed() -> None:
    one, two = make_pair()
    capabilities = ["review", "test"]
    agni = agent(one, "agni", capabilities=capabilities, prefetch=10_000)
    operator = agent(two, "op")
    operator.ask("pause", agent="agni")
    sent = [f"m{n}" for n in range(3 * ASSIGN)]
    for n, id_ in enumerate(sent):
        operator.tell(f"@{capabilities[n % 2]}", id_)
    two.hold_commits = True
    operator.send(asked("resume", "r"))
    two.hub.committed(applied(two), two.now)  # hands out a part of it
    assert ids(agni) == []
    sent += ["late", "direct"]
    operator.tell("@test", "late")
    operator.tell("agni", "direct")
    two.hold_commits = False
    two.run()
    assert answers(operator, "r") == [{"agent": "agni", "paused": False}]
    assert ids(agni) == sent


def test_a_resume_that_takes_long_does_not_overtake_a_pause() -> None:
    one, two = make_pair()
    agni = agent(one, "agni", capabilities=["review"])
    operator, other = agent(two, "op"), agent(one, "other")
    operator.ask("pause", agent="agni")
    for n in range(ASSIGN + 1):
        operator.tell("@review", f"m{n}")
    two.hold_commits = True
    operator.send(asked("resume", "r"))
    two.hub.committed(applied(two), two.now)
    assert other.ask("pause", agent="agni", reason="no")["type"] == "RESULT"
    two.hold_commits = False
    two.run()
    assert answers(operator, "r") == [{"agent": "agni", "paused": True}]
    assert ids(agni) == []
    operator.ask("resume", agent="agni")
    assert len(ids(agni)) == ASSIGN + 1


def test_a_resume_that_broke_off_is_asked_for_again() -> None:
    bench = Bench()
    operator = bench.agent("op")
    agni = bench.agent("agni", capabilities=["review"], prefetch=10_000)
    operator.ask("pause", agent="agni")
    sent = [f"m{n}" for n in range(ASSIGN + 1)]
    for id_ in sent:
        operator.tell("@review", id_)
    bench.hold_commits = True
    operator.send(asked("resume", "r"))
    bench.hub.committed(applied(bench), bench.now)
    bench.failing = "no disk"
    bench.hold_commits = False
    bench.run()
    assert [each["code"] for each in answers(operator, "r")] == ["unavailable"]
    bench.failing = None
    bench.advance(1_000)
    assert ids(agni) == []
    assert operator.ask("resume", agent="agni")["payload"] == {"agent": "agni", "paused": False}
    assert ids(agni) == sent


def test_agents_tells_who_is_paused_and_why() -> None:
    bench = Bench()
    operator = bench.agent("op")
    bench.agent("agni")
    for reason in ("", "audit"):
        operator.ask("pause", agent="agni", reason=reason)
        [agni, op] = operator.ask("agents")["payload"]["agents"]
        assert agni["paused"] == {"reason": reason}
        assert "paused" not in op
    operator.ask("resume", agent="agni")
    assert "paused" not in operator.ask("agents")["payload"]["agents"][0]


def test_what_a_paused_agent_holds_is_read_renewed_and_settled() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc"), bench.agent("agni", lease_ms=2_000)
    for n in range(3):
        dc.tell("agni", f"m{n}")
    [first, second, third] = agni.mail()
    dc.ask("pause", agent="agni")
    agni.ack("read", first["seq"])
    for _ in range(3):
        bench.advance(1_500)
        agni.ack("read", first["seq"])  # the lease is renewed
    agni.ack("done", first["seq"])
    agni.ack("rejected", second["seq"], reason="no")
    agni.send({"type": "RESULT", "to": "dc", "id": "r", "reply_to": "m2", "settles": third["seq"]})
    assert agni.acks("settled") == [first["seq"], second["seq"], third["seq"]]
    dc.ask("resume", agent="agni")
    assert ids(agni) == []
    assert dc.ask("peek")["payload"]["count"] == 2  # the answer, and the hub's own mail


def test_what_a_paused_agent_held_when_it_left_waits_until_it_is_resumed() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc"), bench.agent("agni")
    dc.tell("agni", "m1")
    assert ids(agni) == ["m1"]
    dc.ask("pause", agent="agni")
    agni.drop()
    again = bench.agent("agni")
    assert ids(again) == []
    dc.ask("resume", agent="agni")
    assert ids(again) == ["m1"]


def test_a_paused_agents_mail_expires_and_its_sender_is_told() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc"), bench.agent("agni")
    dc.ask("pause", agent="agni")
    dc.tell("agni", "m1", ttl=2_000)
    bench.advance(5_000)
    [told] = dc.mail()
    assert (told["payload"]["code"], told["reply_to"]) == ("expired", "m1")
    dc.ask("resume", agent="agni")
    assert ids(agni) == []


def test_mail_for_a_capability_waits_for_a_paused_agent_when_nobody_else_offers_it() -> None:
    bench = Bench()
    dc = bench.agent("dc")
    agni = bench.agent("agni", capabilities=["review"])
    dc.ask("pause", agent="agni")
    dc.tell("@review", "m1")
    bench.advance(10_000)
    assert ids(agni) == []
    other = bench.agent("other", capabilities=["review"])
    assert ids(other) == ["m1"]
    other.drop()
    dc.tell("@review", "m2")
    dc.ask("resume", agent="agni")
    assert ids(agni) == ["m2"]


def test_pausing_outlasts_the_hub() -> None:
    bench = Bench()
    bench.agent("agni")
    bench.agent("dc").ask("pause", agent="agni", reason="audit")
    bench.restart()
    dc, agni = bench.agent("dc"), bench.agent("agni")
    dc.tell("agni", "m1")
    assert ids(agni) == []
    dc.ask("resume", agent="agni")
    assert ids(agni) == ["m1"]


@pytest.mark.parametrize("op", ["pause", "resume", "forget"])
def test_who_is_not_known_is_refused_with_the_nearest_names(op: str) -> None:
    bench = Bench()
    bench.agent("agni")
    answer = bench.agent("dc").ask(op, agent="agnni")["payload"]
    assert (answer["code"], answer["details"]) == ("unknown_recipient", {"nearest": ["agni"]})
    assert answer["message"].startswith("payload.agent: no agent agnni is known here; did you mean")


def test_pausing_and_resuming_twice_is_fine() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc"), bench.agent("agni")
    for op in ("pause", "pause", "resume", "resume"):
        assert dc.ask(op, agent="agni")["type"] == "RESULT"
    dc.tell("agni", "m1")
    assert ids(agni) == ["m1"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "agent"),
        ({"agent": "@review"}, "$.agent"),
        ({"agent": "agni", "reason": "x" * (limits.REASON_LENGTH + 1)}, "$.reason"),
    ],
)
def test_a_bad_request_is_told_its_field(fields: dict[str, str], field: str) -> None:
    bench = Bench()
    answer = bench.agent("dc").ask("pause", **fields)["payload"]
    assert answer["code"] == "bad_message"
    assert field in answer["message"]


def test_watchers_hear_of_it() -> None:
    bench = Bench()
    watcher, dc = bench.agent("watcher"), bench.agent("dc")
    watcher.ask("watch")
    watcher.take()
    dc.ask("pause", agent="dc", reason="lunch")
    dc.ask("resume", agent="dc")
    assert [news["payload"] for news in watcher.take()] == [
        {"event": "paused", "agent": "dc", "reason": "lunch"},
        {"event": "resumed", "agent": "dc"},
    ]


def test_trace_says_that_it_waits_for_the_agent_to_be_resumed() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc"), bench.agent("agni")
    dc.ask("pause", agent="agni")
    dc.tell("agni", "m1")

    def waits_for() -> object:
        return dc.ask("trace", id="m1")["payload"]["messages"][0]["copies"][0]["waits_for"]

    assert waits_for() == "agni to be resumed: it is paused"
    agni.drop()
    assert waits_for() == "agni to come online and to be resumed: it is paused"


def test_a_pause_the_store_applied_unheard_holds_and_is_answered_as_unknown() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc"), bench.agent("agni")
    bench.unheard = {base.Pause}
    assert dc.ask("pause", agent="agni")["payload"]["code"] == "unavailable"
    bench.advance(1_000)
    dc.tell("agni", "m1")
    bench.advance(1_000)
    assert ids(agni) == []


def test_pausing_reaches_every_node() -> None:
    one, two = make_pair()
    dc, agni = agent(one, "dc"), agent(two, "agni")
    dc.ask("pause", agent="agni")
    dc.tell("agni", "m1")
    assert ids(agni) == []
    assert (
        dc.ask("trace", id="m1")["payload"]["messages"][0]["copies"][0]["waits_for"]
        == "agni to be resumed: it is paused"
    )
    moved = agent(one, "agni")
    assert ids(moved) == []
    agent(two, "op").ask("resume", agent="agni")
    assert ids(moved) == ["m1"]


@pytest.mark.parametrize("op", ["pause", "resume"])
def test_a_hint_of_it_that_was_lost_is_made_up_for(op: str) -> None:
    one, two = make_pair()
    dc, agni = agent(one, "dc"), agent(two, "agni")
    if op == "resume":
        dc.ask("pause", agent="agni")
    link = two.store.link
    lost: list[int] = []
    link.carry = lost.append
    dc.ask(op, agent="agni")
    for number in lost:
        link.lose(number)
    link.carry = None
    link.arrive(link.last)
    dc.tell("agni", "m1")
    assert ids(agni) == ([] if op == "pause" else ["m1"])


def test_a_fetch_under_way_does_not_outlive_a_pause() -> None:
    one, two = make_pair()
    dc = agent(one, "dc")
    agent(two, "agni").drop()
    dc.tell("agni", "m1")
    two.hold_commits = True
    agni = two.peer()
    payload = {"op": "register", "agent": "agni"}
    agni.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": payload})
    for _ in range(2):  # the registration, then the fetch, whose answer is on its way
        ops = two.hub.ops_to_commit()
        [outcomes] = two.store.apply(two.now.wall, [base.Batch("default", ops)])
        if any(isinstance(op, base.Fetch) for op in ops):
            dc.ask("pause", agent="agni")
        two.hub.committed(outcomes, two.now)
        two.run()
    two.hold_commits = False
    two.run()
    assert ids(agni) == []


# --- forget ---


def test_an_agent_that_is_forgotten_is_not_known_any_more() -> None:
    bench = Bench()
    operator, watcher = bench.agent("op"), bench.agent("watcher")
    bench.agent("agni", groups=["ops"], capabilities=["review"]).drop()
    watcher.ask("watch")
    watcher.take()
    assert operator.ask("forget", agent="agni")["payload"] == {"agent": "agni", "discarded": 0}
    assert [news["payload"] for news in watcher.take()] == [
        {"event": "forgotten", "agent": "agni", "online": False}
    ]
    operator.tell("agni", "m1")
    assert operator.errors() == ["unknown_recipient"]
    assert operator.ask("forget", agent="agni")["payload"]["code"] == "unknown_recipient"


def test_one_that_is_online_is_not_forgotten_and_the_operator_is_told_what_to_do() -> None:
    bench = Bench()
    operator, agni = bench.agent("op"), bench.agent("agni")
    for discard in (False, True):
        answer = operator.ask("forget", agent="agni", discard=discard)["payload"]
        assert answer["code"] == "forbidden"
        assert answer["message"].startswith("payload.agent: agni is online at bench; stop it first")
    assert (operator.close_code(), agni.close_code()) == (None, None)


def test_mail_keeps_an_agent_from_being_forgotten() -> None:
    bench = Bench()
    operator = bench.agent("op")
    bench.agent("agni").drop()
    operator.tell("agni", "m1")
    answer = operator.ask("forget", agent="agni")["payload"]
    assert (answer["code"], answer["details"]) == ("forbidden", {"unsettled": 1})
    assert '"discard": true' in answer["message"]
    assert ids(bench.agent("agni")) == ["m1"]


def test_what_is_discarded_is_dead_and_its_senders_are_told() -> None:
    bench = Bench()
    operator, dc = bench.agent("op"), bench.agent("dc")
    bench.agent("agni").drop()
    count = 1_203
    for n in range(count):
        dc.tell("agni", f"m{n}")
    dc.take()
    answer = operator.ask("forget", agent="agni", discard=True)["payload"]
    assert answer == {"agent": "agni", "discarded": count}
    told = []
    while mail := dc.mail():
        told += [(each["payload"]["code"], each["reply_to"]) for each in mail]
        dc.ack("done", *(each["seq"] for each in mail))
    assert told == [("undeliverable", f"m{n}") for n in range(count)]
    [first] = operator.ask("deadletters", agent="agni", limit=1)["payload"]["deadletters"]
    assert (first["outcome"], first["message"]["id"]) == ("dead", "m0")
    assert first["reason"] == "the recipient was forgotten by an operator"
    dropped = operator.ask("drop", agent="agni", seq=first["message"]["seq"])
    assert dropped["type"] == "RESULT"


def test_mail_for_a_capability_goes_to_others_when_its_taker_is_forgotten() -> None:
    bench = Bench()
    operator = bench.agent("op")
    agni = bench.agent("agni", capabilities=["review"])
    operator.tell("@review", "m1")
    agni.drop()
    answer = operator.ask("forget", agent="agni", discard=True)["payload"]
    assert answer == {"agent": "agni", "discarded": 0}
    assert ids(bench.agent("other", capabilities=["review"])) == ["m1"]


def test_an_agent_that_comes_back_while_it_is_being_forgotten_keeps_its_mail() -> None:
    one, two = make_pair()
    operator = agent(one, "op")
    agent(two, "agni").drop()
    operator.tell("agni", "m1")
    one.hold_commits = True
    payload = {"op": "forget", "agent": "agni", "discard": True}
    operator.send({"type": "COMMAND", "to": "hub", "id": "f", "payload": payload})
    agni = agent(two, "agni")
    one.hold_commits = False
    one.run()
    [answer] = [each for each in operator.take() if each.get("reply_to") == "f"]
    assert answer["payload"]["code"] == "forbidden"
    assert ids(agni) == ["m1"]


def test_a_failing_store_refuses_and_forgetting_again_goes_on() -> None:
    bench = Bench()
    operator = bench.agent("op")
    bench.agent("agni").drop()
    operator.tell("agni", "m1")
    bench.failing = "no disk"
    payload = {"op": "forget", "agent": "agni", "discard": True}
    operator.send({"type": "COMMAND", "to": "hub", "id": "f", "payload": payload})
    [answer] = [each for each in operator.take() if each.get("reply_to") == "f"]
    assert answer["payload"]["code"] == "unavailable"
    bench.failing = None
    bench.advance(1_000)
    assert operator.ask("forget", agent="agni", discard=True)["payload"]["discarded"] == 1
