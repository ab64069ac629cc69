"""Tokens expire, are renewed and are taken back, and their sessions with them."""

from __future__ import annotations

import pytest

from tests.support.hub_bench import Bench, Peer
from tests.support.identities import identity
from trishula_broker.hub.now import Now
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore

LEEWAY_MS = 5_000
SETTINGS = HubSettings(leeway_ms=LEEWAY_MS)
TOKEN = 4401


def heartbeat(peer: Peer) -> None:
    peer.send({"type": "HEARTBEAT"})


def live(bench: Bench, peers: list[Peer], ms: int) -> None:
    """Let time pass while peers say that they are there."""
    while ms > 0:
        bench.advance(min(ms, 10_000))
        ms -= 10_000
        for peer in peers:
            if peer.close_code() is None:
                heartbeat(peer)


# --- expiry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lasts_ms", [0, 1, 60_000, 61_000, 1_000_000])
def test_a_session_ends_when_its_token_expires_with_leeway_and_not_before(lasts_ms: int) -> None:
    bench = Bench(SETTINGS, tokens={})
    ends = bench.now.wall + lasts_ms
    dc = bench.proven(identity("dc", expires_at=ends), heartbeat_ms=60_000)
    live(bench, [dc], lasts_ms + LEEWAY_MS - 1)
    assert dc.close_code() is None
    bench.advance(1)
    assert dc.close_code() == TOKEN
    assert "expired" in (dc.closed or (0, ""))[1]


def test_a_session_that_never_registers_expires_all_the_same() -> None:
    bench = Bench(SETTINGS, tokens={})
    peer = bench.peer(identity=identity("dc", expires_at=bench.now.wall - LEEWAY_MS + 1))
    bench.advance(1)
    assert peer.close_code() == TOKEN


def test_a_clock_that_jumps_over_an_expiry_is_noticed_within_a_minute() -> None:
    bench = Bench(SETTINGS, tokens={})
    dc = bench.proven(identity("dc", expires_at=bench.now.wall + 3_600_000), heartbeat_ms=60_000)
    bench.now = Now(bench.now.mono, bench.now.wall + 4_000_000)
    heartbeat(dc)
    bench.advance(60_000)
    assert dc.close_code() == TOKEN


def test_a_clock_that_was_set_back_ends_nobody_early() -> None:
    bench = Bench(SETTINGS, tokens={})
    dc = bench.proven(identity("dc", expires_at=bench.now.wall + 10_000), heartbeat_ms=60_000)
    bench.now = Now(bench.now.mono, bench.now.wall - 30_000)
    bench.advance(10_000 + LEEWAY_MS)
    assert dc.close_code() is None
    heartbeat(dc)
    bench.advance(30_000)
    assert dc.close_code() == TOKEN


def test_tokens_are_dated_by_the_hosts_clock_and_not_by_the_stores() -> None:
    # A node takes the time from its store, whose clock is an hour ahead of this host's.
    store = MemoryStore().node("n1")
    bench = Bench(SETTINGS, store=store, node="n1", tokens={})
    skew = 3_600_000
    commit = store.apply
    store.apply = lambda now, batches: commit(now + skew, batches)  # type: ignore[method-assign]
    bench.advance(2_000)
    ends = bench.now.wall + 60_000
    dc = bench.peer(identity=identity("dc", expires_at=ends))
    answer = dc.ask("register", agent="dc", heartbeat_ms=60_000)["payload"]
    assert answer["server_time"] == bench.now.wall + skew
    assert answer["expires_at"] - answer["server_time"] == 60_000
    live(bench, [dc], 60_000 + LEEWAY_MS - 1)
    assert dc.close_code() is None
    bench.advance(1)
    assert dc.close_code() == TOKEN


# --- renewal ----------------------------------------------------------------------------------


def test_a_renewed_session_goes_on_under_what_the_new_token_says() -> None:
    bench = Bench(SETTINGS, tokens={})
    start = bench.now.wall
    bench.tokens["new"] = identity("dc", token="t2", expires_at=start + 60_000, send=("agni",))
    agni = bench.proven(identity("agni"))
    dc = bench.proven(identity("dc", expires_at=start + 10_000), heartbeat_ms=60_000)
    answer = dc.ask("renew", token="new")
    assert (answer["type"], answer["payload"]) == ("RESULT", {"expires_at": start + 60_000})
    live(bench, [dc, agni], 50_000)
    dc.take()
    dc.tell("agni", "m1")
    assert dc.acks("accepted") == ["m1"]
    assert agni.mail()[0]["headers"] == {"auth": "dc default t2"}
    dc.tell("dc", "m2")
    assert dc.errors() == ["forbidden"]
    live(bench, [dc], 10_000 + LEEWAY_MS)
    assert dc.close_code() == TOKEN


