"""Version 2 files: bytes, names, signatures (docs/protocol.md §8)."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.protocol.values import envelopes, ids, names
from trishula_protocol import limits
from trishula_protocol.address import agent_fault
from trishula_protocol.codec import encode_json
from trishula_protocol.envelope import Envelope
from trishula_protocol.folder_file import (
    NotValid,
    NotWhole,
    file_name,
    open_envelope,
    pack,
    parse,
    parse_name,
)
from trishula_protocol.folder_key import Key, Keyring

KEY = Key("2026a", b"0123456789abcdef0123456789abcdef")
LETTER = Envelope("STATUS", id="m1", sender="dc", to="agni", timestamp=1, payload={"a": [1]})
agents = names.filter(lambda name: agent_fault(name) is None)


@given(envelopes(), agents, agents, st.booleans())
def test_what_is_packed_is_opened_again(
    envelope: Envelope, sender: str, to: str, signed: bool
) -> None:
    envelope.sender, envelope.to = sender, to
    parsed = parse(pack(envelope, KEY if signed else None))
    assert parsed.body == encode_json(envelope)
    assert Keyring([KEY]).fault(*parsed) == (
        None if signed else "not signed, and its sender must sign"
    )
    opened = open_envelope(parsed.body)
    assert opened == msgspec.structs.replace(envelope, settles=None)


@given(st.data())
def test_every_part_of_a_file_is_left_alone(data: st.DataObject) -> None:
    whole = pack(LETTER, KEY)
    size = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(NotWhole):
        parse(whole[:size])
    # rsync --inplace makes room before it writes.
    with pytest.raises(NotWhole):
        parse(whole[:size] + bytes(len(whole) - size))
    with pytest.raises(NotWhole):
        parse(whole + b"\n")


@given(st.binary(max_size=300))
def test_anything_else_is_foreign(data: bytes) -> None:
    with pytest.raises(NotWhole):
        parse(data)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"[]", "frame"),
        (b'[{"type":"STATUS","id":"a","from":"dc","to":"agni"}]', "an array"),
        (b'{"type":"STATUS","id":"a","from":"dc"}', "to: required"),
        (b'{"type":"STATUS","id":"a","to":"agni"}', "from: required"),
        (b'{"type":"HEARTBEAT","from":"dc","to":"agni"}', "type: HEARTBEAT"),
        (b'{"type":"RESULT","id":"a","from":"dc","to":"agni"}', "reply_to"),
        (b'{"type":"STATUS","id":"../a","from":"dc","to":"agni"}', "id"),
        (b'{"type":"STATUS","id":"a","from":"../dc","to":"agni"}', "from: agent '../dc'"),
        (b'{"type":"STATUS","id":"a","from":"dc","to":"con"}', "some file systems reserve"),
        (b'{"type":"STATUS","id":"a","from":"dc","to":"hub"}', "'hub' has no folder"),
        (b'{"type":"STATUS","id":"a","from":"dc","to":"agni","payload":"\xff"}', "UTF-8"),
        (
            b'{"type":"STATUS","id":"a","from":"dc","to":"agni","payload":%b}'
            % (b"[" * 65 + b"]" * 65),
            "nested deeper",
        ),
    ],
)
def test_a_whole_file_that_breaks_a_rule_says_which(body: bytes, rule: str) -> None:
    with pytest.raises(NotValid, match=re.escape(rule)):
        open_envelope(body)


def test_what_only_a_hub_may_say_is_not_taken_from_a_file() -> None:
    said = msgspec.structs.replace(LETTER, seq=5, attempt=3, expires_in=7)
    assert open_envelope(encode_json(said)) == LETTER


def test_a_signature_is_of_one_key_and_one_body() -> None:
    ring = Keyring.parse("# keys\n\nnew " + "n" * 32 + "\n2026a 0123456789abcdef0123456789abcdef\n")
    assert ring.signing.kid == "new"
    for key in (KEY, ring.signing):
        parsed = parse(pack(LETTER, key))
        assert ring.fault(*parsed) is None
        assert "is not that of key" in str(ring.fault(parsed.body + b" ", *parsed[1:]))
    forged = parse(pack(LETTER, Key("2026a", b"x" * 32)))
    assert ring.fault(*forged) == "the signature is not that of key '2026a'"
    unknown = parse(pack(LETTER, Key("2027", KEY.secret)))
    assert "is not in the key file" in str(ring.fault(*unknown))
    assert "0123456789abcdef" not in repr(ring) + repr(KEY)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "it has no key"),
        ("secret", "line 1: a key is '<kid> <secret>'"),
        ("a b c", "two words"),
        ("a/b " + "x" * 32, "a kid is"),
        ("\na short", "line 2: a secret has 32 characters"),
        (f"a {'x' * 32}\na {'y' * 32}", "line 2: there is a key 'a' already"),
    ],
)
def test_a_key_file_that_is_none_says_why_and_keeps_the_secret(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)) as caught:
        Keyring.parse(text)
    assert "xxxx" not in str(caught.value)


@given(st.integers(0, 10**16 - 1), agents, ids)
def test_names_come_back_and_are_safe_everywhere(stamp: int, sender: str, id: str) -> None:
    name = file_name(stamp, sender, id)
    assert re.fullmatch(r"[0-9a-w-]+\.msg", name)
    assert len(name) <= 205
    parsed = parse_name(name)
    assert parsed is not None
    assert (parsed.stamp, parsed.sender) == (stamp, sender)
    assert parsed.id in (id, None)
    assert parsed.id == id or len(id) > 50


def test_the_longest_name_leaves_room_for_a_conflict_copys() -> None:
    name = file_name(10**17, "a" * limits.AGENT_LENGTH, "Z" * limits.ID_LENGTH)
    assert len(name) + len(".sync-conflict-20260210-000200-ABCDEFG") <= 255


@given(st.lists(st.integers(0, 10**16 - 1), min_size=2), agents, ids)
def test_names_sort_by_time(stamps: list[int], sender: str, id: str) -> None:
    assert sorted(file_name(stamp, sender, id) for stamp in stamps) == [
        file_name(stamp, sender, id) for stamp in sorted(stamps)
    ]


@given(st.lists(st.tuples(agents, ids), unique=True, max_size=20))
def test_no_two_messages_have_one_name_whatever_the_case(keys: list[tuple[str, str]]) -> None:
    assert len({file_name(1, *key).casefold() for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "1-2-3.msg",
        ".1770681720000000-dc-m1.msg",
        "1770681720000000-co-dk.json",
        "1770681720000000-CO-DK.msg",
        "1770681720000000-co-dk.sync-conflict-20260210-000200-ABCDEFG.msg",
        "1770681720000000-1-1.msg",
    ],
)
def test_what_is_no_name_of_ours(name: str) -> None:
    assert parse_name(name) is None
