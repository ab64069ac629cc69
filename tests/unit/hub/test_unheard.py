"""Commits that were applied although the store said it failed: nobody knows, and all goes on."""

from __future__ import annotations

from tests.support.hub_bench import Bench, Peer
from trishula_broker.store import base


def ids(peer: Peer) -> list[str]:
    return [mail["id"] for mail in peer.mail()]


def pass_minutes(bench: Bench, minutes: int, *alive: Peer) -> None:
    for _ in range(2 * minutes):
        bench.advance(30_000)
        for peer in alive:
            peer.send({"type": "HEARTBEAT"})


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