def test_a_shorter_token_ends_the_session_sooner_and_an_endless_one_never() -> None:
    bench = Bench(SETTINGS, tokens={})
    start = bench.now.wall
    bench.tokens["short"] = identity("dc", expires_at=start + 10_000)
    bench.tokens["endless"] = identity("agni")
    dc = bench.proven(identity("dc", expires_at=start + 60_000), heartbeat_ms=60_000)
    agni = bench.proven(identity("agni", expires_at=start + 10_000), heartbeat_ms=60_000)
    dc.ask("renew", token="short")
    assert agni.ask("renew", token="endless")["payload"] == {}
    bench.advance(10_000 + LEEWAY_MS)
    assert (dc.close_code(), agni.close_code()) == (TOKEN, None)


def test_a_token_that_does_not_do_changes_nothing_and_is_told_nowhere() -> None:
    secret = "not-a-token-of-this-hub"
    bench = Bench(SETTINGS, tokens={})
    bench.tokens["others"] = identity("agni")
    bench.tokens["elsewhere"] = identity("dc", namespace="other")
    bench.tokens["eye"] = identity("dc", role="observer")
    dc = bench.proven(identity("dc"))
    for token, code in [
        (secret, "unauthorized"),
        ("others", "forbidden"),
        ("elsewhere", "forbidden"),
        ("eye", "forbidden"),
        ("", "bad_message"),
        ("x" * 9_000, "bad_message"),
    ]:
        payload = dc.ask("renew", token=token)["payload"]
        assert payload["code"] == code
        assert payload["message"].startswith("payload")
        assert secret not in f"{payload} {bench.records} {bench.notes}"
    dc.tell("dc", "m1")
    assert dc.acks("accepted") == ["m1"]
    assert [each["op"] for each in bench.recorded("refused")][:1] == ["renew"]


def test_without_a_token_there_is_nothing_to_renew() -> None:
    assert Bench().agent("dc").ask("renew", token="x")["payload"]["code"] == "bad_message"


def test_groups_that_a_new_token_does_not_allow_end_with_it() -> None:
    bench = Bench(tokens={"new": identity("dc", receive=("#web",))})
    dc = bench.proven(identity("dc"), groups=["ops", "web"], capabilities=["plan"])
    dc.ask("renew", token="new")
    [record] = dc.ask("agents")["payload"]["agents"]
    assert (record["groups"], record["capabilities"]) == (["web"], [])


def test_groups_end_with_a_renewal_also_when_the_store_fails_meanwhile() -> None:
    bench = Bench(tokens={"new": identity("dc", receive=("#web",))})
    dc = bench.proven(identity("dc"), groups=["ops", "web"])
    bench.hold_questions = True
    dc.ask("renew", token="new")
    for question in bench.hub.questions():
        bench.hub.question_failed(question, "away", bench.now)
    bench.hold_questions = False
    bench.advance(1_000)
    [record] = dc.ask("agents")["payload"]["agents"]
    assert record["groups"] == ["web"]


# --- revocation -------------------------------------------------------------------------------


def test_a_revoked_tokens_sessions_end_and_others_of_the_agent_do_not() -> None:
    bench = Bench(tokens={})
    dc = bench.proven(identity("dc", token="t1"))
    side = bench.proven(identity("dc", token="t2"), receive=False)
    unregistered = bench.peer(identity=identity("dc", token="t1"))
    bench.hub.revoke(base.Revocation("t1", "", 0, None), bench.now)
    bench.run()
    assert (dc.close_code(), unregistered.close_code(), side.close_code()) == (TOKEN, TOKEN, None)
    assert "revoked" in (dc.closed or (0, ""))[1]


def test_an_agents_tokens_end_but_for_those_that_were_made_later() -> None:
    bench = Bench(tokens={})
    old = bench.proven(identity("dc", issued_at=10))
    new = bench.proven(identity("dc", token="t2", issued_at=20), receive=False)
    bench.hub.revoke(base.Revocation("", "dc", 20, None), bench.now)
    bench.run()
    assert (old.close_code(), new.close_code()) == (TOKEN, None)


def test_a_revoked_token_opens_no_session_also_after_a_restart() -> None:
    bench = Bench(tokens={})
    bench.hub.revoke(base.Revocation("t1", "", 0, None), bench.now)
    bench.run()
    assert bench.peer(identity=identity("dc", token="t1")).close_code() == TOKEN
    assert bench.revocations is not None
    bench.restart()
    assert bench.revocations.is_revoked(identity("dc", token="t1"))
    assert bench.peer(identity=identity("dc", token="t1")).close_code() == TOKEN


