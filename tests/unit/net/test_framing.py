"""Frames taken and written without the state machine are those it takes and writes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

from trishula_broker.net.crowd import Crowd
from trishula_broker.net.framing import BINARY, TEXT, head
from trishula_broker.net.settings import NetSettings
from trishula_broker.net.websocket import Surroundings, WebSocketConnection
from trishula_protocol.codec import JSON, MSGPACK, Codec
from trishula_protocol.errors import ProtocolError

LIMIT = 80_000
SIZES = [0, 1, 125, 126, 127, 0xFFFF, 0x10000, 70_000]


class Wire(asyncio.Transport):
    """Keeps what the hub writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def writelines(self, parts: Any) -> None:
        self.written += b"".join(parts)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Told:
    """What a driver and the deadlines are told of a connection."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, str | None]] = []
        self.alive_count = 0
        self.ends: list[str] = []

    def connect(self, *_: Any) -> None:
        pass

    def receive(self, _: Any, items: list[Any], size: int) -> None:
        self.messages.append((size, None))

    def unreadable(self, _: Any, error: ProtocolError) -> None:
        self.messages.append((-1, error.message))

    def alive(self, _: Any) -> None:
        self.alive_count += 1

    def disconnect(self, _: Any, reason: str) -> None:
        self.ends.append(reason)  # the driver takes the first

    def set(self, *_: Any) -> None:
        pass


def opened(codec: Codec = JSON) -> tuple[WebSocketConnection, Wire, Told]:
    """A connection after its upgrade."""
    wire, told = Wire(), Told()
    place = Crowd(1).enter("10.0.0.1")
    assert place is not None
    connection = WebSocketConnection(
        Surroundings(cast(Any, told), NetSettings(frame_bytes=LIMIT), cast(Any, told)),
        wire,
        Protocol(SERVER, max_size=LIMIT),
        codec,
        place,
    )
    connection.start("default", "10.0.0.1", None, b"")
    return connection, wire, told


def by_the_state_machine(data: bytes, codec: Codec) -> tuple[list[tuple[int, str | None]], int]:
    """The messages in ``data``, and how many other frames there are."""
    server = Protocol(SERVER, max_size=LIMIT)
    server.receive_data(data)
    messages: list[tuple[int, str | None]] = []
    others, begun, kind = 0, b"", Opcode.TEXT
    for event in server.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if event.opcode is not Opcode.CONT:
                begun, kind = b"", event.opcode
            begun += bytes(event.data)
            if event.fin:
                messages.append(decoded(begun, kind is Opcode.BINARY, codec))
        elif event.opcode is not Opcode.CLOSE:
            others += 1
    return messages, others


def decoded(data: bytes, binary: bool, codec: Codec) -> tuple[int, str | None]:
    if binary is not codec.binary:
        kinds = ("text", "binary")
        return -1, (
            f"frame: {codec.subprotocol} takes {kinds[codec.binary]} frames, "
            f"not {kinds[binary]} ones"
        )
    try:
        codec.decode(data)
    except ProtocolError as error:
        return -1, error.message
    return len(data), None


BEAT = b'{"type":"HEARTBEAT"}'
DATA = st.one_of(
    st.sampled_from([BEAT, b"[" + BEAT + b"," + BEAT + b"]"]),
    st.sampled_from(SIZES).map(lambda size: b"7" * size),
)
OPCODES = st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.BINARY])
WHOLE = st.tuples(OPCODES, DATA).map(lambda each: [Frame(*each)])
PING = st.binary(max_size=10).map(lambda data: [Frame(Opcode.PING, data)])


@st.composite
def in_parts(draw: st.DrawFn) -> list[Frame]:
    opcode = draw(OPCODES)
    parts = draw(st.lists(st.binary(max_size=200), min_size=2, max_size=4))
    frames = [Frame(opcode if not n else Opcode.CONT, part, False) for n, part in enumerate(parts)]
    frames[-1].fin = True
    return [frames[0], Frame(Opcode.PING, b"between"), *frames[1:]]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.one_of(WHOLE, in_parts(), PING), max_size=6),
    st.sampled_from([JSON, MSGPACK]),
    st.randoms(use_true_random=False),
)
def test_however_the_bytes_are_cut_the_same_messages_come(
    said: list[list[Frame]], codec: Codec, random: Any
) -> None:
    data = b"".join(frame.serialize(mask=True) for frames in said for frame in frames)
    connection, wire, told = opened(codec)
    messages, others = by_the_state_machine(data, codec)
    while data:
        cut = random.choice([1, 2, 5, 6, 7, 8, 13, 14, 15, 200, 60_000, len(data)])
        connection.data_received(data[:cut])
        data = data[cut:]
    assert told.messages == messages
    assert told.alive_count == others
    assert told.ends == []
    client = Protocol(CLIENT)
    client.receive_data(wire.written)
    assert len(client.events_received()) == others  # pongs


BAD = {
    "not masked": (Frame(Opcode.TEXT, b"x").serialize(mask=False), 1002),
    "not masked and long": (Frame(Opcode.TEXT, b"x" * 200).serialize(mask=False), 1002),
    "reserved bits": (b"\xc1\x80abcd", 1002),
    "no opcode": (b"\x83\x80abcd", 1002),
    "a part without a beginning": (b"\x80\x81abcdx", 1002),
    "a long ping": (b"\x89\xfe\x00\x80abcd" + b"x" * 128, 1002),
    "too much": (b"\x81\xff" + (LIMIT + 1).to_bytes(8, "big"), 1009),
    "too much in parts": (
        Frame(Opcode.TEXT, b"x" * LIMIT, False).serialize(mask=True) + b"\x80\x81",
        1009,
    ),
}


@pytest.mark.parametrize(("bad", "code"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_breaks_a_rule_ends_the_connection(bad: bytes, code: int, step: int) -> None:
    connection, wire, told = opened()
    data = Frame(Opcode.TEXT, BEAT).serialize(mask=True) + bad + b"abcd"
    for at in range(0, len(data), step):
        connection.data_received(data[at : at + step])
    assert told.messages == [(len(BEAT), None)]
    assert len(set(told.ends)) == 1
    client = Protocol(CLIENT)
    client.receive_data(wire.written)
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == code
    connection.data_received(Frame(Opcode.TEXT, BEAT).serialize(mask=True))
    assert len(told.messages) == 1


@pytest.mark.parametrize("begun", [0, 1, 3, 9])
def test_the_answer_to_a_close_is_found_behind_a_frame_that_had_begun(begun: int) -> None:
    connection, _, told = opened()
    last = Frame(Opcode.TEXT, BEAT).serialize(mask=True)
    connection.data_received(last[:begun])
    connection.close(4400, "enough")
    answer = Frame(Opcode.CLOSE, b"\x11\x30").serialize(mask=True)
    connection.data_received(last[begun:] + answer)
    assert told.messages == []
    assert told.ends == ["closed by the peer: 4400"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("first", "opcode"), [(TEXT, Opcode.TEXT), (BINARY, Opcode.BINARY)])
def test_a_head_is_that_of_the_state_machine(size: int, first: int, opcode: Opcode) -> None:
    data = b"x" * size
    assert head(first, size) + data == Frame(opcode, data).serialize(mask=False)
