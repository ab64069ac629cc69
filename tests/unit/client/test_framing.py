"""Frames taken without the state machine are the frames it would have taken."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from trishula.framing import Masks, text_frame
from trishula.websocket import Link
from trishula_protocol import limits

SIZES = [0, 1, 125, 126, 127, 0xFFFF, 0x10000, 70_000]


class Wire(asyncio.Transport):
    """A connection to a server that is a state machine."""

    def __init__(self) -> None:
        super().__init__()
        self.server = ServerProtocol(subprotocols=cast("Any", [limits.SUBPROTOCOL_JSON]))
        self.heard: list[Any] = []
        self.aborted = False

    def write(self, data: Any) -> None:
        self.server.receive_data(bytes(data))
        self.heard += self.server.events_received()

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


def open_pair() -> tuple[Link, Wire, list[bytes]]:
    """A link that is open, its server, and what the link's owner hears."""
    link, wire = Link(parse_uri("ws://hub/ws"), None), Wire()
    link.connection_made(wire)
    request = wire.heard.pop()
    assert isinstance(request, Request)
    wire.server.send_response(wire.server.accept(request))
    link.data_received(b"".join(wire.server.data_to_send()))
    frames: list[bytes] = []
    link.on_frame = frames.append
    assert link.opened.done()
    return link, wire, frames


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_is_read_as_it_was_written(size: int) -> None:
    async def run() -> None:
        link, wire, _ = open_pair()
        data = b"x" * size
        link.send(data)
        assert [(each.opcode, each.fin, bytes(each.data)) for each in wire.heard] == [
            (Opcode.TEXT, True, data)
        ]

    asyncio.run(run())


def test_no_masking_key_comes_twice_in_a_row() -> None:
    masks = Masks()
    keys = [masks.next() for _ in range(1000)]
    assert {len(key) for key in keys} == {4}
    assert len(set(keys)) > 990
    assert text_frame(b"abcd", b"\0\0\0\0")[-4:] == b"abcd"


PINGS = st.tuples(st.just("ping"), st.binary(max_size=10))
WHOLE = st.tuples(st.just("whole"), st.sampled_from(SIZES).map(lambda size: b"y" * size))
PARTS = st.tuples(st.just("parts"), st.lists(st.binary(max_size=200), min_size=2, max_size=4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(WHOLE, PARTS, PINGS), max_size=6), st.randoms(use_true_random=False))
def test_however_the_bytes_are_cut_the_same_frames_come(said: list[Any], random: Any) -> None:
    async def run() -> None:
        link, wire, frames = open_pair()
        server = wire.server
        expected: list[bytes] = []
        pings: list[bytes] = []
        for kind, what in said:
            if kind == "ping":
                server.send_ping(what)
                pings.append(what)
            elif kind == "whole":
                server.send_text(what)
                expected.append(what)
            else:
                server.send_text(what[0], fin=False)
                server.send_ping(b"between")
                pings.append(b"between")
                for part in what[1:-1]:
                    server.send_continuation(part, fin=False)
                server.send_continuation(what[-1], fin=True)
                expected.append(b"".join(what))
        data = b"".join(server.data_to_send())
        while data:
            cut = random.choice([1, 2, 3, 4, 9, 10, 11, 200, 60_000, len(data)])
            link.data_received(data[:cut])
            data = data[cut:]
        assert frames == expected
        assert [bytes(each.data) for each in wire.heard] == pings  # as pongs

    asyncio.run(run())


BAD = {
    "masked": Frame(Opcode.TEXT, b"x").serialize(mask=True),
    "reserved bits": b"\xc1\x00",
    "no opcode": b"\x83\x00",
    "a part without a beginning": b"\x80\x01x",
    "a long ping": b"\x89\x7e\x00\x80" + b"x" * 128,
    "too much": b"\x81\x7f" + (limits.CLIENT_FRAME_BYTES + 1).to_bytes(8, "big"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_what_breaks_a_rule_ends_the_connection(bad: bytes) -> None:
    async def run() -> None:
        link, _, frames = open_pair()
        lost: list[int] = []
        link.on_lost = lambda code, reason: lost.append(code)
        link.data_received(b"\x81\x02ok" + bad)
        assert frames == [b"ok"]
        assert lost == [1009 if bad is BAD["too much"] else 1002]
        link.data_received(b"\x81\x02no")
        assert frames == [b"ok"]
        link.connection_lost(None)

    asyncio.run(run())
