"""Whatever a peer writes once it has upgraded: good frames, broken ones, bombs, half of them.

The first byte of an input says what was negotiated, the second in how large pieces the others
arrive.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from functools import cache

from tests.fuzz import json_frames, msgpack_frames
from tests.fuzz.front import Front, pieces_of
from tests.fuzz.target import Target, fitting
from tests.integration.net.rig import (
    BINARY,
    CLOSE,
    CONT,
    HEARTBEAT,
    PING,
    PONG,
    TEXT,
    frame,
    header,
    upgrade_request,
)
from tests.unit.protocol.reference import pack
from trishula_protocol.limits import SUBPROTOCOL_MSGPACK

MAX_BYTES = 4096
_MSGPACK = f"Sec-WebSocket-Protocol: {SUBPROTOCOL_MSGPACK}"
_DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
HEADS = [
    upgrade_request(),
    upgrade_request(_MSGPACK),
    upgrade_request(_DEFLATE),
    upgrade_request(_MSGPACK, _DEFLATE),
]
"""What may be negotiated."""


def _deflated(payload: bytes) -> bytes:
    work = zlib.compressobj(9, zlib.DEFLATED, -12)
    return (work.compress(payload) + work.flush(zlib.Z_SYNC_FLUSH))[:-4]


def seeds() -> Sequence[bytes]:
    """Frames as clients send them, and as nobody should."""
    register = {"op": "register", "agent": "evil", "heartbeat_ms": 60_000}
    first = {"type": "COMMAND", "id": "r", "to": "hub", "payload": register}
    text = json.dumps([first, *json_frames.GOOD]).encode()
    packed = pack([first, *json_frames.GOOD])
    plain = [
        frame(TEXT, HEARTBEAT),
        frame(TEXT, text) + frame(CLOSE, struct.pack("!H", 1000) + b"bye"),
        frame(TEXT, text[:50], fin=False) + frame(PING, b"now") + frame(CONT, text[50:]),
        frame(PING, b"x" * 125) + frame(PONG, b""),
        frame(CLOSE, b""),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, struct.pack("!H", 1005)),
        frame(CLOSE, struct.pack("!H", 1000) + b"\xff"),
        frame(CONT, b"no beginning"),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        frame(TEXT, b"\xff"),
        frame(PING, b"", fin=False),
        frame(PING, b"x" * 126),
        frame(3, b"reserved"),
        frame(TEXT, b"", rsv1=True),
        header(0x81, 1 << 40),
        header(0x81, (1 << 63) + 1),
        b"\x81\x02{}",
        frame(TEXT, b"[]") * 20,
        frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 200,
    ]
    binary = [frame(BINARY, packed), frame(BINARY, pack(HEARTBEAT)), frame(BINARY, b"\xc1") * 10]
    bombs = [frame(kind, _deflated(b" " * (1 << 21)), rsv1=True) for kind in (TEXT, BINARY)]
    squeezed = [
        frame(TEXT, _deflated(text), rsv1=True),
        frame(BINARY, _deflated(packed), rsv1=True),
        frame(TEXT, b"\0\xff", rsv1=True),
        frame(TEXT, _deflated(b"{"), fin=False, rsv1=True) + frame(CONT, _deflated(b"}")),
    ]
    inputs = [b"\0\0" + each for each in plain] + [b"\1\0" + each for each in binary + plain]
    inputs += [b"\2\0" + each for each in [*plain, *bombs, *squeezed]]
    inputs += [b"\3\0" + each for each in [*binary, *bombs, *squeezed]]
    return fitting([*inputs, *(b"\0\2" + each for each in plain)], MAX_BYTES)


def words() -> list[bytes]:
    """Heads of frames, and what they carry."""
    heads = [bytes([fin | kind]) for kind in range(16) for fin in (0, 0x40, 0x80, 0xC0)]
    sizes = [b"\x80", b"\xfe\x00\x7e", b"\xfe\xff\xff", b"\xff" + bytes(7) + b"\x01"]
    return [*heads, *sizes, bytes(4), HEARTBEAT, *json_frames.words(), *msgpack_frames.words()]


@cache
def front() -> Front:
    """The one port that all input goes to."""
    return Front()


def run(data: bytes) -> None:
    """One connection."""
    head = HEADS[data[0] % len(HEADS)] if data else HEADS[0]
    answered = front().serve([head, *pieces_of(data[1:])])
    assert answered.startswith(b"HTTP/1.1 101 "), answered[:100]


TARGET = Target(run, seeds, words(), MAX_BYTES)
