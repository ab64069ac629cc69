"""What a token allows: names, addresses, types, groups, operations; and what recipients see."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.hub_bench import Bench, Json, Peer
from tests.support.identities import identity
from trishula_broker.auth.identity import Role
from trishula_broker.hub.guard import LOOKUPS
from trishula_broker.hub.operations.table import TABLE
from trishula_protocol import limits
from trishula_protocol.codec import JSON, MSGPACK
from trishula_protocol.errors import ProtocolError

ME = identity("dc")


def refusal(answer: Json) -> tuple[str, str]:
    """Code and field of an ERROR."""
    assert answer["type"] == "ERROR", answer
    payload = answer["payload"]
    return payload["code"], payload["message"].partition(":")[0]


def refused(peer: Peer) -> tuple[str, str]:
    """Code and field of the one ERROR heard."""
    [answer] = peer.take()
    return refusal(answer)


def bench_with(*names: str) -> Bench:
    """A hub with keys, and agents who may everything."""
    bench = Bench(tokens={})
    for name in names:
        bench.proven(identity(name))
    return bench


# --- registration -----------------------------------------------------------------------------


def test_a_token_registers_its_own_name_alone_and_a_wrong_one_may_be_put_right() -> None:
    bench = Bench(tokens={})
    peer = bench.peer(identity=ME)
    answer = peer.ask("register", agent="agni")
    assert refusal(answer) == ("forbidden", "payload.agent")
    assert answer["payload"]["details"] == {"field": "payload.agent", "allowed": ["dc"]}
    assert peer.close_code() is None
    peer.register("dc")


@pytest.mark.parametrize(
    ("receive", "fields", "field"),
    [
        (("#ops",), {"groups": ["ops"]}, None),
        (("#ops",), {"groups": ["ops", "web"]}, "payload.groups"),
        (("#*",), {"groups": ["ops", "web"]}, None),
        (("#*",), {"capabilities": ["plan"]}, "payload.capabilities"),
        (("@pl*",), {"capabilities": ["plan"]}, None),
        ((), {"groups": [], "capabilities": []}, None),
        ((), {}, None),
        (None, {"groups": ["ops"], "capabilities": ["plan"]}, None),
    ],
)
def test_groups_and_capabilities_are_those_the_token_allows(
    receive: tuple[str, ...] | None, fields: dict[str, Any], field: str | None
) -> None:
    bench = Bench(tokens={})
    peer = bench.peer(identity=identity("dc", receive=receive))
    answer = peer.ask("register", agent="dc", **fields)
    if field is None:
        assert answer["type"] == "RESULT"
    else:
        assert refusal(answer) == ("forbidden", field)


def test_joining_a_group_takes_the_right_to_be_reached_by_it() -> None:
    bench = Bench(tokens={})
    peer = bench.proven(identity("dc", receive=("#ops",)))
    assert peer.ask("join", group="ops")["payload"] == {"groups": ["ops"]}
    assert refusal(peer.ask("join", group="web")) == ("forbidden", "payload.group")


def test_groups_of_an_earlier_token_end_with_the_registration_of_one_that_has_them_not() -> None:
    bench = Bench(tokens={})
    bench.proven(ME, groups=["ops", "web"], capabilities=["plan"])
    narrow = bench.proven(identity("dc", token="t2", receive=("#web",)))
    [record] = narrow.ask("agents")["payload"]["agents"]
    assert (record["groups"], record["capabilities"], record["online"]) == (["web"], [], True)


def test_who_observes_under_an_agents_name_takes_nothing_from_that_agent() -> None:
    bench = Bench(tokens={})
    agent = bench.proven(ME, groups=["ops"], capabilities=["plan"])
    observer = bench.peer(identity=identity("dc", role="observer", token="t2", receive=()))
    observer.register("dc", receive=False)
    [record] = agent.ask("agents")["payload"]["agents"]
    assert (record["groups"], record["capabilities"]) == (["ops"], ["plan"])


def test_an_observer_registers_as_a_side_session_and_is_forgotten_again() -> None:
    bench = Bench(tokens={})
    observer = identity("eye", role="observer")
    peer = bench.peer(identity=observer)
    assert refusal(peer.ask("register", agent="eye")) == ("forbidden", "payload.receive")
    answer = peer.ask("register", agent="eye", receive=False, groups=["ops"])
    assert refusal(answer) == ("forbidden", "payload.groups")
    peer.register("eye", receive=False)
    peer.drop()
    bench.advance(2 * limits.EPHEMERAL_MS)
    assert bench.proven(ME).ask("agents")["payload"]["agents"][0]["id"] == "dc"


def test_the_answer_tells_when_the_token_expires_and_nothing_where_it_does_not() -> None:
    bench = Bench(tokens={})
    ends = bench.now.wall + 60_000
    mortal = bench.peer(identity=identity("dc", expires_at=ends))
    assert mortal.ask("register", agent="dc")["payload"]["expires_at"] == ends
    immortal = bench.peer(identity=identity("agni"))
    assert "expires_at" not in immortal.ask("register", agent="agni")["payload"]


# --- sending ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("send", "to", "allowed"),
    [
        (None, "agni", True),
        (("agni",), "agni", True),
        (("agni",), "varuna", False),
        (("agni",), "#ops", False),
        (("#ops",), "#ops", True),
        (("#*",), "#ops", True),
        (("a*",), "agni", True),
        (("a*",), "broadcast", False),
        (("broadcast",), "broadcast", True),
        (("@plan",), "@plan", True),
        ((), "agni", False),
    ],
)
def test_messages_go_where_the_token_allows(
    send: tuple[str, ...] | None, to: str, allowed: bool
) -> None:
    bench = bench_with("varuna")
    bench.proven(identity("agni"), groups=["ops"], capabilities=["plan"])
    dc = bench.proven(identity("dc", send=send))
    dc.tell(to, "m1")
    if allowed:
        assert dc.acks("accepted") == ["m1"]
    else:
        [answer] = dc.take()
        assert refusal(answer) == ("forbidden", "to")
        assert answer["reply_to"] == "m1"
        assert answer["payload"]["details"]["allowed"] == list(send or ())
        assert not answer["payload"]["retryable"]


def test_types_are_those_the_token_allows_and_asking_the_hub_is_no_message() -> None:
    bench = bench_with("agni")
    dc = bench.proven(identity("dc", types=("STATUS",)))
    dc.tell("agni", "m1")
    assert dc.acks("accepted") == ["m1"]
    dc.send({"type": "COMMAND", "to": "agni", "id": "m2"})
    assert refused(dc) == ("forbidden", "type")
    assert dc.ask("agents")["type"] == "RESULT"
    dc.send({"type": "HEARTBEAT"})
    assert [each["type"] for each in dc.take()] == ["HEARTBEAT"]


def test_a_forged_sender_is_refused_whatever_the_token_allows() -> None:
    bench = bench_with("agni")
    dc = bench.proven(ME)
    dc.send({"type": "STATUS", "from": "varuna", "to": "agni", "id": "m1"})
    assert refused(dc) == ("forbidden", "from")


def answer_to(asker: str, asked: str, **fields: Any) -> Json:
    return {"type": "RESULT", "to": asker, "id": "r1", "reply_to": asked, **fields}


def test_who_may_receive_may_answer_to_whoever_asked() -> None:
    bench = bench_with()
    asker = bench.proven(identity("varuna"))
    dc = bench.proven(identity("dc", send=()))
    asker.tell("dc", "q1")
    [asked] = dc.mail()
    dc.send(answer_to("varuna", "q1", settles=asked["seq"]))
    assert dc.acks("accepted") == ["r1"]
    assert [each["reply_to"] for each in asker.mail()] == ["q1"]


def test_an_answer_goes_to_nobody_but_who_asked() -> None:
    bench = bench_with("agni")
    asker = bench.proven(identity("varuna"))
    dc = bench.proven(identity("dc", send=()))
    asker.tell("dc", "q1")
    [asked] = dc.mail()
    dc.send(answer_to("agni", "q1", settles=asked["seq"]))
    assert refused(dc) == ("forbidden", "to")
    dc.send(answer_to("varuna", "never-asked"))
    assert refused(dc) == ("forbidden", "to")
    dc.send(answer_to("varuna", "never-asked", settles=asked["seq"] + 1))
    assert refused(dc) == ("stale_ack", "settles")
    dc.send({"type": "COMMAND", "to": "varuna", "id": "s1", "reply_to": "q1"})
    assert refused(dc) == ("forbidden", "to")


def test_who_works_on_a_message_may_tell_its_sender_how_far_it_is_and_not_later() -> None:
    bench = bench_with()
    asker = bench.proven(identity("varuna"))
    dc = bench.proven(identity("dc", send=()))
    asker.tell("dc", "q1")
    [asked] = dc.mail()
    dc.tell("varuna", "s1", {"percent": 40}, reply_to="q1")
    assert dc.acks("accepted") == ["s1"]
    dc.ack("done", asked["seq"])
    dc.take()
    dc.tell("varuna", "s2", {"percent": 50}, reply_to="q1")
    assert refused(dc) == ("forbidden", "to")


def test_what_was_held_by_an_earlier_session_can_still_be_answered() -> None:
    bench = bench_with()
    asker = bench.proven(identity("varuna"))
    mine = identity("dc", send=())
    dc = bench.proven(mine)
    asker.tell("dc", "q1")
    [asked] = dc.mail()
    dc.drop()
    again = bench.peer(identity=mine)
    bench.hold_commits = True
    registration = {"op": "register", "agent": "dc"}
    again.send(
        {"type": "COMMAND", "to": "hub", "id": "reg", "payload": registration},
        answer_to("varuna", "q1", settles=asked["seq"]),
    )
    bench.hold_commits = False
    bench.run()
    assert again.acks("accepted") == ["r1"]
    assert [each["id"] for each in asker.mail()] == ["r1"]
    again.send(answer_to("varuna", "q1") | {"id": "r2"})
    assert again.acks("accepted") == ["r2"]


def test_an_answer_that_is_looked_up_is_not_overtaken_by_a_later_one() -> None:
    bench = bench_with("agni")
    asker = bench.proven(identity("varuna"))
    dc = bench.proven(identity("dc", send=("agni",)))
    asker.tell("dc", "q1")
    [first] = dc.mail()
    dc.ack("done", first["seq"])
    asker.tell("dc", "q2")
    second = dc.mail()[-1]
    bench.hold_questions = True
    dc.send(
        answer_to("varuna", "q1") | {"id": "r1"},
        answer_to("varuna", "q2", settles=second["seq"]) | {"id": "r2"},
        answer_to("varuna", "never-asked") | {"id": "r3"},
        answer_to("varuna", "q2") | {"id": "r4"},
        {"type": "STATUS", "to": "agni", "id": "s1", "payload": 1},
    )
    assert dc.acks("accepted") == ["s1"]  # what goes elsewhere need not wait
    bench.hold_questions = False
    bench.run()
    assert [each["id"] for each in asker.mail()] == ["r1", "r2", "r4"]
    assert [each["reply_to"] for each in dc.take() if each["type"] == "ERROR"] == ["r3"]


def test_an_answer_that_is_looked_up_is_not_overtaken_by_what_goes_to_a_group() -> None:
    bench = bench_with("agni")
    asker = bench.proven(identity("varuna"), groups=["ops"])
    dc = bench.proven(identity("dc", send=("agni", "#ops", "broadcast")))
    asker.tell("dc", "q1")
    [asked] = dc.mail()
    dc.ack("done", asked["seq"])
    dc.take()
    bench.hold_questions = True
    dc.send(
        answer_to("varuna", "q1") | {"id": "r1"},
        {"type": "STATUS", "to": "agni", "id": "s1", "payload": 1},
        {"type": "STATUS", "to": "#ops", "id": "s2", "payload": 2},
        {"type": "STATUS", "to": "agni", "id": "s3", "payload": 3},
        {"type": "STATUS", "to": "broadcast", "id": "s4", "payload": 4},
    )
    assert dc.acks("accepted") == ["s1"]  # the others may go where the answer goes, or behind that
    bench.hold_questions = False
    bench.run()
    assert dc.acks("accepted") == ["r1", "s2", "s3", "s4"]
    assert [each["id"] for each in asker.mail()] == ["r1", "s2", "s4"]


def test_what_one_sent_itself_is_nothing_to_answer() -> None:
    bench = bench_with("agni")
    dc = bench.proven(identity("dc", send=("agni",)))
    dc.tell("agni", "m1")
    dc.take()
    dc.send(answer_to("dc", "m1"))
    assert refused(dc) == ("forbidden", "to")


def test_so_many_answers_wait_to_be_looked_up_and_others_come_again() -> None:
    bench = bench_with()
    dc = bench.proven(identity("dc", send=()))
    dc.send(*(answer_to("varuna", f"q{n}") | {"id": f"r{n}"} for n in range(LOOKUPS + 2)))
    answers = dc.take()
    codes = [refusal(each)[0] for each in answers]
    assert (codes.count("rate_limited"), codes.count("forbidden")) == (2, LOOKUPS)
    assert answers[0]["payload"]["retryable"]
    assert answers[0]["payload"]["retry_after_ms"] > 0
    dc.send(answer_to("varuna", "q0") | {"id": "r0"})
    assert refused(dc) == ("forbidden", "to")


# --- what was proven --------------------------------------------------------------------------


def test_recipients_see_what_was_proven_of_the_sender_beside_all_headers_there_may_be() -> None:
    bench = bench_with()
    agni = bench.proven(identity("agni"), groups=["ops"])
    packed = bench.peer(MSGPACK, identity("varuna"))
    registration = {"op": "register", "agent": "varuna", "groups": ["ops"]}
    command = {"type": "COMMAND", "to": "hub", "id": "reg", "payload": registration}
    packed.raw(msgspec.msgpack.encode(command))
    full = {f"h{n}": "x" for n in range(limits.HEADERS)}
    bench.proven(ME).tell("#ops", "m1", headers=full)
    for peer in (agni, packed):
        [mail] = peer.mail()
        assert mail["headers"] == full | {"auth": "dc default t-dc"}
        [decoded] = JSON.decode(msgspec.json.encode(mail), from_hub=True)
        assert not isinstance(decoded, ProtocolError)


@pytest.mark.parametrize("tokens", [None, {}])
def test_no_client_says_itself_what_was_proven(tokens: dict[str, Any] | None) -> None:
    bench = Bench(tokens=tokens)
    peer = bench.agent("dc") if tokens is None else bench.proven(ME)
    peer.tell("dc", "m1", headers={"auth": "agni default t1"})
    assert refused(peer) == ("bad_message", "headers.auth")


def test_nothing_is_said_on_a_hub_without_keys() -> None:
    bench = Bench()
    agni = bench.agent("agni")
    bench.agent("dc").tell("agni", "m1")
    assert "headers" not in agni.mail()[0]


def test_the_same_message_under_another_token_is_the_same() -> None:
    bench = bench_with("agni")
    bench.proven(identity("dc", token="old")).tell("agni", "m1", {"n": 1})
    again = bench.proven(identity("dc", token="new"))
    again.tell("agni", "m1", {"n": 1})
    assert again.acks("accepted") == ["m1"]
    again.tell("agni", "m1", {"n": 2})
    assert again.errors() == ["duplicate_id"]


# --- operations -------------------------------------------------------------------------------

OPERATORS = {"retry", "drop", "pause", "resume", "forget", "revoke", "folder_mode"}
LOOKING = {"deadletters", "tap"}
CHANGING = {"status", "join", "leave", "recall", "deregister"}


@pytest.mark.parametrize("op", sorted(TABLE))
def test_operations_are_for_the_roles_they_are_for(op: str) -> None:
    bench = Bench(tokens={})
    allowed = {
        "agent": op not in OPERATORS | LOOKING,
        "operator": True,
        "observer": op not in OPERATORS | CHANGING,
    }
    for role in ("agent", "operator", "observer"):
        who = identity(role, role=role)
        peer = bench.proven(who, receive=role != "observer", ephemeral=True)
        answer = peer.ask(op)
        refused = answer["type"] == "ERROR" and refusal(answer) == ("forbidden", "payload.op")
        assert refused is not allowed[role], (role, answer)


@pytest.mark.parametrize("op", sorted(TABLE.keys() - {"deregister"}))
def test_without_keys_everybody_may_ask_everything(op: str) -> None:
    answer = Bench().agent("dc").ask(op)
    assert answer["type"] == "RESULT" or answer["payload"]["code"] != "forbidden"


def test_a_status_without_an_address_is_an_operation_of_agents() -> None:
    bench = Bench(tokens={})
    observer = bench.proven(identity("eye", role="observer"), receive=False)
    observer.send({"type": "STATUS", "id": "s1", "payload": "looking"})
    assert refused(observer) == ("forbidden", "payload.op")
    observer.tell("eye", "m1")
    assert refused(observer) == ("forbidden", "to")


@pytest.mark.parametrize("role", ["agent", "operator", "observer"])
@pytest.mark.parametrize("op", ["peek", "history", "trace"])
def test_what_is_anothers_is_told_to_those_who_look_on_alone(role: Role, op: str) -> None:
    bench = bench_with("dc", "agni")
    sender = bench.proven(identity("dc", token="t2"))
    sender.tell("agni", "m1")
    who = bench.peer(identity=identity("eye", role=role))
    who.register("eye", receive=False)
    more = {"id": "m1"} if op == "trace" else {}
    answer = who.ask(op, agent="agni", **more)
    if role == "agent":
        assert refusal(answer) == ("forbidden", "payload.agent")
    else:
        told = answer["payload"]
        assert [each["id"] for each in told.get("heads", told.get("messages"))] == ["m1"]
    own = who.ask(op, agent="eye", **more)  # one's own is nobody else's
    assert own["type"] == "RESULT" or own["payload"]["code"] != "forbidden"
