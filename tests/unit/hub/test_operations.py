"""What agents can ask of the hub."""

from __future__ import annotations

from tests.support.hub_bench import Bench, Json, Peer


def test_an_unknown_operation_is_told_what_there_is() -> None:
    bench = Bench()
    peer = bench.agent("dc")
    answer = peer.ask("fly")
    assert answer["payload"]["code"] == "unknown_op"
    assert "peek" in answer["payload"]["message"]
    assert peer.ask("peek", limit=0)["payload"]["code"] == "bad_message"
    assert peer.ask("register", agent="dc")["payload"]["code"] == "bad_message"


def test_agents_by_capability_group_and_presence() -> None:
    bench = Bench()
    peer = bench.agent("dc", capabilities=["python"], groups=["ops"])
    bench.agent("agni", capabilities=["python", "review"]).drop()
    everyone = peer.ask("agents")["payload"]["agents"]
    assert [each["id"] for each in everyone] == ["agni", "dc"]
    assert [each["online"] for each in everyone] == [False, True]
    named = peer.ask("agents", capability="review")["payload"]["agents"]
    assert [each["id"] for each in named] == ["agni"]
    assert [e["id"] for e in peer.ask("agents", group="ops")["payload"]["agents"]] == ["dc"]
    assert [e["id"] for e in peer.ask("agents", online=False)["payload"]["agents"]] == ["agni"]


def test_many_agents_come_in_pages_that_fit_a_frame() -> None:
    bench = Bench()
    for n in range(400):
        peer = bench.agent(f"agent-{n:03}")
        peer.ask("status", text="x", details="y" * 4_000)
        peer.drop()
    peer = bench.agent("zz")
    names: list[str] = []
    pages: list[Json] = [{"next": ""}]
    while pages[-1]["next"] is not None:
        pages.append(peer.ask("agents", after=pages[-1]["next"])["payload"])
        names += [each["id"] for each in pages[-1]["agents"]]
    assert names == [f"agent-{n:03}" for n in range(400)] + ["zz"]
    assert len(pages[1:]) == 2


def test_capabilities_and_groups_are_kept_when_left_out() -> None:
    bench = Bench()
    bench.agent("dc", capabilities=["python"], groups=["ops"]).drop()
    bench.agent("dc").drop()
    peer = bench.agent("dc", capabilities=[])
    [dc] = peer.ask("agents")["payload"]["agents"]
    assert (dc["capabilities"], dc["groups"]) == ([], ["ops"])


def test_status_without_to_is_the_status_operation_and_watchers_hear_it() -> None:
    bench = Bench()
    watcher = bench.agent("watcher")
    assert watcher.ask("watch")["type"] == "RESULT"
    peer = bench.agent("dc")
    peer.send({"type": "STATUS", "id": "s1", "payload": {"text": "busy", "details": {"n": 1}}})
    heard = [each["payload"] for each in watcher.take()]
    assert [(each["event"], each["agent"]) for each in heard] == [
        ("presence", "dc"),
        ("status", "dc"),
    ]
    assert heard[1]["status"] == {"text": "busy", "details": {"n": 1}}
    peer.drop()
    [gone] = watcher.take()
    assert gone["payload"]["online"] is False
    watcher.ask("watch", on=False)
    bench.agent("dc")
    assert watcher.take() == []


def test_join_and_leave_a_group() -> None:
    bench = Bench()
    peer, other = bench.agent("dc"), bench.agent("agni")
    assert other.ask("join", group="ops")["payload"] == {"groups": ["ops"]}
    peer.tell("#ops", "m1")
    assert [mail["id"] for mail in other.mail()] == ["m1"]
    assert other.ask("leave", group="ops")["payload"] == {"groups": []}
    peer.tell("#ops", "m2")
    assert peer.errors() == ["unknown_recipient"]


