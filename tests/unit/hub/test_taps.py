"""``tap``: live copies of what passes, for operators."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hub_bench import Bench, Json, Peer
from tests.support.identities import identity
from tests.unit.hub.test_nodes import Pair, agent, make_pair
from trishula_broker.hub import listening
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import Batch, Passed
from trishula_protocol.codec import MSGPACK


def copies(peer: Peer) -> list[Json]:
    """Take what a tap was told."""
    return [
        each["payload"] for each in peer.take() if each["type"] == "STATUS" and "seq" not in each
    ]


def told(peer: Peer) -> list[tuple[str, str]]:
    return [(each["tap"], each["envelope"]["id"]) for each in copies(peer)]


def cut_hints(pair: Pair, what: Callable[[], None]) -> None:
    """Do ``what`` while all hints to the first node get lost."""
    link = pair.one.store.link
    lost: list[int] = []
    link.carry = lost.append
    what()
    for number in lost:
        link.lose(number)
    link.carry = None
    link.arrive(link.last)


def test_a_tap_hears_what_is_accepted_and_what_is_settled() -> None:
    bench = Bench()
    operator, dc, agni = bench.agent("op"), bench.agent("dc"), bench.agent("agni")
    assert operator.ask("tap")["payload"] == {"on": True}
    dc.tell("agni", "m1", {"n": 1}, thread="t", priority=2)
    [mail] = agni.mail()
    agni.ack("done", mail["seq"])
    [accepted, settled] = operator.take()
    assert (accepted["type"], accepted["from"], "id" in accepted) == ("STATUS", "hub", False)
    assert accepted["payload"] == {
        "tap": "accepted",
        "node": "bench",
        "agents": ["agni"],
        "envelope": {
            "type": "STATUS",
            "id": "m1",
            "from": "dc",
            "to": "agni",
            "timestamp": bench.now.wall,
            "priority": 2,
            "thread": "t",
            "payload": {"n": 1},
            "seq": mail["seq"],
            "accepted_at": bench.now.wall,
        },
    }
    assert settled["payload"] == {
        "tap": "settled",
        "node": "bench",
        "agents": ["agni"],
        "outcome": "done",
        "envelope": {
            "type": "STATUS",
            "id": "m1",
            "from": "dc",
            "to": "agni",
            "thread": "t",
            "seq": mail["seq"],
            "accepted_at": bench.now.wall,
        },
    }


def test_a_tap_changes_nothing_for_those_it_listens_to() -> None:
    bench = Bench()
    operator, dc, agni = bench.agent("op"), bench.agent("dc"), bench.agent("agni")
    operator.ask("tap")
    dc.tell("agni", "m1")
    assert [each["id"] for each in agni.mail()] == ["m1"]
    assert dc.acks("accepted") == ["m1"]
    assert copies(operator)
    assert operator.ask("peek")["payload"]["count"] == 0


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, ["a", "b", "c", "d", "e"]),
        ({"from": "dc"}, ["a", "b", "d", "e"]),
        ({"to": "agni"}, ["a", "d", "e"]),
        ({"to": "#ops"}, ["d"]),
        ({"to": "@review"}, ["e"]),
        ({"type": "COMMAND"}, ["b"]),
        ({"thread": "t"}, ["c"]),
        ({"thread": "a"}, ["a"]),
        ({"from": "agni", "thread": "t", "to": "dc", "type": "STATUS"}, ["c"]),
        ({"from": "agni", "thread": "t", "to": "agni"}, []),
    ],
)
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_filters_narrow(wanted: Json, ids: list[str], where: str) -> None:
    one, two = make_pair()
    other = one if where == "here" else two
    operator = agent(one, "op")
    dc = agent(other, "dc")
    agni = agent(other, "agni", groups=["ops"], capabilities=["review"])
    agent(other, "zoe")
    operator.ask("tap", **wanted)
    dc.tell("agni", "a")
    dc.send({"type": "COMMAND", "to": "zoe", "id": "b", "payload": 1})
    agni.tell("dc", "c", thread="t")
    dc.tell("#ops", "d")
    dc.tell("@review", "e")
    assert [id_ for _, id_ in told(operator)] == ids


def test_a_second_tap_of_a_session_replaces_the_first_and_off_ends_it() -> None:
    bench = Bench()
    operator, dc = bench.agent("op"), bench.agent("dc")
    operator.ask("tap", **{"from": "op"})
    operator.ask("tap", **{"from": "dc"})
    operator.tell("dc", "m1")
    dc.tell("op", "m2")
    assert told(operator) == [("accepted", "m2")]
    assert operator.ask("tap", on=False)["payload"] == {"on": False}
    assert operator.ask("tap", on=False)["payload"] == {"on": False}
    dc.tell("op", "m3")
    assert told(operator) == []


def test_a_side_session_may_tap_and_its_tap_ends_with_it() -> None:
    bench = Bench()
    dc = bench.agent("dc")
    side = bench.agent("op", receive=False, ephemeral=True)
    side.ask("tap")
    dc.tell("dc", "m1")
    assert told(side) == [("accepted", "m1")]
    side.drop()
    dc.tell("dc", "m2")
    assert side.take() == []


def test_answers_that_settle_rejections_and_the_hubs_own_mail_pass_too() -> None:
    bench = Bench()
    operator, dc, agni = bench.agent("op"), bench.agent("dc"), bench.agent("agni")
    operator.ask("tap")
    dc.tell("agni", "m1")
    dc.tell("agni", "m2")
    [first, second] = agni.mail()
    answer = {"type": "RESULT", "to": "dc", "id": "r1", "reply_to": "m1"}
    agni.send({**answer, "settles": first["seq"]})
    agni.ack("rejected", second["seq"], reason="no")
    heard = copies(operator)
    assert [(each["tap"], each.get("outcome"), each["envelope"]["id"]) for each in heard[:5]] == [
        ("accepted", None, "m1"),
        ("accepted", None, "m2"),
        ("accepted", None, "r1"),
        ("settled", "done", "m1"),
        ("settled", "rejected", "m2"),
    ]
    notice = heard[5]["envelope"]
    assert (notice["from"], notice["to"], notice["reply_to"]) == ("hub", "dc", "m2")


def test_mail_that_waits_for_a_capability_is_told_with_its_pool() -> None:
    bench = Bench()
    operator = bench.agent("op")
    bench.agent("agni", capabilities=["review"]).drop()
    operator.ask("tap")
    operator.tell("@review", "m1")
    [heard] = copies(operator)
    assert (heard["agents"], heard["pool"]) == ([], "review")


def test_refusals_and_repetitions_do_not_pass() -> None:
    bench = Bench()
    operator = bench.agent("op")
    operator.ask("tap")
    operator.tell("nobody", "m1")
    operator.tell("op", "m2")
    operator.tell("op", "m2")
    assert told(operator) == [("accepted", "m2")]


def test_messagepack_sessions_hear_bytes_as_bytes() -> None:
    bench = Bench()
    dc = bench.agent("dc")
    operator = bench.peer(MSGPACK)
    payload = {"op": "register", "agent": "op"}
    operator.raw(
        msgspec.msgpack.encode({"type": "COMMAND", "to": "hub", "id": "r", "payload": payload})
    )
    operator.raw(
        msgspec.msgpack.encode(
            {"type": "COMMAND", "to": "hub", "id": "t", "payload": {"op": "tap"}}
        )
    )
    dc.tell("op", "m1", {"$base64": "AP8="})
    [heard] = copies(operator)
    assert heard["envelope"]["payload"] == b"\x00\xff"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"to": "#"}, "payload.to: group"),
        ({"to": "x" * 66}, "$.to"),
        ({"from": "@review"}, "$.from"),
        ({"type": "ACK"}, "$.type"),
        ({"thread": "no spaces"}, "$.thread"),
        ({"on": "yes"}, "$.on"),
    ],
)
def test_a_bad_filter_is_told_its_field(fields: Json, field: str) -> None:
    bench = Bench()
    answer = bench.agent("op").ask("tap", **fields)["payload"]
    assert answer["code"] == "bad_message"
    assert field in answer["message"]


# --- slow ones ---


def test_a_tapper_that_does_not_read_misses_copies_and_is_told_how_many() -> None:
    bench = Bench()
    operator, dc, agni = bench.agent("op"), bench.agent("dc"), bench.agent("agni")
    operator.ask("tap")
    bench.hub.writable(operator.link, False, bench.now)
    for n in range(5):
        dc.tell("agni", f"m{n}")
    assert len(agni.mail()) == 5
    bench.hub.writable(operator.link, True, bench.now)
    dc.tell("agni", "m5")
    missed, copy = copies(operator)
    assert missed == {"tap": "missed", "missed": 5}
    assert copy["envelope"]["id"] == "m5"


def test_what_was_missed_is_told_though_nothing_more_passes() -> None:
    bench = Bench()
    operator, dc = bench.agent("op"), bench.agent("dc")
    operator.ask("tap")
    bench.hub.writable(operator.link, False, bench.now)
    dc.tell("dc", "m1")
    bench.hub.writable(operator.link, True, bench.now)
    bench.run()
    assert copies(operator) == []
    bench.advance(1_000)
    assert copies(operator) == [{"tap": "missed", "missed": 1}]
    bench.advance(3_000)
    assert copies(operator) == []


@given(sizes=st.lists(st.integers(0, 3_000), max_size=30))
def test_a_burst_is_bounded_and_every_copy_told_or_counted(sizes: list[int]) -> None:
    bench = Bench(HubSettings(outgoing_bytes=4_096))
    operator, dc = bench.agent("op"), bench.agent("dc")
    bench.agent("agni").drop()
    operator.ask("tap")
    envelopes = [
        {"type": "STATUS", "to": "agni", "id": f"m{n}", "payload": "x" * size}
        for n, size in enumerate(sizes)
    ]
    if envelopes:
        dc.send(*envelopes)  # one commit: all of it at the same moment
    bench.advance(1_000)
    heard = copies(operator)
    ids = [each["envelope"]["id"] for each in heard if each["tap"] == "accepted"]
    missed = sum(each["missed"] for each in heard if each["tap"] == "missed")
    assert ids == [f"m{n}" for n in range(len(ids))]
    assert len(ids) + missed == len(sizes)
    told = sum(len(str(each)) for each in heard)
    assert told <= 4_096 + 3_000 + 1_000


# --- several nodes ---


def test_a_tap_hears_what_passes_at_other_nodes() -> None:
    one, two = make_pair()
    operator = agent(one, "op")
    operator.ask("tap")
    dc, agni = agent(two, "dc"), agent(two, "agni")
    dc.tell("agni", "m1")
    [mail] = agni.mail()
    agni.ack("done", mail["seq"])
    heard = copies(operator)
    assert [(each["tap"], each["node"], each["envelope"]["id"]) for each in heard] == [
        ("accepted", "n2", "m1"),
        ("settled", "n2", "m1"),
    ]


def test_a_tap_goes_on_for_as_long_as_it_is_there() -> None:
    pair = make_pair()
    operator, dc = agent(pair.one, "op"), agent(pair.two, "dc")
    operator.ask("tap")
    pair.advance(10_000)
    dc.tell("dc", "m1")
    assert told(operator) == [("accepted", "m1")]


def test_nothing_is_told_to_other_nodes_once_the_last_tap_has_ended() -> None:
    pair = make_pair()
    operator, dc = agent(pair.one, "op"), agent(pair.two, "dc")
    operator.ask("tap")
    operator.drop()
    before = pair.one.store.link.last
    dc.tell("dc", "m1")
    pair.advance(5_000)
    assert pair.one.store.link.last == before


def test_a_node_that_says_nothing_more_is_forgotten() -> None:
    pair = make_pair()
    operator, dc = agent(pair.one, "op"), agent(pair.two, "dc")
    operator.ask("tap")
    pair.one.hold_commits = True  # it is cut off
    pair.two.advance(4_000)
    before = pair.one.store.link.last
    dc.tell("dc", "m1")
    assert pair.one.store.link.last == before


def test_copies_that_got_lost_between_nodes_are_counted() -> None:
    pair = make_pair()
    operator, dc = agent(pair.one, "op"), agent(pair.two, "dc")
    operator.ask("tap")

    def send() -> None:
        for n in range(3):
            dc.tell("dc", f"m{n}")

    cut_hints(pair, send)
    assert copies(operator) == []
    pair.advance(3_000)
    assert copies(operator) == [{"tap": "missed", "missed": 3}]
    dc.tell("dc", "m3")
    assert told(operator) == [("accepted", "m3")]


def test_copies_that_could_not_be_told_are_counted() -> None:
    pair = make_pair()
    operator, dc = agent(pair.one, "op"), agent(pair.two, "dc")
    operator.ask("tap")
    pair.two.hold_commits = True
    dc.tell("dc", "m1")
    ops = pair.two.hub.ops_to_commit()
    [outcomes] = pair.two.store.apply(pair.two.now.wall, [Batch("default", ops)])
    pair.two.hub.committed(outcomes, pair.two.now)
    pair.two.failing = "no disk"  # what tells of it fails
    pair.two.hold_commits = False
    pair.two.run()
    pair.two.failing = None
    pair.advance(2_000)
    assert copies(operator) == [{"tap": "missed", "missed": 1}]


def test_more_than_fits_between_two_commits_is_counted() -> None:
    pair = make_pair()
    operator, dc = agent(pair.one, "op"), agent(pair.two, "dc")
    operator.ask("tap")
    count, size = 20, 50_000
    dc.send(
        *(
            {"type": "STATUS", "to": "dc", "id": f"m{n}", "payload": "x" * size}
            for n in range(count)
        )
    )
    pair.advance(2_000)
    heard = copies(operator)
    accepted = [each for each in heard if each["tap"] == "accepted"]
    missed = sum(each["missed"] for each in heard if each["tap"] == "missed")
    assert 0 < len(accepted) < count
    assert len(accepted) + missed == count


def test_a_node_that_was_restarted_is_heard_again_and_nothing_is_counted_twice() -> None:
    pair = make_pair()
    operator, dc = agent(pair.one, "op"), agent(pair.two, "dc")
    operator.ask("tap")
    for n in range(3):
        dc.tell("dc", f"m{n}")
    assert len(copies(operator)) == 3
    pair.two.restart()
    pair.advance(3_000)
    agent(pair.two, "dc").tell("dc", "m3")
    assert told(operator) == [("accepted", "m3")]


def test_who_begins_to_listen_anew_is_told_nothing_of_what_passed_before() -> None:
    pair = make_pair()
    operator, dc = agent(pair.one, "op"), agent(pair.two, "dc")
    operator.ask("tap")
    dc.tell("dc", "m1")
    operator.ask("tap", on=False)
    operator.take()
    dc.tell("dc", "m2")
    operator.ask("tap")
    dc.tell("dc", "m3")
    assert told(operator) == [("accepted", "m3")]
    pair.advance(2_000)
    assert copies(operator) == []


# --- rights ---


def test_a_tap_ends_when_a_new_token_does_not_allow_it() -> None:
    bench = Bench(tokens={})
    bench.tokens["observer"] = identity("eye", role="observer")
    bench.tokens["agent"] = identity("eye")
    eye = bench.proven(identity("eye", role="observer"), receive=False, ephemeral=True)
    dc = bench.proven(identity("dc"))
    eye.ask("tap")
    eye.ask("renew", token="observer")
    dc.tell("dc", "m1")
    assert told(eye) == [("accepted", "m1")]
    eye.ask("renew", token="agent")
    dc.tell("dc", "m2")
    assert told(eye) == []
    assert eye.ask("tap")["payload"]["code"] == "forbidden"


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 700)), min_size=1, max_size=20),
)
def test_a_paced_tap_hears_so_many_a_second_and_every_other_is_counted(
    most: int, bursts: list[tuple[int, int]]
) -> None:
    bench = Bench()
    dc = bench.agent("dc")
    operators = [bench.agent("op1"), bench.agent("op2")]
    everything = bench.agent("op3")
    for operator in operators:
        assert operator.ask("tap", most=most, type="STATUS")["payload"] == {"on": True}
    everything.ask("tap", type="STATUS")
    heard: list[list[tuple[int, str]]] = [[], []]
    missed = [0, 0]
    sent = 0

    def look() -> None:
        for n, operator in enumerate(operators):
            for copy in copies(operator):
                if copy["tap"] == "missed":
                    missed[n] += copy["missed"]
                else:
                    heard[n].append((bench.now.mono, copy["envelope"]["id"]))

    for count, pause in bursts:
        for _ in range(count):
            dc.tell("op3", f"m{sent}")
            sent += 1
        look()
        bench.advance(pause)
        look()
    bench.advance(2_000)
    look()
    assert heard[0] == heard[1]
    assert missed[0] == missed[1] == sent - len(heard[0])
    assert [copy["tap"] for copy in copies(everything)].count("accepted") == sent
    for at, _ in heard[0]:
        assert sum(at <= each < at + 1_000 for each, _ in heard[0]) <= most * 2


def test_what_many_listen_to_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    dc, operators = bench.agent("dc"), [bench.agent(f"op{n}") for n in range(20)]
    for operator in operators:
        operator.ask("tap")
    described: list[Passed] = []

    def counted(passed: Passed, node: str) -> Json:
        described.append(passed)
        return describe(passed, node)

    describe = listening._describe
    monkeypatch.setattr(listening, "_describe", counted)
    dc.tell("op1", "m1")
    assert [told(operator) for operator in operators] == [[("accepted", "m1")]] * 20
    assert len(described) == 1


def test_who_has_left_is_not_told_and_the_others_are() -> None:
    bench = Bench()
    dc, one, two = bench.agent("dc"), bench.agent("op1"), bench.agent("op2")
    for operator in (one, two):
        operator.ask("tap", most=1_000)
    one.ask("tap", on=False)
    dc.tell("dc", "m1")
    assert told(one) == []
    assert told(two) == [("accepted", "m1")]
