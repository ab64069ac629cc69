"""Whatever a peer writes to the hub's port, from its first byte on: HTTP, upgrades, frames, noise.

The first byte of an input says in how large pieces the others arrive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from tests.fuzz.front import Front, pieces_of
from tests.fuzz.target import Target, fitting
from tests.integration.net.rig import HEARTBEAT, TEXT, frame, upgrade_request
from trishula_protocol.limits import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK

MAX_BYTES = 4096
_STATUS = re.compile(rb"HTTP/1\.1 [1-5]\d\d [ -~]*\r\n")


def seeds() -> Sequence[bytes]:
    """What clients say first, and what attackers do."""
    get = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
    heads = [get % path for path in (b"/", b"/health", b"/health/live", b"/health/ready", b"/ws")]
    heads += [
        heads[1] + heads[2] + heads[3],
        b"GET /health HTTP/1.0\r\n\r\n",
        b"HEAD /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + heads[1],
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        b"POST /x HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        b"POST /x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03\x01",
        b"GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%ff%00%0d%0a?token=x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 3000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A:b\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
        b"\r\n\r\n",
        b"GET\r\n\r\n",
    ]
    upgrades = [
        upgrade_request(),
        upgrade_request(target="/ws?token=secret"),
        upgrade_request("Authorization: Bearer a.b.c"),
        upgrade_request(f"Sec-WebSocket-Protocol: {SUBPROTOCOL_MSGPACK}"),
        upgrade_request(f"Sec-WebSocket-Protocol: nothing, {SUBPROTOCOL_JSON}"),
        upgrade_request("Sec-WebSocket-Protocol: nothing"),
        upgrade_request("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        upgrade_request("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99"),
        upgrade_request("Origin: https://127.0.0.1"),
        upgrade_request("Origin: http://[::1"),
        upgrade_request("Origin: null", "Origin: x"),
        upgrade_request("X-Forwarded-For: 203.0.113.1", "Forwarded: for=unknown"),
        upgrade_request() + frame(TEXT, HEARTBEAT),
        upgrade_request().replace(b"13", b"8"),
        upgrade_request().replace(b"GET", b"POST"),
        upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        upgrade_request().replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: !"),
    ]
    both = [*heads, *upgrades]
    return fitting([b"\0" + each for each in both] + [b"\4" + each for each in both], MAX_BYTES)


def words() -> list[bytes]:
    """Methods, paths, headers and the marks between them."""
    methods = [b"GET ", b"HEAD ", b"POST ", b"OPTIONS ", b"CONNECT ", b"PRI "]
    paths = [b"/ws", b"/health", b"/health/live", b"/health/ready", b"?token=", b"%00", b"*"]
    names = ["Host", "Upgrade", "Connection", "Origin", "Content-Length", "Transfer-Encoding"]
    names += ["Expect", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol"]
    names += ["Sec-WebSocket-Extensions", "Authorization", "X-Forwarded-For", "Forwarded", "Via"]
    values = ["websocket", "Upgrade", "keep-alive", "close", "chunked", "100-continue", "13"]
    values += ["permessage-deflate", "client_max_window_bits", "http://[", "null", "Bearer "]
    marks = [
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\0",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b": ",
        b"0\r\n",
    ]
    text = [*(f"{name}: " for name in names), *values, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK]
    return [*methods, *paths, *(each.encode() for each in text), *marks]


@cache
def front() -> Front:
    """The one port that all input goes to."""
    return Front()


def run(data: bytes) -> None:
    """One connection."""
    answered = front().serve(pieces_of(data))
    assert not answered or _STATUS.match(answered), answered[:100]


TARGET = Target(run, seeds, words(), MAX_BYTES)