def test_peek_settles_nothing() -> None:
    bench = Bench()
    peer = bench.agent("dc", prefetch=1)
    for n in range(3):
        peer.tell("dc", f"m{n}", "x", priority=n + 1)
    peer.take()
    payload = peer.ask("peek")["payload"]
    assert payload["count"] == 3
    assert payload["by_priority"] == {"1": 1, "2": 1, "3": 1, "4": 0, "5": 0}
    assert [head["id"] for head in payload["heads"]] == ["m0", "m1", "m2"]
    assert "payload" not in payload["heads"][0]


def test_history_of_a_thread_and_of_ones_own_mail() -> None:
    bench = Bench()
    dc, agni, stranger = bench.agent("dc"), bench.agent("agni"), bench.agent("stranger")
    dc.send({"type": "COMMAND", "to": "agni", "id": "c1", "payload": 1})
    seq = agni.mail()[0]["seq"]
    agni.send({"type": "RESULT", "to": "dc", "id": "r1", "reply_to": "c1", "settles": seq})
    dc.tell("stranger", "m2")
    thread = dc.ask("history", thread="c1")["payload"]
    assert [each["id"] for each in thread["messages"]] == ["c1", "r1"]
    assert stranger.ask("history", thread="c1")["payload"]["messages"] == []
    page = dc.ask("history", limit=2)["payload"]
    assert [each["id"] for each in page["messages"]] == ["c1", "r1"]
    rest = dc.ask("history", limit=2, after=page["next"])["payload"]
    assert [each["id"] for each in rest["messages"]] == ["m2"]
    assert rest["next"] is None


def test_trace_tells_where_a_message_is_and_what_it_waits_for() -> None:
    bench = Bench()
    dc, agni = bench.agent("dc", heartbeat_ms=60_000), bench.agent("agni")
    agni.drop()
    dc.tell("agni", "m1")

    def copy() -> dict[str, object]:
        [message] = dc.ask("trace", id="m1")["payload"]["messages"]
        assert message["seq"]
        [found] = message["copies"]
        return found  # type: ignore[no-any-return]

    assert copy()["stage"] == "waiting"
    assert copy()["waits_for"] == "agni to come online"
    agni = bench.agent("agni", heartbeat_ms=60_000)
    assert copy()["stage"] == "delivered"
    assert copy()["delivered_at"] == bench.now.wall
    seq = agni.mail()[0]["seq"]
    agni.ack("read", seq)
    assert copy()["stage"] == "read"
    agni.ack("rejected", seq, requeue=True)
    assert copy()["stage"] == "delayed"
    bench.advance(1_500)
    agni.ack("done", seq)
    assert (copy()["stage"], copy()["settled_at"]) == ("done", bench.now.wall)
    assert dc.ask("trace", id="nope")["payload"]["code"] == "bad_message"


def test_trace_tells_who_is_away_from_who_has_no_room() -> None:
    bench = Bench()
    dc = bench.agent("dc", heartbeat_ms=60_000)
    agni = bench.agent("agni", heartbeat_ms=60_000, prefetch=1)
    bench.agent("idle").drop()
    for n in (1, 2):
        dc.tell("agni", f"m{n}")
    dc.tell("broadcast", "b1")

    def waits_for(id: str) -> list[str]:
        [message] = dc.ask("trace", id=id)["payload"]["messages"]
        return [copy["waits_for"] for copy in message["copies"]]

    full = "room in the prefetch of agni: it is online, and all of that is unread"
    assert waits_for("m1") == ["agni to read it"]
    assert waits_for("m2") == [full]
    assert waits_for("b1") == [full, "idle to come online"]
    agni.ack("read", agni.mail()[0]["seq"])
    assert waits_for("m1") == ["agni to finish it"]
    assert waits_for("m2") == ["agni to read it"]
    agni.drop()
    assert waits_for("m2") == ["agni to come online"]


