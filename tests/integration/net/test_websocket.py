"""Frames in and out of one connection, and every way it can end."""

import asyncio
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.net.rig import (
    BINARY,
    CLOSE,
    CONT,
    HEARTBEAT,
    PING,
    PONG,
    TEXT,
    TIMEOUT_S,
    Rig,
    frame,
    header,
    upgrade_request,
)
from trishula_broker.hub.effects import Close, Pause, Resume, Send
from trishula_protocol.errors import ErrorCode
from trishula_protocol.limits import SUBPROTOCOL_MSGPACK

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def rss() -> int:
    """Bytes this process holds in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def test_envelopes_go_in_and_frames_come_out(rig: Rig) -> None:
    async with rig.client() as client:
        (link, _) = await rig.heard.next("connect")
        await client.send('[{"type":"HEARTBEAT"},{"type":"HEARTBEAT"}]')
        _, items, size = await rig.heard.next("receive")
        assert [item.type for item in items] == ["HEARTBEAT"] * 2
        assert size == 43
        rig.do(Send(link, b'{"a":1}', False), Send(link, b'{"b":2}', False))
        assert [await client.recv(), await client.recv()] == ['{"a":1}', '{"b":2}']


async def test_all_frames_of_a_turn_are_one_write(rig: Rig) -> None:
    raw = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    rig.do(*(Send(link, b"%d" % n, False) for n in range(100)))
    first = await raw.reader.read(4096)
    assert len(first) == sum(2 + len(str(n)) for n in range(100))
    await raw.close()


async def test_fragments_are_put_together_around_a_ping(rig: Rig) -> None:
    raw = await rig.upgraded()
    await raw.send(
        frame(TEXT, HEARTBEAT[:5], fin=False)
        + frame(CONT, b"", fin=False)
        + frame(PING, b"hi")
        + frame(CONT, HEARTBEAT[5:])
    )
    _, items, size = await rig.heard.next("receive")
    assert items[0].type == "HEARTBEAT"
    assert size == len(HEARTBEAT)
    await rig.heard.next("alive")
    assert await raw.frame() == (PONG, b"hi")
    await raw.send(frame(PONG, b""))
    await rig.heard.next("alive")
    await raw.close()


@pytest.mark.parametrize(
    ("headers", "sent", "takes"),
    [
        ((), BINARY, "text"),
        ((f"Sec-WebSocket-Protocol: {SUBPROTOCOL_MSGPACK}",), TEXT, "binary"),
    ],
)
async def test_the_wrong_kind_of_frame_is_refused_and_the_connection_lives(
    rig: Rig, headers: tuple[str, ...], sent: int, takes: str
) -> None:
    raw = await rig.upgraded(*headers)
    await raw.send(frame(sent, HEARTBEAT))
    _, error = await rig.heard.next("unreadable")
    assert error.code is ErrorCode.BAD_MESSAGE
    assert f"takes {takes} frames" in error.message
    await raw.send(frame(PING, b""))
    assert (await raw.frame())[0] == PONG
    await raw.close()


@pytest.mark.parametrize(
    "payload", [b"{", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"type":"HEARTBEAT"}x', b""]
)
async def test_a_frame_that_does_not_parse_is_refused_and_the_connection_lives(
    rig: Rig, payload: bytes
) -> None:
    raw = await rig.upgraded()
    await raw.send(frame(TEXT, payload) + frame(TEXT, HEARTBEAT))
    _, error = await rig.heard.next("unreadable")
    assert error.code is ErrorCode.BAD_MESSAGE
    await rig.heard.next("receive")
    await raw.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(header(0x81, (1 << 20) + 1), 1009, id="announced too big"),
        pytest.param(
            frame(TEXT, b" " * (1 << 19), fin=False) + header(0x80, (1 << 19) + 1),
            1009,
            id="too big with its last fragment",
        ),
        pytest.param(b"\x81\x05hello", 1002, id="not masked"),
        pytest.param(frame(3, b""), 1002, id="unknown opcode"),
        pytest.param(frame(CONT, b""), 1002, id="continuation of nothing"),
        pytest.param(frame(TEXT, b"", rsv1=True), 1002, id="compressed but not negotiated"),
        pytest.param(frame(PING, b"x" * 126), 1002, id="long ping"),
    ],
)
async def test_a_broken_stream_is_closed_with_a_code(rig: Rig, data: bytes, code: int) -> None:
    raw = await rig.upgraded()
    await raw.send(data)
    assert await raw.close_code() == code
    _, reason = await rig.heard.next("disconnect")
    assert str(code) in reason
    assert await raw.rest() == b""
    await raw.close()


async def test_a_frame_of_the_limit_is_taken(rig: Rig) -> None:
    raw = await rig.upgraded()
    payload = HEARTBEAT + b" " * ((1 << 20) - len(HEARTBEAT))
    await raw.send(frame(TEXT, payload))
    assert (await rig.heard.next("receive"))[2] == 1 << 20
    await raw.close()


@needs_proc
async def test_a_client_that_ignores_1009_gets_nothing_into_memory(rig: Rig) -> None:
    raw = await rig.upgraded()
    await raw.send(header(0x81, 1 << 30))
    assert await raw.close_code() == 1009
    before = rss()
    for _ in range(256):
        await raw.send(bytes(1 << 18))
    assert rss() - before < 8 << 20
    await raw.close()
    await rig.heard.next("disconnect")


@needs_proc
@pytest.mark.parametrize("fragments", [1, 4])
async def test_a_compression_bomb_is_closed_with_1009(rig: Rig, fragments: int) -> None:
    raw = await rig.upgraded(DEFLATE)
    squeeze = zlib.compressobj(9, wbits=-12)
    bomb = squeeze.compress(b" " * (128 << 20)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    bomb = bomb[:-4]
    assert len(bomb) < 1 << 20
    before = rss()
    step = -(-len(bomb) // fragments)
    for n in range(fragments):
        last = n == fragments - 1
        piece = bomb[n * step : (n + 1) * step]
        await raw.send(frame(CONT if n else TEXT, piece, fin=last, rsv1=n == 0))
    assert await raw.close_code() == 1009
    assert rss() - before < 8 << 20
    await raw.close()


async def test_deflate_is_without_context_takeover(rig: Rig) -> None:
    raw = await rig.raw()
    await raw.send(upgrade_request(DEFLATE + "; client_max_window_bits"))
    head = await raw.head()
    assert "server_no_context_takeover" in head
    assert "client_no_context_takeover" in head
    await raw.close()


async def test_compressed_messages_go_both_ways(rig: Rig) -> None:
    async with rig.client(compression="deflate") as client:
        (link, _) = await rig.heard.next("connect")
        await client.send('{"type":"HEARTBEAT"}' + " " * 5000)
        await rig.heard.next("receive")
        rig.do(Send(link, b'"' + b"a" * 5000 + b'"', False))
        assert await client.recv() == '"' + "a" * 5000 + '"'


async def test_deflate_can_be_switched_off(rig_of: Any) -> None:
    rig = await rig_of(compression=False)
    async with rig.client(compression="deflate") as client:
        assert client.protocol.extensions == []


async def test_a_peer_that_closes_is_answered(rig: Rig) -> None:
    client = await rig.client()
    await client.close(4000, "enough")
    assert client.close_code == 4000
    _, reason = await rig.heard.next("disconnect")
    assert "4000" in reason


async def test_the_hub_closes_with_its_code_behind_what_it_sent(rig: Rig) -> None:
    async with rig.client() as client:
        (link, _) = await rig.heard.next("connect")
        rig.do(Send(link, b"1", False), Close(link, 4409, "taken over " + "é" * 200))
        assert await client.recv() == "1"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 4409
        assert client.close_reason is not None
        assert client.close_reason.startswith("taken over")
        await rig.heard.next("disconnect")


async def test_nothing_is_heard_after_the_hub_closed(rig: Rig) -> None:
    raw = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    rig.do(Close(link, 1012, ""))
    assert await raw.close_code() == 1012
    await raw.send(frame(TEXT, HEARTBEAT) + frame(CLOSE, struct.pack("!H", 1012)))
    await rig.heard.next("disconnect")
    assert rig.heard.count("receive") == 0
    assert await raw.rest() == b""
    await raw.close()


async def test_a_peer_that_does_not_answer_a_close_is_cut_off(rig_of: Any) -> None:
    rig = await rig_of(close_s=0.2)
    raw = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    rig.do(Close(link, 4408, "silent"))
    assert await raw.close_code() == 4408
    await rig.heard.next("disconnect")
    assert await raw.rest() == b""
    await raw.close()


async def test_a_peer_that_never_hangs_up_after_an_error_is_cut_off(rig_of: Any) -> None:
    rig = await rig_of(close_s=0.2)
    raw = await rig.upgraded()
    await raw.send(frame(3, b""))
    assert await raw.close_code() == 1002
    assert await raw.rest() == b""
    async with asyncio.timeout(TIMEOUT_S):
        while not raw.writer.is_closing():
            raw.writer.write(b"x")
            await asyncio.sleep(0)
    await raw.close()


async def test_a_half_closed_or_reset_peer_is_gone(rig: Rig) -> None:
    raw = await rig.upgraded()
    raw.writer.write_eof()
    _, reason = await rig.heard.next("disconnect")
    assert "end of stream" in reason
    await raw.close()
    raw = await rig.upgraded()
    await rig.heard.next("connect")
    raw.writer.transport.abort()
    await rig.heard.next("disconnect")
    assert rig.heard.count("disconnect") == 2


async def test_paused_sockets_are_not_read_until_resumed(rig: Rig) -> None:
    raw = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    rig.do(Pause(link))
    other = await rig.upgraded()  # once it is served, the pause has been carried out
    await raw.send(frame(TEXT, HEARTBEAT))
    await other.send(frame(TEXT, HEARTBEAT))
    assert (await rig.heard.next("receive"))[0] != link
    rig.do(Resume(link))
    assert (await rig.heard.next("receive"))[0] == link
    await raw.close()
    await other.close()


async def test_a_paused_socket_can_still_be_closed(rig: Rig) -> None:
    async with rig.client() as client:
        (link, _) = await rig.heard.next("connect")
        rig.do(Pause(link))
        rig.do(Close(link, 1012, "restart"))
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1012


async def test_a_slow_reader_is_told_to_the_hub_and_heard_of_again(rig: Rig) -> None:
    raw = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    sent = 0
    while not rig.heard.count("writable"):
        rig.do(Send(link, bytes(1 << 18), False))
        sent += 1
        await asyncio.sleep(0)
    assert (await rig.heard.next("writable")) == (link, False)
    for _ in range(sent):
        await raw.frame()
    assert (await rig.heard.next("writable")) == (link, True)
    await raw.close()


async def test_a_reader_that_stands_still_is_closed_with_a_code(rig_of: Any) -> None:
    rig = await rig_of(write_limit_bytes=1 << 20, close_s=30)
    raw = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    sent = 0
    while rig.driver.connections and sent < 200:
        rig.do(Send(link, bytes(1 << 18), False))
        sent += 1
        await asyncio.sleep(0)
    codes: list[int] = []
    while not codes:
        opcode, payload = await raw.frame()
        if opcode == CLOSE:
            codes.append(struct.unpack("!H", payload[:2])[0])
    assert codes == [1013]
    await raw.close()
    await rig.heard.next("disconnect")


async def test_a_reader_that_never_reads_again_is_cut_off(rig_of: Any) -> None:
    rig = await rig_of(write_limit_bytes=1 << 20, close_s=0.2)
    raw = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    rig.do(*(Send(link, bytes(1 << 20), False) for _ in range(40)))
    await rig.heard.next("disconnect")
    await raw.close()


async def test_a_failure_over_one_frame_costs_that_connection_alone(rig: Rig) -> None:
    def fail(link: int, items: Any) -> None:
        raise RuntimeError("a bug")

    async with rig.client() as victim, rig.client() as other:
        rig.hub.on_receive = fail
        await victim.send(HEARTBEAT.decode())
        with pytest.raises(ConnectionClosed):
            await victim.recv()
        assert victim.close_code == 1011
        (fields,) = await rig.log.heard.next("bug")
        assert isinstance(fields["exc_info"], RuntimeError)
        rig.hub.on_receive = lambda link, items: None
        await other.send(HEARTBEAT.decode())
        await rig.heard.next("receive")
