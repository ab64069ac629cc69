"""Hubs that share a store: what one does for agents of another, and who may act."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.support.hub_bench import Bench, Peer
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore

HOUR_MS = 3_600_000


class Pair(NamedTuple):
    """Two hubs, each with its peers, over one store."""

    one: Bench
    two: Bench

    def advance(self, ms: int) -> None:
        """Let time pass for both, a little at a time."""
        for _ in range(ms // 100):
            for bench in self:
                bench.advance(100)


def make_pair() -> Pair:
    store = MemoryStore()
    pair = Pair(
        Bench(store=store.node("n1"), node="n1"),
        Bench(store=store.node("n2"), node="n2", role="failover"),
    )
    pair.advance(2_500)
    return pair


def agent(bench: Bench, name: str, **fields: Any) -> Peer:
    """A registered agent that says nothing for a minute."""
    return bench.agent(name, heartbeat_ms=60_000, **fields)


def ids(peer: Peer) -> list[str]:
    return [mail["id"] for mail in peer.mail()]


def receipts(peer: Peer) -> list[tuple[str, list[str], str]]:
    return [
        (each["payload"]["stage"], each["payload"]["ids"], each["payload"]["by"])
        for each in peer.take()
        if each["type"] == "ACK" and "by" in each["payload"]
    ]


def alive(bench: Bench) -> dict[str, bool]:
    nodes = agent(bench, "looker").ask("nodes")["payload"]["nodes"]
    return {each["node"]: each["alive"] for each in nodes}


@pytest.mark.parametrize("agents", [0, 1])
def test_a_hub_that_has_drained_is_not_taken_for_alive(agents: int) -> None:
    one, two = make_pair()
    assert alive(two) == {"n1": True, "n2": True}
    for n in range(agents):
        agent(one, f"a{n}")
    stranger = one.peer()
    one.hub.drain(one.now)
    one.run()
    assert stranger.close_code() == 1012
    assert one.hub.drained
    assert alive(two) == {"n1": False, "n2": True}
    one.advance(3_000)  # and says nothing more
    assert alive(two) == {"n1": False, "n2": True}


# --- mail -------------------------------------------------------------------------------------


def test_mail_crosses_and_its_sender_hears_what_became_of_it() -> None:
    one, two = make_pair()
    sender, receiver = agent(one, "dc"), agent(two, "agni")
    sender.tell("agni", "m1", receipt=True)
    [mail] = receiver.mail()
    receiver.ack("read", mail["seq"])
    receiver.ack("done", mail["seq"])
    assert receipts(sender) == [
        ("delivered", ["m1"], "agni"),
        ("read", ["m1"], "agni"),
        ("done", ["m1"], "agni"),
    ]


def test_mail_for_a_capability_that_waited_goes_where_somebody_offers_it() -> None:
    one, two = make_pair()
    sender = agent(one, "dc")
    agent(two, "agni", capabilities=["review"]).drop()
    sender.tell("@review", "m1")
    assert ids(agent(two, "agni", capabilities=["review"])) == ["m1"]


def test_the_hubs_own_mail_crosses() -> None:
    one, two = make_pair()
    sender, receiver = agent(one, "dc"), agent(two, "agni")
    sender.tell("agni", "m1")
    [mail] = receiver.mail()
    sender.take()
    receiver.ack("rejected", mail["seq"], reason="no")
    [notice] = sender.mail()
    assert (notice["reply_to"], notice["payload"]["code"]) == ("m1", "undeliverable")


@pytest.mark.parametrize(("ms", "code"), [(3_000, None), (9_000, 1012)])
def test_who_gave_up_a_hub_that_stood_still_is_not_taken_over_by_it(
    ms: int, code: int | None
) -> None:
    one, two = make_pair()
    early = one.peer()
    one.hold_commits = True
    one.jump(one.now.mono + ms)
    two.advance(ms)
    elsewhere = agent(two, "agni")
    one.hub.timeout(one.now)
    register = {"op": "register", "agent": "agni", "heartbeat_ms": 60_000}
    command = {"type": "COMMAND", "to": "hub", "id": "r", "payload": register}
    early.send(command)  # it was in the socket
    one.hold_commits = False
    one.run()
    for bench in (one, two):
        bench.advance(1_000)
    assert early.close_code() == code
    assert elsewhere.close_code() == (None if code else 4409)
    late = one.peer()
    late.send(command)  # once the store has answered, who speaks is there
    assert late.close_code() is None
    assert [each["type"] for each in late.take() if each.get("reply_to") == "r"] == ["RESULT"]


def test_what_is_recalled_elsewhere_is_not_delivered() -> None:
    one, two = make_pair()
    sender, receiver = agent(one, "dc"), agent(two, "agni", prefetch=1)
    for name in ("m1", "m2", "m3"):
        sender.tell("agni", name)
    [first] = receiver.mail()
    assert sender.ask("recall", id="m2")["payload"]["recalled"] == ["agni"]
    assert receiver.errors() == []  # it was never there
    receiver.ack("done", first["seq"])
    assert ids(receiver) == ["m3"]
    assert sender.ask("recall", id="m3")["payload"]["recalled"] == ["agni"]
    assert receiver.errors() == ["stale_ack"]


def test_what_is_recalled_while_it_is_being_fetched_is_not_delivered() -> None:
    one, two = make_pair()
    sender = agent(one, "dc")
    agent(two, "agni").drop()
    sender.tell("agni", "m1")
    two.hold_commits = True
    receiver = two.peer()
    payload = {"op": "register", "agent": "agni"}
    receiver.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": payload})
    for _ in range(2):  # the registration, then the fetch, whose answer is on its way
        ops = two.hub.ops_to_commit()
        [outcomes] = two.store.apply(two.now.wall, [base.Batch("default", ops)])
        if any(isinstance(op, base.Fetch) for op in ops):
            sender.ask("recall", id="m1")
        two.hub.committed(outcomes, two.now)
        two.run()
    two.hold_commits = False
    two.run()
    assert ids(receiver) == []


def test_hints_that_were_lost_are_made_up_for() -> None:
    one, two = make_pair()
    sender, receiver = agent(one, "dc"), agent(two, "agni")
    link = two.store.link
    lost: list[int] = []
    link.carry = lost.append
    sender.tell("agni", "m1")
    for number in lost:
        link.lose(number)
    assert ids(receiver) == []
    link.arrive(lost[-1])
    assert ids(receiver) == ["m1"]


def test_a_takeover_that_was_not_heard_of_is_found_when_hints_were_lost() -> None:
    one, two = make_pair()
    sender, older = agent(one, "dc"), agent(two, "agni", prefetch=1)
    sender.tell("agni", "m1")
    link = two.store.link
    lost: list[int] = []
    link.carry = lost.append
    agent(one, "agni")
    for number in lost:
        link.lose(number)
    link.arrive(lost[-1])
    two.advance(300)
    assert older.close_code() == 4409


def test_mail_does_not_overtake_what_its_sender_sent_here_before() -> None:
    one, two = make_pair()
    receiver, sender = agent(two, "agni"), agent(two, "dc")
    two.hold_commits = True
    sender.tell("agni", "m1")
    ops = two.hub.ops_to_commit()
    [outcomes] = two.store.apply(two.now.wall, [base.Batch("default", ops)])
    agent(one, "dc").tell("agni", "m2")
    assert ids(receiver) == []
    two.hub.committed(outcomes, two.now)
    two.run()
    assert ids(receiver) == ["m1", "m2"]


def test_expired_mail_is_swept_where_its_recipient_is() -> None:
    pair = make_pair()
    sender, receiver = agent(pair.one, "dc"), agent(pair.two, "agni", prefetch=1)
    sender.tell("agni", "m1")
    sender.tell("agni", "m2", ttl=500)
    pair.advance(2_000)
    assert [notice["reply_to"] for notice in sender.mail()] == ["m2"]
    [mail] = receiver.mail()
    receiver.ack("done", mail["seq"])
    assert ids(receiver) == []


def test_a_hub_goes_by_the_clock_of_the_store() -> None:
    pair = make_pair()
    sender, receiver = agent(pair.one, "dc"), agent(pair.two, "agni")
    store, shifted = pair.two.store.apply, 0
    pair.two.store.apply = lambda now, batches: store(now - shifted, batches)  # type: ignore[method-assign]
    shifted = HOUR_MS
    pair.two.now = pair.two.now._replace(wall=pair.two.now.wall + HOUR_MS)
    sender.tell("agni", "m1", ttl=60_000)
    [mail] = receiver.mail()
    assert 59_000 < mail["expires_in"] <= 60_000
    pair.advance(3_000)
    assert [note.event for note in pair.two.notes].count("clock_apart") == 1


# --- sessions ---------------------------------------------------------------------------------


def test_who_registers_at_another_hub_is_fenced_here_within_a_second() -> None:
    one, two = make_pair()
    older = agent(one, "agni")
    agent(two, "dc").tell("agni", "m1")
    [mail] = older.mail()
    newer = agent(two, "agni")
    assert ids(newer) == ["m1"]
    older.ack("done", mail["seq"])
    assert older.errors() == ["stale_ack"]
    older.tell("dc", "m2")
    assert older.acks("accepted") == []
    one.advance(500)
    assert older.close_code() == 4409
    assert newer.ask("peek")["payload"]["count"] == 1


def test_who_was_taken_over_by_a_registration_nobody_waits_for_comes_back() -> None:
    one, two = make_pair()
    older = agent(one, "agni")
    two.hold_commits = True
    gone = two.peer()
    payload = {"op": "register", "agent": "agni"}
    gone.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": payload})
    gone.drop()
    two.hold_commits = False
    two.run()
    one.advance(500)
    assert older.close_code() == 1012


def test_watchers_hear_of_agents_elsewhere() -> None:
    one, two = make_pair()
    watcher = agent(one, "watcher")
    watcher.ask("watch")
    peer = agent(two, "agni")
    peer.ask("status", text="busy")
    peer.drop()
    heard = [each["payload"] for each in watcher.take()]
    assert [(each["event"], each.get("online"), each.get("node")) for each in heard] == [
        ("presence", True, "n2"),
        ("status", None, None),
        ("presence", False, "n2"),
    ]


def test_nothing_is_told_when_nobody_is_there_to_hear() -> None:
    bench = Bench()
    told: list[base.Operation] = []
    apply = bench.store.apply

    def spy(now: int, batches: Any) -> Any:
        told.extend(op for batch in batches for op in batch.ops if isinstance(op, base.Tell))
        return apply(now, batches)

    bench.store.apply = spy  # type: ignore[method-assign]
    sender, receiver = bench.agent("dc"), bench.agent("agni")
    sender.tell("agni", "m1", receipt=True)
    receiver.ack("done", receiver.mail()[0]["seq"])
    sender.drop()
    assert told == []


# --- nodes ------------------------------------------------------------------------------------


def test_a_dead_hubs_agents_are_offline_and_watchers_hear_it() -> None:
    pair = make_pair()
    watcher = agent(pair.one, "watcher")
    agent(pair.two, "agni")
    watcher.ask("watch")
    watcher.take()
    pair.one.advance(4_000)
    assert watcher.take() == []
    pair.one.advance(3_000)
    assert [each["payload"]["online"] for each in watcher.take()] == [False]
    [record] = watcher.ask("agents", online=False)["payload"]["agents"]
    assert record["id"] == "agni"


def test_a_hub_that_was_given_up_closes_its_sessions_with_1012_when_it_wakes_up() -> None:
    pair = make_pair()
    peer = agent(pair.two, "agni")
    pair.one.advance(7_000)
    pair.two.jump(pair.two.now.mono + 7_000)
    pair.two.hub.timeout(pair.two.now)
    pair.two.run()
    assert peer.close_code() == 1012


def test_what_a_given_up_hub_still_says_is_fenced_and_its_agents_come_back() -> None:
    pair = make_pair()
    agent(pair.one, "dc")
    peer = agent(pair.two, "agni")
    pair.one.advance(7_000)
    peer.tell("dc", "m1")
    assert peer.acks("accepted") == []
    assert peer.close_code() == 1012


def test_a_hub_that_stood_still_hands_out_nothing_before_a_beat_was_answered() -> None:
    pair = make_pair()
    sender, receiver = agent(pair.one, "dc"), agent(pair.two, "agni")
    pair.two.jump(pair.two.now.mono + 3_000)
    pair.two.hold_commits = True
    pair.two.hub.timeout(pair.two.now)
    sender.tell("agni", "m1")
    assert ids(receiver) == []
    newcomer = pair.two.peer()
    payload = {"op": "register", "agent": "indra"}
    newcomer.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": payload})
    ops = pair.two.hub.ops_to_commit()
    assert not [op for op in ops if isinstance(op, base.Register)]
    [outcomes] = pair.two.store.apply(pair.two.now.wall, [base.Batch("default", ops)])
    pair.two.hub.committed(outcomes, pair.two.now)
    pair.two.hold_commits = False
    pair.two.run()
    assert ids(receiver) == ["m1"]
    assert [each["type"] for each in newcomer.take()] == ["RESULT"]


def test_a_commit_begun_before_the_standstill_says_nothing_about_now() -> None:
    pair = make_pair()
    sender, receiver = agent(pair.one, "dc"), agent(pair.two, "agni")
    two = pair.two
    two.hold_commits = True
    two.advance(1_000)
    ops = two.hub.ops_to_commit()
    assert [op for op in ops if isinstance(op, base.Beat)]
    [outcomes] = two.store.apply(two.now.wall, [base.Batch("default", ops)])
    two.jump(two.now.mono + 3_000)
    two.hub.timeout(two.now)
    two.hub.committed(outcomes, two.now)
    two.run()
    sender.tell("agni", "m1")
    assert ids(receiver) == []
    two.hold_commits = False
    two.run()
    assert ids(receiver) == ["m1"]


def test_sessions_stay_up_while_the_store_is_away_however_long() -> None:
    pair = make_pair()
    sender, receiver = agent(pair.one, "dc"), agent(pair.two, "agni")
    for bench in pair:
        bench.failing = "cut off"
    pair.advance(30_000)
    sender.tell("agni", "m1")
    assert sender.errors() == ["unavailable"]
    newcomer = pair.one.peer()
    newcomer.send(
        {"type": "COMMAND", "to": "hub", "id": "r", "payload": {"op": "register", "agent": "x"}}
    )
    pair.advance(300)
    assert newcomer.errors() == ["unavailable"]
    for bench in pair:
        bench.failing = None
    pair.advance(2_000)
    sender.tell("agni", "m1")
    assert ids(receiver) == ["m1"]
    assert (sender.close_code(), receiver.close_code()) == (None, None)


def test_a_hub_that_cannot_reach_its_store_says_so_with_its_heartbeats() -> None:
    one, _ = make_pair()
    peer = agent(one, "dc")

    def ready() -> bool:
        peer.take()
        peer.send({"type": "HEARTBEAT"})
        [beat] = peer.take()
        return bool(beat["payload"].get("ready", True))

    assert ready()
    one.failing = "no Redis"
    one.advance(3_000)
    assert ready()  # nobody has given it up by now
    one.advance(3_000)
    assert not ready()
    one.failing = None
    one.advance(1_000)
    assert ready()


# --- the lease --------------------------------------------------------------------------------


def leads(pair: Pair) -> list[bool]:
    return [bench.hub.describe(bench.now)["lead"] > 0 for bench in pair]


def test_the_primary_leads_and_everybody_knows() -> None:
    pair = make_pair()
    assert leads(pair) == [True, False]
    assert [bench.hub.describe(bench.now)["leader"] for bench in pair] == ["n1", "n1"]


def test_who_stood_still_does_not_say_that_it_leads() -> None:
    one, two = pair = make_pair()
    two.advance(6_000)
    one.jump(one.now.mono + 6_000)
    told = one.hub.describe(one.now)
    assert (told["leader"], told["lead"]) == ("", 0)
    pair.advance(1_000)  # its beat is answered: a primary takes the lease back
    assert leads(pair) == [True, False]


def test_who_drains_gives_the_lease_back_at_once() -> None:
    pair = make_pair()
    pair.one.hub.drain(pair.one.now)
    pair.one.advance(0)
    pair.two.advance(1_000)
    assert leads(pair) == [False, True]
    pair.one.advance(3_000)
    assert leads(pair) == [False, True]
    assert "lead_lost" not in [note.event for note in pair.one.notes]  # it gave it


def test_only_the_leader_reaps_ghosts_and_the_next_one_goes_on() -> None:
    pair = make_pair()
    watcher = agent(pair.two, "watcher")
    agent(pair.two, "eph", ephemeral=True).drop()
    pair.two.advance(6_000)  # alone: it leads
    assert leads(pair)[1]
    watcher.ask("watch")
    watcher.take()
    pair.two.advance(40_000)
    watcher.send({"type": "HEARTBEAT"})
    watcher.take()
    pair.two.advance(20_000)
    assert [each["payload"]["event"] for each in watcher.take()] == ["forgotten"]


def test_a_leader_that_was_deposed_sweeps_for_itself_alone() -> None:
    pair = make_pair()
    two = pair.two
    two.advance(6_000)
    assert leads(pair) == [True, True]  # the first one stands still and does not know
    swept: list[base.Sweep] = []
    apply = pair.one.store.apply

    def spy(now: int, batches: Any) -> Any:
        swept.extend(op for batch in batches for op in batch.ops if isinstance(op, base.Sweep))
        return apply(now, batches)

    pair.one.store.apply = spy  # type: ignore[method-assign]
    pair.one._role = "failover"
    pair.one.hub._membership._role = "failover"
    pair.one.jump(two.now.mono)
    pair.one.hub.timeout(pair.one.now)
    pair.one.run()
    assert leads(pair) == [False, True]
    assert swept[-1].lead == 0
    pair.advance(2_000)
    told = [note.event for note in pair.one.notes if note.event in ("leading", "lead_lost")]
    assert told == ["leading", "lead_lost"]


def test_two_hubs_of_one_name_are_told_of_each_other() -> None:
    store = MemoryStore()
    one = Bench(store=store.node("n1"), node="n1")
    one.advance(1_500)
    peer = agent(one, "agni")
    beat = base.Beat("n1", "another", "primary", "", 5_000)
    one.store.apply(one.now.wall, [base.Batch("default", [beat])])
    one.advance(1_000)
    assert peer.close_code() == 1012
    [note] = [note for note in one.notes if note.event == "node_name_taken"]
    assert note.fields["node"] == "n1"


def test_a_hub_that_was_given_up_says_so() -> None:
    pair = make_pair()
    agent(pair.two, "agni")
    pair.one.advance(7_000)
    pair.two.jump(pair.two.now.mono + 7_000)
    pair.two.hub.timeout(pair.two.now)
    pair.two.run()
    told = [note for note in pair.two.notes if note.event in ("given_up", "node_name_taken")]
    assert [(note.event, note.fields["sessions"]) for note in told] == [("given_up", 1)]


def test_anybody_may_ask_which_hubs_there_are() -> None:
    pair = make_pair()
    peer = agent(pair.two, "agni")
    pair.one.advance(7_000)
    answer = agent(pair.one, "dc").ask("nodes")["payload"]
    assert answer["node"] == "n1"
    shown = [
        {key: each[key] for key in ("node", "role", "alive", "leads", "agents")}
        for each in answer["nodes"]
    ]
    assert shown == [
        {"node": "n1", "role": "primary", "alive": True, "leads": True, "agents": 1},
        {"node": "n2", "role": "failover", "alive": False, "leads": False, "agents": 0},
    ]
    assert answer["nodes"][0]["beat_at"] > answer["nodes"][1]["beat_at"]
    assert answer["nodes"][0]["address"] == "ws://bench"
    assert peer.close_code() is None  # its hub does not know yet


def test_a_hub_restarted_under_its_name_begins_anew() -> None:
    pair = make_pair()
    agent(pair.two, "agni")
    pair.two.restart()
    other = agent(pair.one, "dc")
    [record] = other.ask("agents", online=False)["payload"]["agents"]
    assert record["id"] == "agni"
