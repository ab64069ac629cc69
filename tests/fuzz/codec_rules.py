"""What holds of whatever a decoder is given, and of what a hub then does with it.

Both encodings' targets check their frames here. A broken rule is an AssertionError, or whatever
else was raised.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tests.support.hub_bench import Bench
from trishula_protocol import limits
from trishula_protocol.address import HUB, is_id
from trishula_protocol.bodies import error_payload
from trishula_protocol.codec import JSON, MSGPACK, Codec, Item, encode_json
from trishula_protocol.envelope import DirectError, Envelope, fault
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.payload import payload_fault, same_value

FIELDS = tuple(name for name in Envelope.__struct_fields__ if name != "payload")
LATER_MS = 100
"""Enough for what the hub does soon, too little for heartbeats to be missed."""
REFUSAL_BYTES = 16 << 10
"""An ERROR's message is cut at 1024 characters, each of 12 bytes at most as JSON escapes."""


def check(codec: Codec, frame: bytes) -> None:
    """Decode ``frame`` as a hub does, check what came of it, and give it to a hub."""
    items: list[Item]
    try:
        items = codec.decode(frame)
    except ProtocolError as error:
        items = [error]
    assert 0 < len(items) <= limits.BATCH
    for item in items:
        if isinstance(item, ProtocolError):
            _check_refusal(codec, item)
        else:
            _check_envelope(item)
    _check_hub(codec, frame)


def _check_refusal(codec: Codec, error: ProtocolError) -> None:
    """It can be said, is short, and names what it can."""
    assert error.code is ErrorCode.BAD_MESSAGE
    assert error.message.strip()
    assert error.reply_to is None or is_id(error.reply_to)
    said = codec.encode(DirectError("ERROR", HUB, error.reply_to, error_payload(error)))
    assert len(said) <= REFUSAL_BYTES
    [heard] = codec.decode(said, from_hub=True)
    assert isinstance(heard, Envelope)
    assert heard.reply_to == error.reply_to
    assert heard.payload["code"] == "bad_message"


def _check_envelope(envelope: Envelope) -> None:
    """What was taken keeps its rules, and survives both encodings and the stored form."""
    assert fault(envelope) is None
    try:
        body = encode_json(envelope)
    except RecursionError:
        return  # the hub refuses it where it accepts (see hub.acceptance)
    if payload_fault(envelope.payload, body) is not None:
        return
    _check_same(envelope, JSON.decode(body))
    # What is the hub's own it takes out before it stores an envelope.
    envelope.seq = envelope.attempt = envelope.expires_in = None
    body = encode_json(envelope)
    stored = JSON.stored(body, 7, 2, 5)
    _check_same(envelope, JSON.decode(stored), seq=7, attempt=2, expires_in=5)
    if _fits(envelope.payload):
        packed = MSGPACK.encode(envelope)
        _check_same(envelope, MSGPACK.decode(packed))
        stored = MSGPACK.stored(body, 7, 2, None)
        _check_same(envelope, MSGPACK.decode(stored), seq=7, attempt=2, expires_in=None)


def _fits(payload: Any) -> bool:
    # {"$base64": ...} is an object in JSON and a value without depth in MessagePack.
    return payload_fault(payload, msgspec.json.encode(payload)) is None


def _check_same(envelope: Envelope, decoded: list[Any], **changed: Any) -> None:
    [again] = decoded
    assert isinstance(again, Envelope), again
    for name in FIELDS:
        expected = changed.get(name, getattr(envelope, name))
        assert getattr(again, name) == expected, name
    assert same_value(again.payload, envelope.payload)


def _check_hub(codec: Codec, frame: bytes) -> None:
    """A hub answers each envelope of ``frame`` at most once, and goes on serving the others."""
    bench = Bench()
    honest, agni = bench.agent("dc"), bench.agent("agni")
    stranger = bench.peer(codec)
    stranger.raw(frame)
    evil = bench.agent("evil", groups=["ops"], capabilities=["review"])
    member = bench.peer(codec)
    request = {"op": "register", "agent": "evil2"}
    member.raw(codec.encode(Envelope("COMMAND", id="r", to=HUB, payload=request)))
    [answer] = member.take()
    assert answer["type"] == "RESULT", answer
    member.raw(frame)
    for peer in (stranger, member):
        direct = [each for each in peer.take() if each["type"] == "ERROR" and "seq" not in each]
        assert len(direct) <= limits.BATCH
        assert all(each["payload"]["code"] in set(ErrorCode) for each in direct)
    for mail in [*agni.mail(), *evil.mail(), *honest.mail()]:
        assert mail["from"] in ("evil2", "hub", _registered_as(stranger.link, bench)), mail
        assert payload_fault(mail.get("payload"), msgspec.json.encode(mail)) is None
    bench.advance(LATER_MS)
    for peer in (stranger, member, evil):
        peer.drop()
    if honest.closed is None and agni.closed is None:
        honest.take()
        honest.tell("agni", "after-all-that", {"n": 1})
        assert honest.acks("accepted") == ["after-all-that"]
        assert [mail["id"] for mail in agni.mail()] == ["after-all-that"]


def _registered_as(link: int, bench: Bench) -> str | None:
    """The name that a frame registered for itself, if it did."""
    for note in bench.notes:
        if note.event == "registered" and note.fields["link"] == link:
            return str(note.fields["agent"])
    return None