def test_who_registers_before_it_is_known_what_was_revoked_waits_for_it() -> None:
    bench = Bench(tokens={})
    bench.hub.revoke(base.Revocation("t1", "", 0, None), bench.now)
    bench.run()
    bench.hold_questions = True
    bench.restart()
    bad = bench.peer(identity=identity("dc", token="t1"))
    good = bench.peer(identity=identity("agni"))
    for peer, name in ((bad, "dc"), (good, "agni")):
        payload = {"op": "register", "agent": name}
        peer.send({"type": "COMMAND", "to": "hub", "id": "r", "payload": payload})
        assert peer.take() == []
    bench.hold_questions = False
    bench.run()
    assert bad.close_code() == TOKEN
    assert [each["type"] for each in good.take()] == ["RESULT"]


def test_operators_revoke_by_token_and_by_agent() -> None:
    bench = Bench(tokens={})
    operator = bench.proven(identity("boss", role="operator"))
    one = bench.proven(identity("dc", token="t1", expires_at=bench.now.wall + 70_000))
    two = bench.proven(identity("agni", issued_at=bench.now.wall))
    for asked, expected in [
        ({"token_id": "t1"}, {"token_id": "t1", "agent": None, "sessions": 1}),
        ({"agent": "agni"}, {"token_id": None, "agent": "agni", "sessions": 1}),
        ({"agent": "nobody"}, {"token_id": None, "agent": "nobody", "sessions": 0}),
    ]:
        assert operator.ask("revoke", **asked)["payload"] == expected
    assert (one.close_code(), two.close_code()) == (TOKEN, TOKEN)
    kept = bench.store.answer("default", base.Revocations())
    assert [(each.token_id, each.agent, each.until is None) for each in kept] == [
        ("", "agni", True),
        ("", "nobody", True),
        ("t1", "", False),
    ]
    for wrong in ({}, {"token_id": "t", "agent": "dc"}, {"agent": "Not Good"}):
        assert operator.ask("revoke", **wrong)["payload"]["code"] == "bad_message"


def test_a_token_of_a_clock_that_is_ahead_is_revoked_with_its_agent() -> None:
    bench = Bench(tokens={})
    operator = bench.proven(identity("boss", role="operator"))
    early = identity("dc", issued_at=bench.now.wall + 4_000)
    dc = bench.proven(early)
    assert operator.ask("revoke", agent="dc")["payload"]["sessions"] == 1
    assert dc.close_code() == TOKEN
    assert bench.peer(identity=early).close_code() == TOKEN


def test_a_hub_without_keys_has_no_tokens_to_revoke() -> None:
    payload = Bench().agent("dc").ask("revoke", agent="agni")["payload"]
    assert payload["code"] == "bad_message"
    assert "keys" in payload["message"]


def test_who_is_introduced_can_be_written_to() -> None:
    bench = Bench(tokens={})
    dc = bench.proven(identity("dc"))
    bench.hub.introduce("agni", bench.now)
    bench.run()
    dc.tell("agni", "m1")
    assert dc.acks("accepted") == ["m1"]
    assert [each["id"] for each in bench.proven(identity("agni")).mail()] == ["m1"]


def test_what_the_store_failed_to_keep_is_told_it_again() -> None:
    bench = Bench(tokens={})
    bench.failing = "disk full"
    bench.hub.introduce("agni", bench.now)
    bench.hub.revoke(base.Revocation("t1", "", 0, None), bench.now)
    bench.run()
    assert bench.store.answer("default", base.Revocations()) == ()
    bench.failing = None
    bench.advance(1_000)
    assert len(bench.store.answer("default", base.Revocations())) == 1
    assert [each.id for each in bench.store.answer("default", base.Agents())] == ["agni"]


class Pair:
    """Two nodes of one store."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.one = Bench(store=self.store.node("n1"), node="n1", tokens={})
        self.two = Bench(store=self.store.node("n2"), node="n2", role="failover", tokens={})
        self.advance(2_000)

    def advance(self, ms: int) -> None:
        for _ in range(0, ms, 100):
            self.one.advance(100)
            self.two.advance(100)


def test_a_revocation_reaches_the_sessions_of_other_nodes() -> None:
    pair = Pair()
    dc = pair.two.proven(identity("dc", token="t1"))
    pair.one.hub.revoke(base.Revocation("t1", "", 0, None), pair.one.now)
    pair.one.run()
    assert dc.close_code() == TOKEN
    assert pair.two.peer(identity=identity("dc", token="t1")).close_code() == TOKEN


def test_a_revocation_whose_hint_was_lost_is_found_within_five_seconds() -> None:
    pair = Pair()
    dc = pair.two.proven(identity("dc", token="t1"))
    link = pair.two.store.link
    link.carry = lambda number: None  # hints do not arrive, nor is it noticed
    pair.one.hub.revoke(base.Revocation("t1", "", 0, None), pair.one.now)
    pair.one.run()
    assert dc.close_code() is None
    pair.advance(5_000)
    assert dc.close_code() == TOKEN
