"""Frames nobody should send, each with the refusal it must get.

Used on the codec, on the bench (tests/unit/protocol) and on real sockets
(tests/integration/hostile). Every envelope among them that has a readable id calls itself
``bad`` and is meant for the agent ``agni``.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.unit.protocol.reference import Timestamp, pack


class Hostile(NamedTuple):
    """A frame, and words of its refusal. ``named``: the refusal carries the id ``bad``;
    ``whole``: the frame does not parse."""

    name: str
    frame: bytes
    says: tuple[str, ...]
    named: bool = True
    whole: bool = False
    code: str = "bad_message"


def _payload(text: bytes) -> bytes:
    return b'{"type":"STATUS","id":"bad","to":"agni","payload":' + text + b"}"


def _field(**fields: Any) -> bytes:
    envelope = {"type": "STATUS", "id": "bad", "to": "agni", "payload": {"id": "inner"}, **fields}
    return json.dumps(
        {name: value for name, value in envelope.items() if value != "absent"}
    ).encode()


_HUGE = b"9" * 5000

ENVELOPES: list[Hostile] = [
    Hostile("depth 65", _payload(b"[" * 65 + b"]" * 65), ("payload[0]", "nested deeper than 64")),
    Hostile(
        "depth 65 of objects",
        _payload(b'{"k":' * 65 + b"1" + b"}" * 65),
        ("payload.k", "nested deeper than 64"),
    ),
    Hostile("depth 500", _payload(b"[" * 500 + b"]" * 500), ("payload", "nested deeper than 64")),
    Hostile(
        "integer of 5000 digits", _payload(b'{"n":[' + _HUGE + b"]}"), ("payload.n[0]", "2^64-1")
    ),
    Hostile("negative integer of 5000 digits", _payload(b"-" + _HUGE), ("payload", "-2^63")),
    Hostile("2**64", _payload(b'[1,{"a":18446744073709551616}]'), ("payload[1].a", "2^64-1")),
    Hostile("-2**63-1", _payload(b"-9223372036854775809"), ("payload", "-2^63")),
    Hostile("1e999", _payload(b'{"x":1e999}'), ("payload.x", "finite")),
    Hostile("-1e999", _payload(b"[-1e999]"), ("payload[0]", "finite")),
    Hostile("a double of 400 digits", _payload(b"1" * 400 + b".5"), ("payload", "finite")),
    Hostile("NaN", _payload(b'{"x":NaN}'), ("payload.x", "finite")),
    Hostile("Infinity", _payload(b"-Infinity"), ("payload", "finite")),
    Hostile("lone high surrogate", _payload(b'["\\ud800"]'), ("payload[0]", "Unicode")),
    Hostile("lone low surrogate", _payload(b'"\\udc00x"'), ("payload", "Unicode")),
    Hostile(
        "surrogates the wrong way round", _payload(b'"\\udc00\\ud800"'), ("payload", "Unicode")
    ),
    Hostile("lone surrogate in a key", _payload(b'{"a":{"\\ud800":1}}'), ("payload.a", "Unicode")),
    Hostile("encoded surrogate", _payload(b'"\xed\xa0\x80"'), ("payload", "Unicode")),
    Hostile("bad UTF-8", _payload(b'{"a":"\xff"}'), ("payload.a", "UTF-8")),
    Hostile("bad UTF-8 in a key", _payload(b'{"\xc0\x80":1}'), ("payload", "UTF-8")),
    Hostile(
        "an id inside the payload comes first",
        b'{"payload":{"id":"inner","x":"\xff"},"type":"STATUS","to":"agni","id":"bad"}',
        ("payload.x", "UTF-8"),
    ),
    Hostile(
        "lone surrogate in a header", _field(headers={"h": "\ud800"}), ("headers.h", "Unicode")
    ),
    Hostile(
        "lone surrogate in a header's name", _field(headers={"\ud800": ""}), ("headers", "Unicode")
    ),
    Hostile("lone surrogate in to", _field(to="\ud800"), ("to", "Unicode")),
    Hostile("lone surrogate in an id", _field(id="\ud800"), ("id", "Unicode"), named=False),
    Hostile("lone surrogate in a thread", _field(thread="\ud800"), ("thread", "Unicode")),
    Hostile("newline at the end of an id", _field(id="bad\n"), ("id:",), named=False),
    Hostile("NUL in an id", _field(id="bad\0"), ("id:",), named=False),
    Hostile("empty id", _field(id=""), ("id:",), named=False),
    Hostile("id of 129", _field(id="x" * 129), ("id:",), named=False),
    Hostile("id of another alphabet", _field(id="ıd"), ("id:",), named=False),
    Hostile("a number for an id", _field(id=5), ("id:",), named=False),
    Hostile("no id", _field(id="absent"), ("id: required",), named=False),
    Hostile("no type", _field(type="absent"), ("type",)),
    Hostile("no to", _field(type="COMMAND", to="absent"), ("to: required",)),
    Hostile("a type in small letters", _field(type="status"), ("type:",)),
    Hostile("a type of a megabyte", _field(type="x" * 900_000), ("type:",)),
    Hostile("null for a type", _field(type=None), ("type:",)),
    Hostile("newline at the end of to", _field(to="agni\n"), ("to:",)),
    Hostile("NUL in to", _field(to="agni\0"), ("to:",)),
    Hostile("traversal in to", _field(to="../agni"), ("to:",)),
    Hostile("a separator in to", _field(to="a/b"), ("to:",)),
    Hostile("a capital in to", _field(to="Agni"), ("to:",)),
    Hostile("a device in to", _field(to="con"), ("to:", "reserve")),
    Hostile("empty to", _field(to=""), ("to:",)),
    Hostile("only a sign in to", _field(to="#"), ("to:", "group")),
    Hostile("huge to", _field(to="x" * 500_000), ("to:",)),
    Hostile("a number for to", _field(to=5), ("to:",)),
    Hostile("ttl 0", _field(ttl=0), ("ttl:", ">= 1")),
    Hostile("ttl -1", _field(ttl=-1), ("ttl:", ">= 1")),
    Hostile("ttl 2**60", _field(ttl=2**60), ("ttl:", "<=")),
    Hostile("ttl 1e3", _field(ttl=1e3), ("ttl:",)),
    Hostile("ttl true", _field(ttl=True), ("ttl:",)),
    Hostile("priority 0", _field(priority=0), ("priority:", ">= 1")),
    Hostile("priority 6", _field(priority=6), ("priority:", "<= 5")),
    Hostile("priority true", _field(priority=True), ("priority:",)),
    Hostile("priority 3.0", _field(priority=3.0), ("priority:",)),
    Hostile("priority as text", _field(priority="3"), ("priority:",)),
    Hostile("priority null", _field(priority=None), ("priority:",)),
    Hostile("receipt 1", _field(receipt=1), ("receipt:",)),
    Hostile("timestamp 1.5", _field(timestamp=1.5), ("timestamp:",)),
    Hostile("timestamp past 2**53", _field(timestamp=2**60), ("timestamp:",)),
    Hostile("settles on a COMMAND", _field(type="COMMAND", settles=1), ("settles:",)),
    Hostile("settles 0", _field(type="RESULT", reply_to="x", settles=0), ("settles:",)),
    Hostile("RESULT without reply_to", _field(type="RESULT"), ("reply_to:",)),
    Hostile("ERROR without reply_to", _field(type="ERROR"), ("reply_to:",)),
    Hostile("seq as text", _field(seq="1"), ("seq:",)),
    Hostile("headers with a number", _field(headers={"h": 1}), ("headers",)),
    Hostile("headers with an object", _field(headers={"h": {}}), ("headers",)),
    Hostile("headers as an array", _field(headers=[]), ("headers:",)),
    Hostile("a header without a name", _field(headers={"": ""}), ("headers",)),
    Hostile("33 headers", _field(headers={str(n): "" for n in range(33)}), ("headers:",)),
    Hostile("a header of 1025", _field(headers={"h": "x" * 1025}), ("headers",)),
    Hostile("another agent's from", _field(**{"from": "agni"}), ("from:",), code="forbidden"),
    Hostile("a number for from", _field(**{"from": 5}), ("from:",)),
    Hostile("an array for an envelope", b"[[]]", ("envelope: must be an object",), named=False),
    Hostile("arrays for envelopes", b"[[[[]]]]", ("must be an object",), named=False),
    Hostile("a number for an envelope", b"[7]", ("must be an object",), named=False),
    Hostile("a string", b'"hello"', ("must be an object",), named=False),
    Hostile("null", b"null", ("must be an object",), named=False),
    Hostile("an empty object", b"{}", ("type",), named=False),
]
"""JSON; each costs itself alone. Those that are no array also fit between two good ones."""

FRAMES: list[Hostile] = [
    Hostile(name, frame, says, named=False, whole=True)
    for name, frame, says in [
        ("nothing", b"", ("frame:",)),
        ("an empty array", b"[]", ("1-1000", "not 0")),
        ("1001 envelopes", b'[{"type":"ACK"}' + b',{"type":"ACK"}' * 1000 + b"]", ("not 1001",)),
        ("half a million numbers", b"[" + b"1," * 499_999 + b"1]", ("not 500000",)),
        ("100 000 brackets", b"[" * 100_000 + b"]" * 100_000, ("nested deeper than 64",)),
        ("100 000 brackets in a payload", _payload(b"[" * 100_000 + b"]" * 100_000), ("deeper",)),
        ("100 000 objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, ("deeper",)),
        ("a million opening brackets", b"[" * 1_000_000, ("frame:",)),
        ("no JSON", b"hello", ("not JSON",)),
        ("half an envelope", _payload(b"1")[:-1], ("not JSON",)),
        ("an envelope and garbage", _payload(b"1") + b"garbage", ("not JSON",)),
        ("two envelopes and no array", _payload(b"1") * 2, ("not JSON",)),
        ("a trailing comma", b"[" + _payload(b"1") + b",]", ("not JSON",)),
        ("a byte order mark", b"\xef\xbb\xbf" + _payload(b"1"), ("not JSON",)),
        ("UTF-16", '[{"type":"HEARTBEAT"},1]'.encode("utf-16-le"), ("not JSON",)),
        ("a form feed", b"\x0c" + _payload(b"1"), ("not JSON",)),
        ("a line break inside a string", _payload(b'"\n"'), ("not JSON",)),
        ("a NUL inside a string", _payload(b'"\0"'), ("not JSON",)),
        ("single quotes", b"{'type':'HEARTBEAT'}", ("not JSON",)),
        ("an escape there is none of", _payload(b'"\\x"'), ("not JSON",)),
        ("a leading zero", _payload(b"01"), ("not JSON",)),
    ]
]
"""JSON frames that are refused whole."""


def _packed(payload: bytes, **fields: Any) -> bytes:
    head = {"type": "STATUS", "id": "bad", "to": "agni", **fields}
    packed = b"".join(pack(part) for pair in head.items() for part in pair)
    return bytes([0x80 + len(head) + 1]) + packed + b"\xa7payload" + payload


def _of_one_hash(count: int) -> bytes:
    """A map of so many arrays of two numbers, whose tuples all have the same hash in Python."""
    # What CPython makes of a tuple's first number (xxHash), solved for the second one.
    first, second, last = 11400714785074694791, 14029467366897019727, 2870177450012600261
    inverse = pow(second, -1, 1 << 64)
    keys: list[bytes] = []
    number = 0
    while len(keys) < count:
        number += 1
        mixed = (last + number * second) % (1 << 64)
        mixed = (((mixed << 31) | (mixed >> 33)) % (1 << 64)) * first % (1 << 64)
        other = (12345 - mixed) * inverse % (1 << 64)
        if other < (1 << 61) - 1:  # these are their own hash
            keys.append(pack([number, other]))
    return b"\xdf" + count.to_bytes(4, "big") + b"".join(key + b"\xc0" for key in keys)


MSGPACK_ENVELOPES: list[Hostile] = [
    Hostile("4000 keys of one hash", _packed(_of_one_hash(4_000)), ("payload", "must be strings")),
    Hostile("ext", _packed(b"\x81\xa1k\x91\xd4\x05\x00"), ("payload.k[0]", "not a JSON value")),
    Hostile(
        "timestamp", _packed(b"\x91\xd6\xff\x00\x00\x00\x01"), ("payload[0]", "not a JSON value")
    ),
    Hostile(
        "timestamp no clock shows",
        _packed(b"\x81\xa1k\xc7\x0c\xff\x00\x00\x00\x00\x40" + b"\x00" * 7),
        ("payload.k", "imestamp"),
    ),
    Hostile(
        "integer key", _packed(b"\x81\xa1k\x81\x01\x01"), ("payload.k", "keys must be strings")
    ),
    Hostile("bin key", _packed(b"\x81\xc4\x01k\x01"), ("payload", "keys must be strings")),
    Hostile("array key", _packed(b"\x81\x91\x01\x01"), ("payload", "keys must be strings")),
    Hostile("map key", _packed(b"\x91\x81\x80\x01"), ("payload[0]", "keys must be strings")),
    Hostile("ext key", _packed(b"\x81\xd4\x05\x00\x01"), ("payload", "keys must be strings")),
    Hostile("bad UTF-8", _packed(b"\x92\x01\xa1\xff"), ("payload[1]", "UTF-8")),
    Hostile("encoded surrogate", _packed(b"\x81\xa1k\xa3\xed\xa0\x80"), ("payload.k", "UTF-8")),
    Hostile("bad UTF-8 in a key", _packed(b"\x81\xa1\xff\x01"), ("payload", "UTF-8")),
    Hostile("NaN", _packed(b"\x91\xcb\x7f\xf8" + b"\x00" * 6), ("payload[0]", "finite")),
    Hostile("single infinity", _packed(b"\xca\x7f\x80\x00\x00"), ("payload", "finite")),
    Hostile("depth 65", _packed(b"\x91" * 65 + b"\xc0"), ("payload[0]", "nested deeper than 64")),
    Hostile("depth 500, bad UTF-8", _packed(b"\x91" * 500 + b"\xa1\xff"), ("payload[0]", "deeper")),
    Hostile("bin at depth 65", _packed(b"\x91" * 64 + b"\xc4\x01x"), ("payload[0]", "deeper")),
    Hostile("bin for an id", _packed(b"\xc0", id=b"bad"), ("id:",), named=False),
    Hostile("bin for to", _packed(b"\xc0", to=b"agni"), ("to:",)),
    Hostile("timestamp as ext", _packed(b"\xc0", timestamp=Timestamp(1)), ("timestamp:",)),
    Hostile("double priority", _packed(b"\xc0", priority=3.0), ("priority:",)),
    Hostile("bin header", _packed(b"\xc0", headers={"h": b"x"}), ("headers",)),
    Hostile("bin names", pack({b"type": b"STATUS"}), ("envelope:",), named=False),
    Hostile("a number", b"\x07", ("must be an object",), named=False),
    Hostile("nil", b"\xc0", ("must be an object",), named=False),
]
"""MessagePack; each costs itself alone."""

MSGPACK_FRAMES: list[Hostile] = [
    Hostile(name, frame, says, named=False, whole=True)
    for name, frame, says in [
        ("nothing", b"", ("frame:",)),
        ("an empty array", b"\x90", ("not 0",)),
        ("1001 envelopes", b"\xdc\x03\xe9" + b"\x80" * 1001, ("not 1001",)),
        ("2**32-1 elements claimed", b"\xdd\xff\xff\xff\xff", ("not 4294967295",)),
        ("2**32-1 in a payload", _packed(b"\xdd\xff\xff\xff\xff\x01"), ("truncated",)),
        ("a map of 2**32-1", _packed(b"\xdf\xff\xff\xff\xff\xa1a\x01"), ("truncated",)),
        ("a string of 2**32-1", _packed(b"\xdb\xff\xff\xff\xff"), ("truncated",)),
        ("bin of 2**32-1", _packed(b"\xc6\xff\xff\xff\xff"), ("truncated",)),
        ("ext of 2**32-1", _packed(b"\xc9\xff\xff\xff\xff\x01"), ("truncated",)),
        ("a map of 2**32-1 for an envelope", b"\xdf\xff\xff\xff\xff", ("truncated",)),
        ("the byte that means nothing", _packed(b"\xc1"), ("malformed",)),
        ("a million arrays", b"\x91" * 1_000_000, ("frame:",)),
        ("100 000 arrays in a payload", _packed(b"\x91" * 100_000 + b"\xc0"), ("deeper",)),
        ("trailing bytes", _packed(b"\x01") + b"\x01", ("trailing",)),
        ("JSON", b'{"type":"HEARTBEAT"}', ("not MessagePack",)),
    ]
]
"""MessagePack frames that are refused whole."""


def batched(hostile: Hostile) -> bytes:
    """``hostile`` between two good envelopes in one JSON frame."""
    good = b'{"type":"STATUS","id":"good%d","to":"agni","payload":{"x":1e22,"y":[-0.0,"\xc3\xa9"]}}'
    return b"[" + b",".join([good % 1, hostile.frame, good % 2]) + b"]"


def batched_msgpack(hostile: Hostile) -> bytes:
    """``hostile`` between two good envelopes in one MessagePack frame."""
    first, second = (
        pack({"type": "STATUS", "id": f"good{n}", "to": "agni", "payload": {"x": 1e22}})
        for n in (1, 2)
    )
    return b"\x93" + first + hostile.frame + second
