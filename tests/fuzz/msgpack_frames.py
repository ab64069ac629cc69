"""Binary frames: any bytes as MessagePack, decoded, checked, and given to a hub."""

from __future__ import annotations

from collections.abc import Sequence

from tests.fuzz import json_frames
from tests.fuzz.codec_rules import check
from tests.fuzz.target import Target, fitting
from tests.unit.protocol.hostile_frames import (
    MSGPACK_ENVELOPES,
    MSGPACK_FRAMES,
    batched_msgpack,
)
from tests.unit.protocol.reference import Timestamp, pack
from trishula_protocol.codec import MSGPACK
from trishula_protocol.envelope import Envelope

MAX_BYTES = 4096


def seeds() -> Sequence[bytes]:
    """What agents send, alone and together, and what tests know to hurt."""
    good = [pack(each) for each in [*json_frames.GOOD, *json_frames.ASKED]]
    binary = pack({"type": "STATUS", "id": "b", "to": "agni", "payload": [b"\0\1", {"k": b""}]})
    hostile = [each.frame for each in MSGPACK_ENVELOPES + MSGPACK_FRAMES]
    beside = [batched_msgpack(each) for each in MSGPACK_ENVELOPES]
    return fitting([*good, binary, pack(json_frames.GOOD), *hostile, *beside], MAX_BYTES)


def words() -> list[bytes]:
    """Packed names and values, and the heads that say how much follows."""
    names = [*Envelope.__struct_encode_fields__, "op", "agent", "stage", "seqs", "$base64"]
    values = ["COMMAND", "STATUS", "RESULT", "ERROR", "HEARTBEAT", "ACK", "hub", "broadcast"]
    values += ["#ops", "@review", "agni", "done", "read", "rejected"]
    values += [str(each["op"]) for each in json_frames.OPERATIONS]
    numbers = [2**64 - 1, -(2**63), 2**53, 1e22, float("inf"), float("nan"), None, True]
    heads = [bytes([kind]) for kind in range(0xC0, 0xE0)]
    heads += [b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 65]
    return [*(pack(each) for each in [*names, *values, *numbers, Timestamp(1)]), *heads]


def run(data: bytes) -> None:
    """One frame."""
    check(MSGPACK, data)


TARGET = Target(run, seeds, words(), MAX_BYTES)