def test_recall_takes_back_what_nobody_has_read() -> None:
    bench = Bench()
    dc = bench.agent("dc")
    one, two, three = bench.agent("one"), bench.agent("two"), bench.agent("three")
    three.drop()
    dc.tell("broadcast", "b1")
    seq = one.mail()[0]["seq"]
    one.ack("read", seq)
    answer = dc.ask("recall", id="b1")["payload"]
    assert answer == {"recalled": ["three", "two"], "kept": [{"agent": "one", "stage": "read"}]}
    assert bench.agent("three").mail() == []
    assert two.ask("peek")["payload"]["count"] == 0
    assert one.ask("recall", id="b1")["payload"]["code"] == "bad_message"


def stale(peer: Peer) -> list[int]:
    payloads = [each["payload"] for each in peer.take() if each["type"] == "ERROR"]
    assert all(each["code"] == "stale_ack" for each in payloads)
    return [seq for each in payloads for seq in each["details"]["seqs"]]


def test_whoever_holds_what_is_recalled_hears_that_and_nobody_else_does() -> None:
    bench = Bench()
    dc, one, two = bench.agent("dc"), bench.agent("one", prefetch=1), bench.agent("two")
    for name in ("b1", "b2"):
        dc.tell("broadcast", name)
    first, second = (mail["seq"] for mail in two.mail())
    assert [mail["id"] for mail in one.mail()] == ["b1"]
    two.ack("read", first)
    dc.ask("recall", id="b1")
    assert (stale(one), stale(two)) == ([first], [])
    dc.ask("recall", id="b2")  # which has gone out to the one meanwhile
    assert (stale(one), stale(two)) == ([second], [second])
    assert bench.hub.counts.errors.total() == 0  # nobody has done anything wrong
    assert one.ask("peek")["payload"]["count"] == 0


def test_deregister_needs_an_empty_mailbox() -> None:
    bench = Bench()
    dc = bench.agent("dc")
    dc.tell("dc", "m1")
    answer = dc.ask("deregister")["payload"]
    assert answer["code"] == "forbidden"
    assert answer["details"] == {"unsettled": 1}
    dc.ack("done", dc.mail()[0]["seq"])
    assert dc.ask("deregister")["type"] == "RESULT"
    assert dc.close_code() == 1001
    other = bench.agent("other")
    other.tell("dc", "m2")
    assert other.errors() == ["unknown_recipient"]


def test_deregister_beside_a_receiving_session_is_refused() -> None:
    bench = Bench()
    agni = bench.agent("agni")
    side = bench.agent("agni", receive=False)
    answer = side.ask("deregister")["payload"]
    assert answer["code"] == "forbidden"
    assert "online" in answer["message"]
    assert (side.close_code(), agni.close_code()) == (None, None)
    agni.drop()
    assert side.ask("deregister")["type"] == "RESULT"
    assert side.close_code() == 1001


def test_the_hub_takes_no_results() -> None:
    bench = Bench()
    dc = bench.agent("dc")
    dc.send({"type": "RESULT", "to": "hub", "id": "r", "reply_to": "x"})
    assert dc.errors() == ["bad_message"]


def test_a_name_that_only_a_side_session_has_used_is_taken_for_a_slip() -> None:
    bench = Bench()
    bench.agent("agni")
    side = bench.agent("agnni", receive=False, ephemeral=True)
    for answer in (side.ask("peek"), side.ask("history"), side.ask("history", thread="t")):
        assert answer["payload"]["code"] == "bad_message"
        assert answer["payload"]["message"] == "no agent agnni is known here; did you mean agni?"
        assert answer["payload"]["details"] == {"nearest": ["agni"]}
    side.tell("agni", "m1")  # who has sent something has a history
    assert len(side.ask("history")["payload"]["messages"]) == 1
    assert side.ask("peek")["payload"]["count"] == 0


def test_an_empty_mailbox_of_an_agent_that_is_known_is_empty() -> None:
    bench = Bench()
    bench.agent("agni").drop()
    side = bench.agent("agni", receive=False, ephemeral=True)
    assert side.ask("peek")["payload"]["count"] == 0
    assert side.ask("history")["payload"] == {"messages": [], "next": None}
    visitor = bench.agent("visitor", ephemeral=True)
    assert visitor.ask("peek")["payload"]["count"] == 0
