"""Version 1 messages, there and back (docs/protocol.md §8)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.protocol.values import envelopes, json_values, names
from trishula_protocol import version1
from trishula_protocol.address import agent_fault
from trishula_protocol.codec import encode_json
from trishula_protocol.envelope import Envelope
from trishula_protocol.folder_file import NotValid, open_envelope, pack, parse

agents = names.filter(lambda name: agent_fault(name) is None)

REDESIGN = {
    "id": "20260210T000200Z_mac_agni_agent_redesign",
    "from": "mac",
    "to": "agni",
    "type": "task",
    "priority": "urgent",
    "subject": "Agent redesign",
    "body": "Split router.py:\n1. reading\n2. moving\n",
    "timestamp": "2026-02-10T00:02:00Z",
    "reply_to": None,
}
REAL: list[dict[str, Any]] = [
    REDESIGN,
    {
        **REDESIGN,
        "id": "20260210T001500Z_agni_mac_re_agent_redesign",
        "from": "agni",
        "to": "mac",
        "type": "response",
        "priority": "normal",
        "reply_to": REDESIGN["id"],
    },
    {**REDESIGN, "id": "20260211T081233Z_dc_agni_broken_build", "type": "error", "reply_to": "x1"},
    {**REDESIGN, "id": "20260211T081233Z_dc_agni_lost", "type": "error"},
    {**REDESIGN, "id": "20260211T090000Z_Mac_DC_hello", "from": "Mac", "to": "DC", "type": "ack"},
    {**REDESIGN, "id": "20260212T000000Z_mac_dc_note", "type": "FYI", "priority": "low"},
    {**REDESIGN, "timestamp": "2026-02-10T05:32:00+05:30", "priority": "high"},
    {**REDESIGN, "timestamp": "2026-02-10T00:02:00.123456"},
    {**REDESIGN, "timestamp": "20260210T000200Z"},
    {**REDESIGN, "timestamp": 1770681720.25, "priority": 2},
    {**REDESIGN, "timestamp": "yesterday", "priority": "whenever"},
    {**REDESIGN, "id": "2026-02-10 00:02 mac/agni: naïve", "reply_to": ""},
    {**REDESIGN, "id": 17, "reply_to": 16, "type": "result"},
    {**REDESIGN, "body": {"files": ["a.py"], "lines": 3}, "tags": ["x"], "ttl": 3600},
    {**REDESIGN, "body": "x" * 100_000, "note": "y" * 3_000},
    {"from": "mac", "to": "agni", "type": "task", "subject": "s", "body": "b", "id": "m-1"},
    {"from": "mac", "to": "agni", "body": "only", "id": "m.2"},
    {key: value for key, value in REDESIGN.items() if key not in ("reply_to", "priority")},
]


@pytest.mark.parametrize("message", REAL, ids=lambda message: str(message["id"]))
def test_real_messages_come_back_as_they_were(message: dict[str, Any]) -> None:
    envelope = version1.decode(msgspec.json.encode(message))
    # As a version 2 file, over a hub, and back.
    again = open_envelope(parse(pack(envelope)).body)
    assert again == envelope
    assert msgspec.json.decode(version1.encode(again)) == message


def test_fields_and_values() -> None:
    found = [version1.to_envelope(message) for message in REAL]
    assert [each.type for each in found[:6]] == [
        "COMMAND",
        "RESULT",
        "ERROR",
        "STATUS",
        "STATUS",
        "STATUS",
    ]
    assert [each.priority for each in found[:12]] == [1, 3, 1, 1, 1, 4, 2, 1, 1, 2, 3, 1]
    second = int(datetime(2026, 2, 10, 0, 2, tzinfo=UTC).timestamp() * 1000)
    times = [each.timestamp for each in found[6:11]]
    assert times == [second, second + 123, second, second + 250, None]
    assert found[0].payload == {"subject": REDESIGN["subject"], "body": REDESIGN["body"]}
    assert found[1].reply_to == REDESIGN["id"]
    assert (found[4].sender, found[4].to) == ("mac", "dc")
    assert found[11].id is not None
    assert found[11].id.startswith("v1.")
    assert (found[12].id, found[12].reply_to, found[12].type) == ("17", "16", "RESULT")


def test_a_message_without_an_id_is_called_as_its_file() -> None:
    assert version1.decode(b'{"from":"mac","to":"dc","body":1}', "20260210T_x").id == "20260210T_x"


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "not JSON"),
        (b'{"id":', "not JSON"),
        (b"[]", "a message is a JSON object, not list"),
        (b'{"id":"a","from":"mac","to":"dc","body":NaN}', "not JSON"),
        (b'{"from":"mac","to":"dc"}', "id: required"),
        (b'{"id":"a","to":"dc"}', "from: required"),
        (b'{"id":"a","from":"mac","to":7}', "to: required"),
        (b'{"id":"a","from":"mac","to":"../../etc"}', "to: agent '../../etc'"),
        (b'{"id":"a","from":"..","to":"dc"}', "from: agent '..'"),
        (b'{"id":"a","from":"mac","to":"NUL"}', "some file systems reserve"),
        (b'{"id":"a","from":"mac","to":"dc","reply_to":[]}', "reply_to: required, a string"),
        (b'{"id":"%b","from":"mac","to":"dc"}' % (b"/" * 90), "too long"),
        (b'{"id":"a","from":"mac","to":"dc","more":"%b"}' % (b"m" * 40_000), "into the body"),
        (b'{"id":"a","from":"mac","to":"dc","body":1%b}' % (b"0" * 40), "integers go from"),
        (
            b'{"id":"a","from":"mac","to":"dc","body":%b}' % (b"[" * 70 + b"]" * 70),
            "nested deeper",
        ),
        (b'{"id":"a","from":"mac","to":"dc","body":"\\ud800"}', "not JSON"),
        (b"\xff\xfe{", "not JSON"),
    ],
)
def test_what_cannot_be_carried_says_why(data: bytes, rule: str) -> None:
    with pytest.raises(NotValid, match=re.escape(rule)):
        version1.decode(data)


@given(envelopes(), agents, agents)
def test_any_envelope_is_a_message_old_scripts_can_read(
    envelope: Envelope, sender: str, to: str
) -> None:
    envelope.sender, envelope.to = sender, to
    message = msgspec.json.decode(version1.encode(envelope))
    assert isinstance(message, dict)
    assert {"id", "from", "to", "type", "priority", "subject", "body", "timestamp"} <= {*message}
    again = version1.decode(version1.encode(envelope))
    fields = ("id", "sender", "to", "type", "reply_to")
    assert [getattr(again, field) for field in fields] == [
        getattr(envelope, field) for field in fields
    ]


def test_an_id_that_looks_like_a_made_one_is_not_mistaken() -> None:
    made = version1.to_envelope({**REDESIGN, "id": "a b"}).id
    assert made is not None
    again = version1.to_envelope({**REDESIGN, "id": made})
    assert again.id != made
    assert version1.from_envelope(again)["id"] == made


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    st.fixed_dictionaries(
        {
            "id": words.map(lambda text: text[:16]).filter(bool),
            "from": agents,
            "to": agents.map(str.upper),
        },
        optional={
            "type": words | st.sampled_from(["task", "Result", "error", "ack"]),
            "priority": words | st.integers(-1, 9) | st.booleans() | st.floats(0, 9),
            "subject": json_values,
            "body": json_values,
            "timestamp": json_values | st.datetimes().map(str),
            "reply_to": st.none() | words.map(lambda text: text[:16]),
            "more": json_values,
        },
    )
)
def test_whatever_scripts_write_comes_back(message: dict[str, Any]) -> None:
    data = msgspec.json.encode(message)
    envelope = version1.decode(data)
    envelope = open_envelope(encode_json(envelope))
    assert version1.from_envelope(envelope) == msgspec.json.decode(data)


def test_the_original_fields_count_only_for_what_they_made() -> None:
    forged = version1.to_envelope(REDESIGN)
    forged.sender = "eve"
    assert version1.from_envelope(forged)["from"] == "eve"
    forged = version1.to_envelope(REDESIGN)
    forged.headers = {"v1": "{"}
    assert version1.from_envelope(forged)["id"] == REDESIGN["id"]
