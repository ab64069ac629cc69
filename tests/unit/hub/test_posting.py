"""The hub's own mail to operators."""

from __future__ import annotations

from tests.support.hub_bench import Bench
from tests.unit.hub.test_nodes import agent, ids, make_pair
from trishula_broker.hub.now import Now
from trishula_protocol.address import parse_address


def post(bench: Bench, to: str, id_: str = "alert.1") -> list[str | None]:
    said: list[str | None] = []

    def then(why: str | None, now: Now) -> None:
        said.append(why)

    bench.hub.post(parse_address(to), id_, {"alert": "x"}, then, bench.now)
    bench.run()
    return said


def test_it_is_mail_like_any_other_from_the_hub() -> None:
    bench = Bench()
    ops = bench.agent("ops")
    assert post(bench, "ops") == [None]
    [mail] = ops.mail()
    assert (mail["from"], mail["type"], mail["id"], mail["payload"]) == (
        "hub",
        "STATUS",
        "alert.1",
        {"alert": "x"},
    )
    ops.ack("done", mail["seq"])
    assert ops.acks("settled") == [mail["seq"]]


def test_under_the_same_id_it_is_one_message() -> None:
    bench = Bench()
    ops = bench.agent("ops")
    assert post(bench, "ops") + post(bench, "ops") == [None, None]
    assert ids(ops) == ["alert.1"]


def test_a_group_gets_it_and_so_does_who_is_away_or_elsewhere() -> None:
    pair = make_pair()
    one, other = pair
    here, there = agent(one, "a", groups=["ops"]), agent(other, "b", groups=["ops"])
    agent(one, "c", groups=["ops"]).drop()
    assert post(one, "#ops") == [None]
    pair.advance(1_000)
    assert [ids(here), ids(there), ids(agent(one, "c"))] == [["alert.1"]] * 3


def test_who_is_not_known_is_said() -> None:
    bench = Bench()
    assert post(bench, "nobody") == ["unknown_recipient: nobody"]
    assert post(bench, "#none", "alert.2") == ["unknown_recipient: #none"]


def test_a_recipient_that_rejects_it_causes_no_other() -> None:
    bench = Bench()
    ops = bench.agent("ops")
    post(bench, "ops")
    ops.ack("rejected", ops.mail()[0]["seq"], reason="no")
    bench.advance(2_000)
    assert ops.mail() == []
