"""Text frames: any bytes as JSON, decoded, checked, and given to a hub."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tests.fuzz.codec_rules import check
from tests.fuzz.target import Target, fitting
from tests.unit.protocol.hostile_frames import ENVELOPES, FRAMES, batched
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode

MAX_BYTES = 4096

GOOD: list[dict[str, object]] = [
    {"type": "HEARTBEAT"},
    {"type": "STATUS", "payload": {"text": "busy", "details": [1]}},
    {"type": "STATUS", "id": "m1", "to": "agni", "payload": {"x": [1e22, -0.0, 2**64 - 1, "é"]}},
    {"type": "COMMAND", "id": "m2", "to": "#ops", "priority": 1, "ttl": 1, "receipt": True},
    {"type": "COMMAND", "id": "m3", "to": "@review", "thread": "t", "headers": {"a": "b"}},
    {"type": "STATUS", "id": "m4", "to": "broadcast", "payload": {"$base64": "AAEC"}},
    {"type": "RESULT", "id": "m5", "to": "agni", "reply_to": "m1", "settles": 1},
    {"type": "ERROR", "id": "m6", "to": "dc", "reply_to": "m1", "from": "evil2"},
    {"type": "ACK", "to": "hub", "payload": {"stage": "done", "seqs": [1, 2]}},
    {"type": "ACK", "to": "hub", "payload": {"stage": "read", "seqs": [1]}},
    {
        "type": "ACK",
        "to": "hub",
        "payload": {"stage": "rejected", "seqs": [1], "reason": "no", "requeue": True},
    },
]
"""Envelopes that agents send; both encodings begin with them."""
OPERATIONS: list[dict[str, object]] = [
    {"op": "register", "agent": "agni", "groups": ["ops"], "prefetch": 1, "heartbeat_ms": 2000},
    {"op": "register", "agent": "new", "receive": False, "ephemeral": True, "lease_ms": 1000},
    {"op": "agents", "capability": "review", "online": True, "after": "a"},
    {"op": "status", "text": "here", "details": {"a": None}},
    {"op": "join", "group": "ops"},
    {"op": "leave", "group": "ops"},
    {"op": "watch", "on": True},
    {"op": "peek", "limit": 5},
    {"op": "history", "thread": "m1", "after": 0, "limit": 1},
    {"op": "trace", "id": "m1"},
    {"op": "recall", "id": "m1"},
    {"op": "deregister"},
    {"op": "nodes"},
    {"op": "deadletters", "agent": "@review", "after": 0},
    {"op": "retry", "agent": "agni", "seq": 1},
    {"op": "drop", "agent": "agni", "seq": 1},
]
ASKED: list[dict[str, object]] = [
    {"type": "COMMAND", "id": f"q{n}", "to": "hub", "payload": payload}
    for n, payload in enumerate(OPERATIONS)
]


def seeds() -> Sequence[bytes]:
    """What agents send, alone and together, and what tests know to hurt."""
    good = [json.dumps(each).encode() for each in [*GOOD, *ASKED]]
    hostile = [each.frame for each in ENVELOPES + FRAMES]
    beside = [batched(each) for each in ENVELOPES if not each.frame.startswith(b"[")]
    return fitting([*good, json.dumps(GOOD).encode(), *hostile, *beside], MAX_BYTES)


def words() -> list[bytes]:
    """Names of fields, values with a meaning, and numbers at the borders."""
    names = [*Envelope.__struct_encode_fields__, "op", "agent", "stage", "seqs", "$base64"]
    values = ["COMMAND", "STATUS", "RESULT", "ERROR", "HEARTBEAT", "ACK", "hub", "broadcast"]
    values += ["#ops", "@review", "agni", "done", "read", "rejected", *(str(c) for c in ErrorCode)]
    values += [str(each["op"]) for each in OPERATIONS]
    numbers = ["18446744073709551616", "-9223372036854775809", "1e999", "-0.0", "9007199254740993"]
    marks = [b"[[[[[[[[", b"]]]]]]]]", b'{"a":{"a":{"a":', b"}}}", b"\\ud800", b"\\u0000", b"\xff"]
    quoted = [json.dumps(each).encode() for each in [*names, *values]]
    return [*quoted, *(number.encode() for number in numbers), *marks, b"null", b"true", b"NaN"]


def run(data: bytes) -> None:
    """One frame."""
    check(JSON, data)


TARGET = Target(run, seeds, words(), MAX_BYTES)
