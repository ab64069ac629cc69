"""What is allowed comes through both encodings as the same value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.protocol.reference import pack as reference
from tests.unit.protocol.reference import unpack
from tests.unit.protocol.values import envelopes, json_values, msgpack_values, nested, scalars
from trishula_protocol import limits
from trishula_protocol.codec import CODECS, JSON, MSGPACK, Codec, decode_json, encode_json
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.payload import (
    payload_fault,
    same_value,
    to_json_value,
    to_msgpack_value,
)

BOTH = pytest.mark.parametrize("codec", list(CODECS.values()), ids=["json", "msgpack"])


def one(codec: Codec, frame: bytes, *, from_hub: bool = False) -> Envelope:
    [item] = codec.decode(frame, from_hub=from_hub)
    assert isinstance(item, Envelope), item
    return item


def exactly(value: Any) -> str:
    """A text that differs when a value does, -0.0 and 1 against 1.0 included."""
    return repr(value)


# --- one codec ---


@BOTH
@given(envelope=envelopes())
def test_an_envelope_comes_back_as_it_was(codec: Codec, envelope: Envelope) -> None:
    back = one(codec, codec.frame([codec.encode(envelope)]))
    assert exactly(back) == exactly(envelope)
    assert payload_fault(back.payload, encode_json(back)) is None


@BOTH
@given(st.lists(envelopes(scalars), min_size=1, max_size=5))
def test_a_frame_keeps_order(codec: Codec, sent: list[Envelope]) -> None:
    assert codec.decode(codec.frame([codec.encode(each) for each in sent])) == sent


@BOTH
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 255, 256, 999, 1000])
def test_frames_hold_up_to_a_thousand(codec: Codec, size: int) -> None:
    parts = [codec.encode(Envelope("STATUS", id=f"m{n}", to="dc")) for n in range(size)]
    items = codec.decode(codec.frame(parts))
    assert [item.id for item in items if isinstance(item, Envelope)] == [
        f"m{n}" for n in range(size)
    ]


@BOTH
@pytest.mark.parametrize("size", [0, 1001, 5000])
def test_frames_of_none_or_too_many_are_refused_whole(codec: Codec, size: int) -> None:
    beats: list[Any] = [{"type": "HEARTBEAT"}] * size
    frame = reference(beats) if codec.binary else json.dumps(beats).encode()
    with pytest.raises(ProtocolError, match=f"1-1000 envelopes, not {size}") as refused:
        codec.decode(frame)
    assert refused.value.code is ErrorCode.BAD_MESSAGE
    assert refused.value.reply_to is None


@BOTH
def test_an_array_of_one_and_the_envelope_alone_are_the_same(codec: Codec) -> None:
    beat = {"type": "HEARTBEAT"}
    for shape in (beat, [beat]):
        frame = reference(shape) if codec.binary else json.dumps(shape).encode()
        assert codec.decode(frame) == [Envelope("HEARTBEAT")]


def test_whitespace_around_json_is_allowed() -> None:
    for frame in (b' \t\r\n{"type":"HEARTBEAT"} \n', b' \n[ {"type":"HEARTBEAT"} ] '):
        assert JSON.decode(frame) == [Envelope("HEARTBEAT")]


@BOTH
def test_a_stored_envelope_is_delivered_with_the_hubs_three_fields(codec: Codec) -> None:
    body = encode_json(Envelope("STATUS", id="m1", sender="dc", to="agni", payload={"a": [1]}))
    mail = one(codec, codec.frame([codec.stored(body, 7, 2, None)]))
    assert (mail.seq, mail.attempt, mail.expires_in, mail.payload) == (7, 2, None, {"a": [1]})
    mail = one(codec, codec.frame([codec.stored(body, 2**53, 1, 900)]))
    assert (mail.seq, mail.attempt, mail.expires_in, mail.id) == (2**53, 1, 900, "m1")


@pytest.mark.parametrize("depth", [0, 1, 63, 64])
@pytest.mark.parametrize("mapping", [False, True])
@BOTH
def test_payloads_are_nested_up_to_64_deep(codec: Codec, depth: int, mapping: bool) -> None:
    sent = Envelope("STATUS", id="m", to="dc", payload=nested(depth, mapping=mapping))
    back = one(codec, codec.frame([codec.encode(sent)]))
    assert back == sent
    assert payload_fault(back.payload, encode_json(back)) is None


# --- between the two ---


@given(envelopes(msgpack_values))
def test_msgpack_to_the_stored_form_and_back(sent: Envelope) -> None:
    # As a MessagePack client writes it, with `bin`.
    frame = msgspec.msgpack.encode(sent)
    accepted = one(MSGPACK, frame)
    stored = encode_json(accepted)
    assert payload_fault(accepted.payload, stored) is None
    assert exactly(one(JSON, stored)) == exactly(accepted)
    delivered = msgspec.msgpack.decode(MSGPACK.stored(stored, 1, 1, None))
    assert exactly(delivered.get("payload")) == exactly(sent.payload)


@given(envelopes(json_values))
def test_the_stored_form_to_msgpack_and_back(sent: Envelope) -> None:
    stored = encode_json(sent)
    through = one(MSGPACK, MSGPACK.stored(stored, 1, 1, None), from_hub=True)
    assert exactly(through.payload) == exactly(sent.payload)


@given(msgpack_values)
def test_bin_is_base64_in_json_and_bin_again(value: Any) -> None:
    stored = to_json_value(value)
    json.dumps(stored)  # nothing but JSON is left
    assert exactly(to_msgpack_value(stored)) == exactly(value)


@given(st.dictionaries(st.sampled_from(["$base64", "x"]), st.text(max_size=8), max_size=2))
def test_an_object_that_only_looks_like_base64_keeps_its_value(value: dict[str, str]) -> None:
    assert to_json_value(to_msgpack_value(value)) == value


@pytest.mark.parametrize(
    "text", ["AP9=", "AP8", "A", "====", "AP8=\n", " AP8=", "AP-_", "é", "AP8=AP8=", "AA=A"]
)
def test_only_canonical_base64_becomes_bin(text: str) -> None:
    assert to_msgpack_value({"$base64": text}) == {"$base64": text}
    assert to_msgpack_value({"$base64": "AP8="}) == b"\x00\xff"
    assert to_msgpack_value({"$base64": ""}) == b""
    assert to_msgpack_value({"$base64": "AP8=", "more": 1}) == {"$base64": "AP8=", "more": 1}
    assert to_msgpack_value({"$base64": 5}) == {"$base64": 5}


def test_bin_counts_as_the_object_it_is_stored_as() -> None:
    for depth, good in ((63, True), (64, False)):
        frame = reference({"type": "STATUS", "id": "m", "to": "dc", "payload": nested(depth, b"x")})
        envelope = one(MSGPACK, frame)
        assert (payload_fault(envelope.payload, encode_json(envelope)) is None) is good


def test_the_hubs_own_answers_may_quote_the_deepest_payloads() -> None:
    # `deadletters`: payload.deadletters[0].message.payload
    answer = {"deadletters": [{"message": {"payload": nested(64)}}]}
    frame = MSGPACK.encode(Envelope("RESULT", sender="hub", reply_to="q", payload=answer))
    assert one(MSGPACK, frame, from_hub=True).payload == answer
    [refused] = MSGPACK.decode(frame)
    assert isinstance(refused, ProtocolError)


# --- against the reference package ---


@given(envelopes(msgpack_values))
def test_the_reference_reads_what_we_write(sent: Envelope) -> None:
    stored = encode_json(msgspec.structs.replace(sent, payload=to_json_value(sent.payload)))
    read = unpack(MSGPACK.stored(stored, 3, 1, None))
    assert exactly(read.get("payload")) == exactly(sent.payload)
    assert (read["type"], read["id"], read["to"], read["seq"]) == (sent.type, sent.id, sent.to, 3)
    assert read.get("headers", {}) == sent.headers


@given(st.lists(envelopes(scalars), min_size=1, max_size=5))
def test_the_reference_reads_our_frames(sent: list[Envelope]) -> None:
    read = unpack(MSGPACK.frame([MSGPACK.encode(each) for each in sent]))
    ids = [each["id"] for each in (read if isinstance(read, list) else [read])]
    assert ids == [each.id for each in sent]


@given(envelopes(msgpack_values), st.booleans())
def test_we_read_what_the_reference_writes(sent: Envelope, single_float: bool) -> None:
    plain = msgspec.to_builtins(sent, builtin_types=(bytes,))
    read = one(MSGPACK, reference(plain))
    wanted = msgspec.structs.replace(sent, payload=to_json_value(sent.payload))
    assert exactly(read) == exactly(wanted)
    # Every width of an array's head.
    assert MSGPACK.decode(reference([plain] * 20)) == [wanted] * 20


def test_single_precision_and_the_wide_heads_are_read() -> None:
    head = b"\x84\xa4type\xa6STATUS\xa2id\xa1m\xa2to\xa2dc\xa7payload"
    assert one(MSGPACK, head + b"\xca\x3f\xc0\x00\x00").payload == 1.5
    assert one(MSGPACK, head + b"\xd3" + b"\xff" * 8).payload == -1
    assert one(MSGPACK, head + b"\xdb\x00\x00\x00\x01x").payload == "x"
    assert one(MSGPACK, head + b"\xdf\x00\x00\x00\x01\xd9\x01k\xc0").payload == {"k": None}
    for array in (b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"):
        assert one(MSGPACK, array + head + b"\xc0").payload is None


# --- JSON's looser corners ---


def test_of_duplicate_keys_the_last_counts() -> None:
    frame = b'{"type":"STATUS","id":"a","to":"dc","id":"b","payload":{"k":1,"k":{"x":1},"k":2}}'
    envelope = one(JSON, frame)
    assert (envelope.id, envelope.payload) == ("b", {"k": 2})
    head = b"\x84\xa4type\xa6STATUS\xa2id\xa1m\xa2to\xa2dc\xa7payload"
    assert one(MSGPACK, head + b"\x82\xa1k\x01\xa1k\x02").payload == {"k": 2}


@given(envelopes(), st.sampled_from(['"\\ud800"', "NaN", "1" * 5000, '"\\udc00\\ud800"', "1e999"]))
def test_a_good_neighbour_of_the_worst_keeps_its_exact_value(sent: Envelope, bad: str) -> None:
    good = encode_json(sent)
    worst = f'{{"type":"STATUS","id":"bad","to":"dc","payload":{bad}}}'.encode()
    first, refused, last = JSON.decode(b"[" + good + b"," + worst + b"," + good + b"]")
    assert isinstance(refused, ProtocolError)
    assert refused.reply_to == "bad"
    assert exactly(first) == exactly(last) == exactly(sent)


@given(json_values, json_values)
def test_the_stored_form_decides_equality_as_the_values_do(a: Any, b: Any) -> None:
    x, y = (decode_json(encode_json(Envelope("STATUS", payload=value))) for value in (a, b))
    assert same_value(x.payload, y.payload) == same_value(a, b)
    assert same_value(a, x.payload)


def test_limits_of_integers_are_those_of_the_protocol() -> None:
    for value in (limits.INTEGER_MIN, limits.INTEGER_MAX):
        for codec in CODECS.values():
            sent = Envelope("STATUS", id="m", to="dc", payload=[value])
            assert one(codec, codec.encode(sent)) == sent
