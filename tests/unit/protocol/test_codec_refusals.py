"""Bad input: a typed refusal that names field and rule, and costs only what is bad."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.protocol.hostile_frames import (
    ENVELOPES,
    FRAMES,
    MSGPACK_ENVELOPES,
    MSGPACK_FRAMES,
    Hostile,
    batched,
    batched_msgpack,
)
from tests.unit.protocol.values import envelopes
from trishula_protocol.address import is_id, parse_address
from trishula_protocol.codec import CODECS, JSON, MSGPACK, Codec, Item, encode_json
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.payload import payload_fault

GENEROUS_S = 10.0
"""So that what is quadratic fails instead of hanging."""
GENEROUS_BYTES = 128 << 20


def each(cases: list[Hostile]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("hostile", cases, ids=lambda hostile: hostile.name)


def judged(item: Item) -> ProtocolError:
    """The refusal, be it the codec's or acceptance's."""
    if isinstance(item, ProtocolError):
        return item
    problem = payload_fault(item.payload, encode_json(item))
    if problem is not None:
        return ProtocolError(ErrorCode.BAD_MESSAGE, problem, reply_to=item.id)
    if item.sender is not None:
        return ProtocolError(ErrorCode.FORBIDDEN, "from: another's", reply_to=item.id)
    assert item.to is not None
    with pytest.raises(ProtocolError) as refused:
        parse_address(item.to)
    refused.value.reply_to = item.id
    return refused.value


def check(error: ProtocolError, hostile: Hostile) -> None:
    assert error.code == hostile.code
    assert all(word in error.message for word in hostile.says), error.message
    assert error.reply_to == ("bad" if hostile.named else None)
    assert len(error.message) <= 1024
    error.message.encode()  # it can be sent


@contextmanager
def bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        with quick():
            yield
        assert tracemalloc.get_traced_memory()[1] < GENEROUS_BYTES
    finally:
        tracemalloc.stop()


@contextmanager
def quick() -> Iterator[None]:
    begun = time.process_time()
    yield
    assert time.process_time() - begun < GENEROUS_S


@each(ENVELOPES)
def test_a_bad_envelope_is_refused_by_its_id(hostile: Hostile) -> None:
    with bounded():
        [item] = JSON.decode(hostile.frame)
        check(judged(item), hostile)


@each([hostile for hostile in ENVELOPES if not hostile.frame.startswith(b"[")])
def test_a_bad_envelope_in_a_good_frame_costs_itself_alone(hostile: Hostile) -> None:
    first, bad, second = JSON.decode(batched(hostile))
    check(judged(bad), hostile)
    assert isinstance(first, Envelope)
    assert isinstance(second, Envelope)
    assert (first.id, second.id) == ("good1", "good2")
    assert repr(first.payload) == repr(second.payload) == "{'x': 1e+22, 'y': [-0.0, 'é']}"


@each(MSGPACK_ENVELOPES)
def test_a_bad_msgpack_envelope_is_refused_by_its_id(hostile: Hostile) -> None:
    with bounded():
        [item] = MSGPACK.decode(hostile.frame)
        check(judged(item), hostile)
    first, bad, second = MSGPACK.decode(batched_msgpack(hostile))
    check(judged(bad), hostile)
    assert [item.id for item in (first, second) if isinstance(item, Envelope)] == ["good1", "good2"]


@each(FRAMES)
def test_a_frame_that_does_not_parse_is_refused_whole(hostile: Hostile) -> None:
    with bounded(), pytest.raises(ProtocolError) as refused:
        JSON.decode(hostile.frame)
    check(refused.value, hostile)


@each(MSGPACK_FRAMES)
def test_a_msgpack_frame_that_does_not_parse_is_refused_whole(hostile: Hostile) -> None:
    with bounded(), pytest.raises(ProtocolError) as refused:
        MSGPACK.decode(hostile.frame)
    check(refused.value, hostile)


@pytest.mark.parametrize("codec", list(CODECS.values()), ids=["json", "msgpack"])
def test_a_frame_cut_anywhere_is_refused_whole(codec: Codec) -> None:
    sent = Envelope(
        "STATUS", id="m1", to="dc", headers={"a": "é"}, payload={"k": [1, 2.5, "x", None, 2**63]}
    )
    part = codec.encode(sent)
    for frame in (part, codec.frame([part, part])):
        for end in range(len(frame)):
            with pytest.raises(ProtocolError) as refused:
                codec.decode(frame[:end])
            assert refused.value.reply_to is None


def test_unknown_fields_are_ignored_whatever_they_hold() -> None:
    frame = b'{"type":"STATUS","id":"m","to":"dc","ID":"x","x":[1,{"y":1e999}],"Payload":5}'
    assert JSON.decode(frame) == [Envelope("STATUS", id="m", to="dc")]


@given(
    st.lists(
        st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=130),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["id", "reply_to", "thread"]),
    st.sampled_from(list(CODECS.values())),
)
def test_a_bad_id_in_any_field_costs_its_envelope_alone(
    ids: list[str], field: str, codec: Codec
) -> None:
    mail = {"type": "STATUS", "id": "mail", "to": "a", "payload": 1}
    encode = msgspec.msgpack.encode if codec.binary else msgspec.json.encode
    items = codec.decode(encode([{**mail, field: each} for each in ids]))
    assert [isinstance(item, Envelope) for item in items] == [is_id(each) for each in ids]
    for item in items:
        if isinstance(item, ProtocolError):
            assert item.message.startswith(f"{field}: ")


def test_what_the_payload_says_about_ids_is_its_own_business() -> None:
    frame = b'{"payload":{"id":"inner","type":"X","to":5},"type":"STATUS","id":"m","to":"dc"}'
    [item] = JSON.decode(frame)
    assert isinstance(item, Envelope)
    assert item.id == "m"


def test_the_two_hostile_kinds_of_numbers_and_strings_share_a_frame() -> None:
    digits = b"9" * 5000
    frame = (
        b'[{"type":"STATUS","id":"a","to":"dc","payload":%b},'
        b'{"type":"STATUS","id":"b","to":"dc","payload":"\\ud800"},'
        b'{"type":"STATUS","id":"c","to":"dc","payload":"\xff"},'
        b'{"type":"STATUS","id":"d","to":"dc","payload":1}]' % digits
    )
    *bad, good = JSON.decode(frame)
    assert good == Envelope("STATUS", id="d", to="dc", payload=1)
    assert [judged(item).reply_to for item in bad] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "filling",
    [
        b'"priority":9,"payload":[' + b"1," * 440 + b"1]",
        b'"payload":[' + b"1," * 440 + b'"\\ud800"]',
        b'"payload":' + b"[" * 450 + b"]" * 450,
        b'"payload":[' + b"[]," * 300 + b"1e999]",
        b'"payload":"' + b"\\\\" * 440 + b'\\ud800"',
        b'"payload":"' + b"x" * 900 + b'\xff"',
    ],
    ids=["priority", "surrogate", "depth", "infinite", "backslashes", "utf-8"],
)
def test_a_thousand_bad_envelopes_in_a_frame_take_no_longer_than_they_are_long(
    filling: bytes,
) -> None:
    parts = [b'{"type":"STATUS","id":"m%d","to":"dc",%b}' % (n, filling) for n in range(1000)]
    with quick():
        items = JSON.decode(b"[" + b",".join(parts) + b"]")
        assert [judged(item).reply_to for item in items] == [f"m{n}" for n in range(1000)]


def test_a_megabyte_of_fields_is_refused_in_a_short_sentence() -> None:
    long = b"k" * 400_000
    for frame in (
        b'{"type":"STATUS","id":"bad","to":"dc","payload":{"%b":{"%b":1e999}}}' % (long, long),
        b'{"type":"STATUS","id":"bad","to":"dc","%b":"\\ud800"}' % long,
        b'{"type":"STATUS","id":"bad","to":"dc","headers":{"%b":1}}' % long,
    ):
        [item] = JSON.decode(frame)
        assert isinstance(item, ProtocolError)
        assert len(item.message) < 400


# --- anything at all ---


@given(st.binary(max_size=200))
def test_no_bytes_break_a_codec(frame: bytes) -> None:
    for codec in CODECS.values():
        for from_hub in (False, True):
            try:
                items = codec.decode(frame, from_hub=from_hub)
            except ProtocolError:
                continue
            for item in items:
                assert isinstance(item, Envelope | ProtocolError)


_JUNK = st.sampled_from(
    [
        *b'[ ] { } " \\ \\ud800 \xff 1e999 NaN : , \0 - true \xc1'.split(),
        *(b"", b" ", b"\xdd\xff\xff\xff\xff", b"\xc7\x01\x05", b"9" * 4400),
    ]
)


@given(st.lists(envelopes(), min_size=1, max_size=3), st.data())
def test_no_damage_to_a_good_frame_breaks_a_codec(
    sent: list[Envelope], data: st.DataObject
) -> None:
    for codec in CODECS.values():
        frame = codec.frame([codec.encode(envelope) for envelope in sent])
        start = data.draw(st.integers(0, len(frame)))
        end = data.draw(st.integers(start, min(len(frame), start + 8)))
        damaged = frame[:start] + data.draw(_JUNK) + frame[end:]
        try:
            items = codec.decode(damaged)
        except ProtocolError:
            continue
        for item in items:
            if isinstance(item, Envelope):
                payload_fault(item.payload, encode_json(item))
            else:
                assert item.code is ErrorCode.BAD_MESSAGE
                item.message.encode()
