"""What a commit did becomes records that say who, what, when, and of what content."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.trails import FULL, START, accept, settle
from trishula_broker.audit import chain
from trishula_broker.audit.chain import Link
from trishula_broker.audit.messages import payload_of, single
from trishula_broker.audit.records import OWN, SLICE, SLICE_BYTES, VERSION, Records, own_record
from trishula_broker.audit.redaction import path_fault
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.times import iso, parse
from trishula_broker.store import base
from trishula_broker.store.trail import Entry
from trishula_protocol.address import parse_address
from trishula_protocol.codec import encode_json
from trishula_protocol.envelope import Envelope


def told(*done: Any, kept: AuditSettings = FULL) -> list[dict[str, Any]]:
    entry = Entry(7, START, "n1", done)
    made = Records("default", kept).of(entry)
    _, lines = chain.close(Link(), made)
    records = [msgspec.json.decode(each) for line in lines for each in single(line[:-1])]
    numbers = [record.pop("n") for record in records]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, len(made) + 1))
    assert all(len(record.pop("hash")) == 64 for record in records)
    return records


def sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def test_an_accepted_message_has_all_that_is_known_of_it() -> None:
    op, outcome = accept(5, {"text": "hi"}, thread="t1")
    [record] = told((op, outcome))
    assert record == {
        "pos": 7,
        "at": "2023-11-14T22:13:20.000Z",
        "node": "n1",
        "ns": "default",
        "event": "accepted",
        "seq": 5,
        "id": "m5",
        "from": "dc",
        "to": "agni",
        "recipients": ["agni"],
        "type": "COMMAND",
        "priority": 3,
        "thread": "t1",
        "size": len(op.body),
        "sha256": sha256(b'{"text":"hi"}'),
        "body": msgspec.json.decode(op.body),
    }


@pytest.mark.parametrize(
    ("body", "kept"), [("digest", {"sha256"}), ("none", set()), ("full", {"sha256", "body"})]
)
def test_of_a_body_is_kept_what_was_asked_for(body: Any, kept: set[str]) -> None:
    [record] = told(accept(5), kept=AuditSettings(body=body))
    assert {"sha256", "body"} & set(record) == kept


@pytest.mark.parametrize(
    ("payload", "headers", "expected"),
    [
        (None, {}, b'{"n":1}'),
        ({"payload": {"payload": 2}}, {}, b'{"payload":{"payload":2}}'),
        ("text", {"payload": "no", 'x"payload': ':"'}, b'"text"'),
        ([1.5, "ü"], {"traceparent": "00"}, '[1.5,"ü"]'.encode()),
    ],
)
def test_the_digest_is_of_the_payload_alone(
    payload: Any, headers: dict[str, str], expected: bytes
) -> None:
    op, _ = accept(1, payload, headers=headers)
    assert payload_of(op.body) == expected


TRICKY = st.sampled_from(
    ["payload", '"payload":', '},"payload":', "x}", '"headers":{', '\\"},"payload":1', "\n", "ä"]
) | st.text(max_size=8)
NAME = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,20}\Z")
ID = st.from_regex(r"\A[A-Za-z0-9._:-]{1,40}\Z")
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(TRICKY, TRICKY, max_size=3), VALUE)
def test_the_payload_is_found_whatever_stands_before_it(
    headers: dict[str, str], value: Any
) -> None:
    body = encode_json(Envelope("STATUS", "m1", "dc", "agni", headers=headers, payload=value))
    assert msgspec.json.decode(payload_of(body)) == value


@given(
    ids=st.tuples(ID, st.none() | ID, st.none() | ID),
    sender=NAME,
    to=st.builds(str.__add__, st.sampled_from(["", "#", "@"]), NAME) | st.just("broadcast"),
    recipients=st.lists(NAME, max_size=4).map(tuple),
    full=st.lists(NAME, max_size=3).map(tuple),
    pool=st.none() | NAME,
    ttl=st.none() | st.integers(1, 2**40),
    priority=st.integers(1, 5),
    value=VALUE,
    kept=st.sampled_from(
        [FULL, AuditSettings("digest"), AuditSettings("none"), AuditSettings(redact=("headers.x",))]
    ),
)
def test_a_record_of_a_message_is_json_that_says_what_was_said(
    ids: tuple[str, str | None, str | None],
    sender: str,
    to: str,
    recipients: tuple[str, ...],
    full: tuple[str, ...],
    pool: str | None,
    ttl: int | None,
    priority: int,
    value: Any,
    kept: AuditSettings,
) -> None:
    id_, thread, reply_to = ids
    given_thread = id_ if thread is None else thread  # who begins one may name it
    envelope = Envelope(
        "RESULT", id_, sender, to, None, priority, reply_to, ttl, False, given_thread, payload=value
    )
    body = encode_json(envelope)
    thread = None if thread == id_ else thread
    op = base.Accept(
        sender, 1, parse_address(to), id_, "RESULT", priority, thread, reply_to, False, ttl, body
    )
    [record] = told((op, base.Accepted(9, START, recipients, full, pool)), kept=kept)
    expected = {
        "event": "accepted",
        "seq": 9,
        "id": id_,
        "from": sender,
        "to": to,
        "recipients": list(recipients),
        "type": "RESULT",
        "priority": priority,
        "size": len(body),
        "body": msgspec.json.decode(body) if kept.body == "full" else None,
        "sha256": None if kept.body == "none" else sha256(payload_of(body)),
        "thread": thread,
        "reply_to": reply_to,
        "full": list(full) or None,
        "pool": pool,
        "expires_at": None if ttl is None else iso(START + ttl),
    }
    assert {key: record.get(key) for key in expected} == expected


def test_an_envelope_without_a_payload_has_the_digest_of_null() -> None:
    assert payload_of(b'{"type":"STATUS","id":"m1"}') == b"null"


def test_what_is_redacted_leaves_a_digest_and_the_payloads_own_stays() -> None:
    payload = {"password": "secret-1", "list": [{"token": "secret-2"}, 5], "keep": 1}
    settings = AuditSettings(
        redact=("payload.password", "payload.*.*.token", "headers.authorization", "payload.gone.x")
    )
    op, outcome = accept(5, payload, headers={"authorization": "secret-3"})
    [record] = told((op, outcome), kept=settings)
    text = msgspec.json.encode(record).decode()
    assert "secret" not in text
    assert record["sha256"] == sha256(payload_of(op.body))
    shown = record["body"]["payload"]
    assert shown["password"] == {"$redacted": "sha256:" + sha256(b'"secret-1"')}
    assert shown["keep"] == 1
    assert shown["list"][1] == 5


@pytest.mark.parametrize("path", ["payload", "type.x", "", "payload..x", "password", "payload.x."])
def test_a_path_that_names_no_field_is_explained(path: str) -> None:
    assert "payload.NAME" in (path_fault(path) or "")


@pytest.mark.parametrize("path", ["payload.a", "headers.authorization", "payload.*.token"])
def test_a_path_of_a_field_is_taken(path: str) -> None:
    assert path_fault(path) is None


def test_one_record_covers_all_that_was_settled_together() -> None:
    op, outcome = settle(1, 2)
    [record] = told((op, outcome))
    assert (record["event"], record["agent"], record["seqs"]) == ("done", "agni", [1, 2])
    assert record["delivered_at"] == [iso(START + 2), iso(START + 3)]


def test_one_record_covers_what_all_agents_were_done_with_in_a_commit() -> None:
    others = base.Settle("indra", 1, (7, 8, 9), (START, None, START + 5)), base.Marked((7, 9), ())
    accepted, done = told(settle(1, 2), accept(5), others)
    assert accepted["event"] == "accepted"
    assert done["event"] == "done"
    assert "agent" not in done
    assert done["agents"] == ["agni", "agni", "indra", "indra"]
    assert done["seqs"] == [1, 2, 7, 9]
    times = [START + 2, START + 3, START, START + 5]
    assert done["delivered_at"] == [iso(at) for at in times]


def test_one_record_covers_all_answers_of_a_commit() -> None:
    pairs = [accept(seq) for seq in (11, 12)]
    *_, done = told(
        *((msgspec.structs.replace(op, settles=op_.seq - 10), op_) for op, op_ in pairs)
    )
    assert (done["agent"], done["seqs"], done["answers"]) == ("dc", [1, 2], [11, 12])
    assert "delivered_at" not in done


def test_an_answer_has_when_what_it_settles_went_out() -> None:
    op, outcome = accept(11)
    one = msgspec.structs.replace(op, settles=1, delivered_at=START + 3), outcome
    [_, done] = told(one)
    assert (done["seqs"], done["answer"], done["delivered_at"]) == ([1], 11, [iso(START + 3)])
    op, outcome = accept(12)
    *_, done = told(one, (msgspec.structs.replace(op, settles=2), outcome))
    assert (done["seqs"], done["delivered_at"]) == ([1, 2], [iso(START + 3), None])


@given(st.lists(st.sampled_from(["accept", "settle", "answer", "leave", "notice"]), max_size=250))
def test_the_form_changes_how_many_records_there_are_and_nothing_that_they_say(
    kinds: list[str],
) -> None:
    done: list[Any] = []
    for seq, kind in enumerate(kinds, 1):
        if kind == "settle":
            op, outcome = settle(seq, seq + 1000)
            done.append((msgspec.structs.replace(op, agent=f"a{seq % 3}"), outcome))
        elif kind == "leave":
            done.append((base.Leave("agni", seq, ()), base.Left(None)))
        elif kind == "notice":
            discard = base.Discard("agni", 1, seq, "dead", "because", None)
            done.append((discard, base.Discarded(True, None, NOTICE)))
        else:
            accepted, outcome_ = accept(seq)
            answers = seq + 5000 if kind == "answer" else None
            at = START + seq if answers and seq % 2 else None
            op_ = msgspec.structs.replace(accepted, settles=answers, delivered_at=at)
            done.append((op_, outcome_))
    records = Records("default", FULL)
    entry = Entry(7, START, "n1", tuple(done))
    found = [said(records.of(entry, 3, version)) for version in range(1, VERSION + 1)]
    assert found[0] == found[1] == found[2]


def said(begun: list[bytes]) -> tuple[list[Any], dict[tuple[str, int], Any]]:
    """All but what agents were done with, in order, and that by copy."""
    others: list[Any] = []
    copies: dict[tuple[str, int], Any] = {}
    for n, line in enumerate(closed(begun), 3):
        for record in map(msgspec.json.decode, single(line)):
            assert record.pop("n") == n
            del record["hash"]
            if record["event"] != "done":
                others.append(record)
                continue
            for at, seq in enumerate(record["seqs"]):
                agent = record["agents"][at] if "agents" in record else record["agent"]
                times = record.get("delivered_at")
                answers = record.get("answers") or [record.get("answer")] * len(record["seqs"])
                assert (agent, seq) not in copies
                copies[agent, seq] = (times and times[at], answers[at])
    return others, copies


def closed(begun: list[bytes]) -> list[bytes]:
    return [line[:-1] for line in chain.close(Link(), begun)[1]]


@given(
    sizes=st.lists(st.sampled_from([1, 1000, SLICE_BYTES // 2, SLICE_BYTES]), max_size=12),
    small=st.integers(0, 2 * SLICE + 1),
)
@settings(max_examples=25)
def test_messages_of_a_commit_are_records_of_a_bounded_size(sizes: list[int], small: int) -> None:
    payloads = ["x" * size for size in [*sizes, *[1] * small]]
    done = tuple(accept(seq, payload) for seq, payload in enumerate(payloads, 1))
    largest = max((len(op.body) for op, _ in done), default=0)
    lines = closed(Records("default", FULL).of(Entry(7, START, "n1", done)))
    parts = [[msgspec.json.decode(each) for each in single(line)] for line in lines]
    assert [each["seq"] for part in parts for each in part] == list(range(1, len(done) + 1))
    assert all(len(part) <= SLICE for part in parts)
    assert all(len(line) < SLICE_BYTES + largest + 100 * SLICE for line in lines)
    assert len(lines) <= len(done) // SLICE + len(sizes) + 1


def test_a_record_of_version_2_is_told_as_it_is_whatever_its_message_says() -> None:
    body = b'{"type":"STATUS","id":"m1","payload":{"event":"accepted","messages":[{"seq":1}]}}'
    line = (
        b'{"n":5,"pos":4,"at":"2026-11-21T16:20:00.123Z","node":"n1","ns":"default",'
        b'"event":"accepted","seq":3,"id":"m1","body":%b,"hash":"%b"}' % (body, b"0" * 64)
    )
    assert list(single(line)) == [line]


@given(data=st.data())
def test_a_record_that_is_damaged_is_no_reason_to_read_no_other(data: st.DataObject) -> None:
    op, outcome = accept(1, {"event": "accepted", "messages": [1]})
    entry = Entry(7, START, "n1", ((op, outcome), accept(2)))
    [line] = closed(Records("default", FULL).of(entry))
    cut = data.draw(st.integers(0, len(line) - 1))
    for each in (line[:cut], line[cut:], line[:cut] + b"\xff" + line[cut + 1 :]):
        assert len(list(single(each))) <= 2


def test_an_answer_settles_what_it_answers() -> None:
    op, outcome = accept(9)
    accepted, done = told((msgspec.structs.replace(op, settles=4), outcome))
    assert accepted["event"] == "accepted"
    assert (done["event"], done["seqs"], done["answer"]) == ("done", [4], 9)


def test_what_was_done_with_before_its_answer_is_done_once() -> None:
    op, outcome = accept(9)
    late = msgspec.structs.replace(op, settles=4), outcome  # of dc
    other = msgspec.structs.replace(op, id="m10", settles=5), outcome
    mine, theirs = (
        (msgspec.structs.replace(settle(4)[0], agent=agent), settle(4)[1])
        for agent in ("dc", "agni")
    )
    events = [record for record in told(mine, late, other) if record["event"] == "done"]
    assert [(each["seqs"], each.get("answer")) for each in events] == [([5], 9), ([4], None)]
    # The same message in somebody else's mailbox is another copy.
    events = [record for record in told(theirs, late) if record["event"] == "done"]
    assert [(each["agent"], each.get("answer")) for each in events] == [("dc", 9), ("agni", None)]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (base.Revocation("t1", "", 0, START), {"token": "t1", "until": iso(START)}),
        (
            base.Revocation("", "dc", START, None),
            {"agent": "dc", "issued_before": iso(START), "until": None},
        ),
    ],
)
def test_what_was_revoked_is_told_with_its_times(
    what: base.Revocation, expected: dict[str, Any]
) -> None:
    [record] = told((base.Revoke(what), base.Noted(True)))
    assert {key: record[key] for key in record if key not in OWN - {"event"}} == {
        "event": "revoked",
        **expected,
    }


NOTICE = base.Message(
    8, "n8", "hub", "ERROR", "dc", 3, None, False, START, None, b'{"reply_to":"m1","payload":1}'
)
COPY = base.Copy(NOTICE, 0, 0, None)


@pytest.mark.parametrize(
    ("op", "outcome", "expected"),
    [
        (
            base.Read("agni", 1, (1, 2), 5000),
            base.Marked((1,), (2,)),
            {"event": "read", "seqs": [1], "lease_ms": 5000},
        ),
        (
            base.Delivered("agni", 1, ((1, START), (2, START))),
            base.Marked((2,), ()),
            {"event": "delivered", "seqs": [2], "delivered_at": [iso(START)]},
        ),
        (
            base.Requeue("agni", 1, (1,)),
            base.Requeued(((1, 2, START),), ()),
            {"event": "requeued", "seqs": [1], "attempts": [2], "due_at": [iso(START)]},
        ),
        *(
            (
                base.Discard("agni", 1, 1, cast("base.Settled", how), "because", None),
                base.Discarded(True),
                {"event": event, "agent": "agni", "seqs": [1], "reason": "because"},
            )
            for how, event in [
                ("dead", "dead-lettered"),
                ("rejected", "rejected"),
                ("expired", "expired"),
                ("recalled", "recalled"),
                ("dropped", "dropped"),
            ]
        ),
        (
            base.Assign("review", 5),
            base.Assigned((("agni", COPY),), False),
            {"event": "assigned", "capability": "review", "seqs": [8], "agents": ["agni"]},
        ),
        (
            base.Register("agni", "n2", "s", True, False, 1, ("x",), None),
            base.Registered(3, ("x",), (), ()),
            {"event": "registered", "agent": "agni", "on": "n2", "epoch": 3},
        ),
        (base.Leave("agni", 3, (5,)), base.Left(None), {"event": "left", "undelivered": [5]}),
        (base.Retry("agni", 8), base.Retried(COPY), {"event": "retried", "seqs": [8]}),
        (base.Forget("agni", 0), base.Forgotten(0), {"event": "forgotten", "agent": "agni"}),
        (
            base.Unassign("agni"),
            base.Unassigned(("review",), (4, 5)),
            {"event": "unassigned", "agent": "agni", "pools": ["review"], "seqs": [4, 5]},
        ),
        *(
            (
                base.Pause("agni", on, "holiday"),
                base.Paused(True),
                {"event": event, "agent": "agni", "reason": "holiday"},
            )
            for on, event in [(True, "paused"), (False, "resumed")]
        ),
        (
            base.Update("agni", 0, None, "ops", None),
            base.Updated(("ops",)),
            {"event": "update", "agent": "agni", "join": "ops"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_told_of_each_operation(op: Any, outcome: Any, expected: dict[str, Any]) -> None:
    record = told((op, outcome))[0]
    assert {name: record.get(name) for name in expected} == expected
    assert record["node"] == "n1"


@pytest.mark.parametrize("more", [True, False])
def test_what_a_resumed_agent_took_is_told_as_assigned(more: bool) -> None:
    takers = [("a", "x"), ("b", "x"), ("a", "y")]
    taken = tuple((agent, base.Copy(NOTICE, 0, 0, via)) for agent, via in takers)
    records = told((base.Pause("a", False), base.Paused(True, (), taken, more)))
    assert [(each["event"], each.get("capability"), each.get("agents")) for each in records] == [
        ("assigned", "x", ["a", "b"]),
        ("assigned", "y", ["a"]),
        *(() if more else [("resumed", None, None)]),
    ]
    assert records[0]["seqs"] == [8, 8]


def test_an_earlier_versions_resume_is_told_as_it_was() -> None:
    [record] = told((base.Pause("a", False), base.Paused(True, ("x",))))
    assert record["event"] == "resumed"


def test_mail_of_the_hub_is_accepted_mail_too() -> None:
    discard = base.Discard("agni", 1, 1, "dead", "because", None)
    _, notice = told((discard, base.Discarded(True, None, NOTICE)))
    assert (notice["event"], notice["from"], notice["id"]) == ("accepted", "hub", "n8")
    assert notice["reply_to"] == "m1"


def test_fields_cannot_take_the_place_of_a_records_own() -> None:
    fields = {"node": "x", "hash": "y", "code": "forbidden"}
    record = own_record("refused", fields, START, "n1", "")
    shown = msgspec.json.decode(b"{%b}" % record)
    assert (shown["node"], shown["node_given"], shown["hash_given"]) == ("n1", "x", "y")


@pytest.mark.parametrize("ms", [0, 1, 999, START, START + 1, 253_402_300_799_999])
def test_times_are_utc_to_the_millisecond_and_can_be_read_back(ms: int) -> None:
    assert iso(ms).endswith("Z")
    assert len(iso(ms)) == 24
    assert parse(iso(ms)) == ms
