"""What was refused is recorded: what it was and whose, and no more often than once a second."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.hub_bench import Bench, Json
from tests.support.identities import identity
from trishula_broker.auth.identity import Identity
from trishula_broker.hub.refusals import TOGETHER_MS
from trishula_broker.hub.settings import HubSettings

SECRET = "a-payload-nobody-else-may-see"


def hub() -> Bench:
    bench = Bench(tokens={})
    bench.proven(identity("agni"))
    bench.records.clear()
    return bench


def limited(**rights: tuple[str, ...]) -> Identity:
    return identity("dc", send=rights.get("send"), types=rights.get("types"))


@pytest.mark.parametrize(
    ("who", "envelope", "expected"),
    [
        (
            limited(send=()),
            {"type": "STATUS", "to": "agni", "id": "m1"},
            {"code": "forbidden", "type": "STATUS", "to": "agni", "id": "m1", "field": "to"},
        ),
        (
            limited(types=("RESULT",)),
            {"type": "COMMAND", "to": "agni", "id": "m1"},
            {"code": "forbidden", "type": "COMMAND", "to": "agni", "field": "type"},
        ),
        (
            limited(),
            {"type": "STATUS", "from": "agni", "to": "agni", "id": "m1"},
            {"code": "forbidden", "field": "from"},
        ),
        (
            limited(),
            {"type": "COMMAND", "to": "hub", "id": "q1", "payload": {"op": "drop", "x": SECRET}},
            {"code": "forbidden", "type": "COMMAND", "op": "drop", "field": "payload.op"},
        ),
        (
            limited(),
            {"type": "STATUS", "to": "varuna", "id": "m1", "payload": SECRET},
            {"code": "unknown_recipient", "type": "STATUS", "to": "varuna", "id": "m1"},
        ),
        (
            limited(),
            {"type": "STATUS", "to": "agni", "id": "m1", "headers": {"auth": SECRET}},
            {"code": "bad_message", "field": "headers.auth", "id": "m1"},
        ),
        (
            limited(),
            {"type": "ACK", "payload": {"stage": "done", "seqs": [77]}},
            {"code": "stale_ack", "type": "ACK"},
        ),
        (
            limited(),
            {"type": "COMMAND", "to": "hub", "id": "q1", "payload": {"op": "magic"}},
            {"code": "unknown_op", "op": "magic"},
        ),
        (
            limited(),
            {
                "type": "COMMAND",
                "to": "hub",
                "id": "q1",
                "payload": {"op": "status", "text": "", "details": SECRET * 200},
            },
            {"code": "too_large", "op": "status"},
        ),
    ],
)
def test_a_refusal_is_recorded_with_what_it_was_and_whose(
    who: Identity, envelope: Json, expected: Json
) -> None:
    bench = hub()
    peer = bench.proven(who)
    peer.send(envelope)
    [record] = bench.recorded("refused")
    whose = {"agent": "dc", "token": "t-dc", "role": "agent", "peer": "bench", "link": peer.link}
    assert record.items() >= (expected | whose | {"count": 1}).items()
    assert SECRET not in f"{bench.records} {record}"
    msgspec.json.encode(record)


def test_what_comes_before_a_registration_is_recorded_too() -> None:
    bench = hub()
    peer = bench.peer(identity=identity("dc"))
    peer.tell("agni", "m1", SECRET)
    peer.ask("register", agent="varuna")
    codes = [(each["code"], each.get("op")) for each in bench.recorded("refused")]
    assert codes == [("not_registered", None), ("forbidden", "register")]


def test_duplicate_ids_are_recorded_without_what_was_in_them() -> None:
    bench = hub()
    peer = bench.proven(identity("dc"))
    peer.tell("agni", "m1", SECRET)
    peer.tell("agni", "m1", SECRET + "!")
    [record] = bench.recorded("refused")
    assert (record["code"], record["id"], record["to"]) == ("duplicate_id", "m1", "agni")
    assert SECRET not in f"{record}"


def test_a_failing_store_refuses_nothing() -> None:
    bench = hub()
    peer = bench.proven(identity("dc"))
    bench.failing = "disk full"
    peer.tell("agni", "m1")
    assert peer.errors() == ["unavailable"]
    assert bench.recorded("refused") == []


def test_a_flood_of_refusals_is_a_record_a_second_that_counts_them() -> None:
    bench = hub()
    peer = bench.proven(limited(send=()))
    for n in range(100):
        peer.send(*({"type": "STATUS", "to": "agni", "id": f"m{n}-{k}"} for k in range(10)))
    assert [each["count"] for each in bench.recorded("refused")] == [1]
    bench.advance(TOGETHER_MS)
    [record] = bench.recorded("refused")
    assert (record["count"], record["id"]) == (999, "m99-9")
    bench.advance(2 * TOGETHER_MS)
    assert bench.recorded("refused") == []
    peer.tell("agni", "again")
    assert [each["count"] for each in bench.recorded("refused")] == [1]


def test_kinds_and_sessions_are_counted_apart_and_an_end_leaves_nothing_out() -> None:
    bench = hub()
    one, two = bench.proven(limited(send=())), bench.proven(identity("varuna", send=()))
    for peer in (one, two):
        peer.tell("agni", "m1")
        peer.tell("agni", "m2")
        peer.tell("agni", "m3", headers={"auth": "x"})
    found = [(each["agent"], each["code"]) for each in bench.recorded("refused")]
    assert found == [
        ("dc", "forbidden"),
        ("dc", "bad_message"),
        ("varuna", "forbidden"),
        ("varuna", "bad_message"),
    ]
    one.drop()
    [last] = bench.recorded("refused")
    assert (last["agent"], last["count"], last["id"]) == ("dc", 1, "m2")


# --- who came and went ------------------------------------------------------------------------


def test_connections_are_recorded_when_they_register_and_when_they_end() -> None:
    bench = Bench(tokens={})
    dc = bench.proven(identity("dc", role="operator"))
    [came] = bench.recorded("connected")
    who = {"agent": "dc", "token": "t-dc", "role": "operator", "peer": "bench", "link": dc.link}
    assert came.items() >= (who | {"receive": True}).items()
    bench.advance(1_500)
    dc.drop()
    [went] = bench.recorded("disconnected")
    assert went.items() >= (who | {"why": "dropped", "lasted_ms": 1_500}).items()
    assert went["session"] == came["session"]


def test_the_hubs_own_reason_to_end_a_session_is_recorded() -> None:
    bench = Bench(HubSettings(leeway_ms=0), tokens={})
    bench.proven(identity("dc", expires_at=bench.now.wall + 1_000))
    bench.advance(1_000)
    [went] = bench.recorded("disconnected")
    assert (went["code"], went["agent"]) == (4401, "dc")
    assert "expired" in went["why"]


def test_on_a_hub_without_keys_records_name_the_agent_alone() -> None:
    bench = Bench()
    bench.agent("dc").drop()
    bench.peer().drop()
    assert [each["agent"] for each in bench.recorded("connected")] == ["dc"]
    assert ["agent" in each for each in bench.recorded("disconnected")] == [True, False]


def test_every_action_of_an_operator_is_recorded_with_its_arguments() -> None:
    bench = hub()
    boss = bench.proven(identity("boss", role="operator"))
    boss.ask("drop", agent="agni", seq=7)
    boss.ask("pause", agent="agni", reason="audit")
    boss.ask("revoke", token_id="t9")
    boss.ask("agents")
    done = [(each["op"], each["arguments"]) for each in bench.recorded("operator")]
    assert done == [
        ("drop", {"agent": "agni", "seq": 7}),
        ("pause", {"agent": "agni", "reason": "audit"}),
        ("revoke", {"token_id": "t9"}),
    ]


def test_a_renewal_is_recorded_by_token_ids() -> None:
    bench = Bench(tokens={SECRET: identity("dc", token="t2")})
    bench.proven(identity("dc", token="t1")).ask("renew", token=SECRET)
    [record] = bench.recorded("renewed")
    assert (record["before"], record["token"]) == ("t1", "t2")
    assert SECRET not in f"{bench.records} {record}"


def test_the_same_token_shown_again_is_no_renewal_to_record() -> None:
    # As an agent does each second whose token file nobody has replaced.
    bench = Bench(tokens={SECRET: identity("dc", token="t1")})
    dc = bench.proven(identity("dc", token="t1"))
    for _ in range(3):
        dc.ask("renew", token=SECRET)
    assert bench.recorded("renewed") == []
