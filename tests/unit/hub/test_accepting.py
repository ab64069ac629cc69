"""A hub that may accept nothing says why, and goes on with what it has."""

from __future__ import annotations

from tests.support.hub_bench import Bench

WHY = "the audit cannot be written"


def test_new_messages_are_refused_and_the_rest_goes_on() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    sender.take()
    bench.hub.accepting(WHY, bench.now)
    sender.tell("agni", "m2")
    [error] = sender.take()
    assert error["reply_to"] == "m2"
    assert error["payload"]["code"] == "unavailable"
    assert error["payload"]["retryable"]
    assert WHY in error["payload"]["message"]
    receiver.ack("done", mail["seq"])
    assert receiver.acks("settled") == [mail["seq"]]


def test_agents_hear_that_the_hub_is_not_ready_until_it_is() -> None:
    bench = Bench()
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    for why, ready in ((WHY, False), (None, None)):
        bench.hub.accepting(why, bench.now)
        sender.send({"type": "HEARTBEAT"})
        [beat] = sender.take()
        assert beat["payload"].get("ready") is ready
    sender.tell("agni", "m1")
    assert sender.acks("accepted") == ["m1"]
    assert [mail["id"] for mail in receiver.mail()] == ["m1"]
