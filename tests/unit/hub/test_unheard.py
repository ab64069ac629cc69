"""Commits that were applied although the store said it failed: nobody knows, and all goes on."""

from __future__ import annotations

from tests.support.hub_bench import Bench, Peer
from trishula_broker.store import base


def ids(peer: Peer) -> list[str]:
    return [mail["id"] for mail in peer.mail()]


def test_a_deregistration_is_answered_all_the_same() -> None:
    bench = Bench()
    watcher, dc = bench.agent("watcher"), bench.agent("dc")
    watcher.ask("watch")
    watcher.take()
    bench.unheard = {base.Forget}
    dc.send({"type": "COMMAND", "to": "hub", "id": "q", "payload": {"op": "deregister"}})
    bench.advance(1_000)
    assert [(each["type"], each["reply_to"]) for each in dc.take()] == [("RESULT", "q")]
    assert dc.close_code() == 1001
    assert [news["payload"]["event"] for news in watcher.take()] == ["forgotten"]


def test_watchers_hear_of_a_leaving() -> None:
    bench = Bench()
    watcher, dc = bench.agent("watcher"), bench.agent("dc")
    watcher.ask("watch")
    watcher.take()
    bench.unheard = {base.Leave}
    dc.drop()
    bench.advance(1_000)
    assert [news["payload"]["online"] for news in watcher.take()] == [False]


def test_nobody_is_online_by_a_registration_that_was_never_answered() -> None:
    bench = Bench()
    sender = bench.agent("sender", heartbeat_ms=60_000)
    worker = bench.peer()
    bench.unheard = {base.Register}
    refused = worker.ask("register", agent="a", capabilities=["review"])
    assert refused["payload"]["code"] == "unavailable"
    worker.drop()
    bench.advance(1_000)
    other = bench.agent("b", capabilities=["review"])
    sender.tell("@review", "m1")
    assert ids(other) == ["m1"]
    assert [each["id"] for each in sender.ask("agents", online=False)["payload"]["agents"]] == ["a"]


def test_a_registration_tried_again_is_the_one_that_counts() -> None:
    bench = Bench()
    sender = bench.agent("sender")
    worker = bench.peer()
    bench.unheard = {base.Register}
    worker.ask("register", agent="a")
    sender.tell("a", "m1")
    worker.register("a")
    bench.advance(1_000)
    assert ids(worker) == ["m1"]
    assert worker.close_code() is None


def test_whom_a_lost_registration_replaced_is_told_to_come_back() -> None:
    bench = Bench()
    older, newer = bench.agent("a"), bench.peer()
    bench.unheard = {base.Register}
    newer.ask("register", agent="a")
    newer.drop()
    bench.advance(1_000)
    assert older.close_code() == 1012


def test_mail_that_went_back_to_its_pool_moves_on() -> None:
    bench = Bench()
    sender = bench.agent("sender", heartbeat_ms=60_000)
    gone = bench.agent("a", capabilities=["review"], lease_ms=1_000)
    other = bench.agent("b", capabilities=["review"], heartbeat_ms=60_000)
    sender.tell("@review", "m1")
    assert ids(gone) == ["m1"]
    gone.drop()
    bench.unheard = {base.Unassign}
    bench.advance(5_000)
    assert ids(other) == ["m1"]
