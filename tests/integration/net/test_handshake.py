"""Who gets in, and as what."""

import asyncio
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.integration.net.rig import HEARTBEAT, TEXT, TIMEOUT_S, Rig, frame, upgrade_request
from trishula_broker.hub.effects import Note
from trishula_protocol.limits import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, SUBPROTOCOL_JSON),
        ([SUBPROTOCOL_JSON], SUBPROTOCOL_JSON),
        ([SUBPROTOCOL_MSGPACK], SUBPROTOCOL_MSGPACK),
        (["chat", SUBPROTOCOL_MSGPACK, SUBPROTOCOL_JSON], SUBPROTOCOL_MSGPACK),
    ],
)
async def test_the_first_known_subprotocol_is_chosen(rig: Rig, offered: Any, chosen: str) -> None:
    async with rig.client(subprotocols=offered) as client:
        assert client.subprotocol == (chosen if offered else None)
        assert (await rig.heard.next("connect"))[1] == chosen


async def test_only_unknown_subprotocols_are_refused_with_400(rig: Rig) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await rig.client(subprotocols=["chat", "trishula.v1"])
    assert refused.value.response.status_code == 400
    assert rig.heard.count("connect") == 0


async def test_bytes_behind_the_request_are_the_first_frames(rig: Rig) -> None:
    raw = await rig.raw()
    await raw.send(upgrade_request() + frame(TEXT, HEARTBEAT))
    _, items, _ = await rig.heard.next("receive")
    assert items[0].type == "HEARTBEAT"
    await raw.close()


async def test_a_request_may_come_byte_by_byte(rig: Rig) -> None:
    raw = await rig.raw()
    for byte in upgrade_request():
        await raw.send(bytes([byte]))
    assert "101" in await raw.head()
    await raw.close()


async def test_a_token_in_the_query_is_accepted_and_never_logged(rig: Rig) -> None:
    raw = await rig.raw()
    await raw.send(upgrade_request("Sec-WebSocket-Protocol: chat", target="/ws?token=s3cret"))
    assert "400" in await raw.head()
    await rig.log.heard.next("connection_refused")
    raw = await rig.raw()
    await raw.send(upgrade_request(target="/ws?token=s3cret"))
    assert "101" in await raw.head()
    await raw.close()
    await rig.heard.next("disconnect")
    assert "s3cret" not in repr(rig.log.heard.all) + repr(rig.heard.all)


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param(upgrade_request().replace(b"Version: 13", b"Version: 8"), id="version"),
        pytest.param(upgrade_request().replace(b"Sec-WebSocket-Key", b"X-Key"), id="no key"),
        pytest.param(upgrade_request().replace(b"MDEy", b"!!!!"), id="bad key"),
    ],
)
async def test_a_bad_upgrade_is_refused_with_400(rig: Rig, request_head: bytes) -> None:
    raw = await rig.raw()
    await raw.send(request_head)
    assert "400 Bad Request" in await raw.head()
    await raw.rest()
    await raw.close()


async def test_the_endpoint_without_an_upgrade_says_426(rig: Rig) -> None:
    raw = await rig.raw()
    await raw.send(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await raw.head()
    assert "426" in head
    assert "upgrade: websocket" in head.lower()
    await raw.close()


@pytest.mark.parametrize(
    ("origin", "allowed", "status"),
    [
        ("http://127.0.0.1", (), 101),
        ("https://elsewhere.example", (), 403),
        ("https://elsewhere.example", ("https://elsewhere.example",), 101),
        ("https://elsewhere.example", ("*",), 101),
        ("null", (), 403),
        ("http://[::1", (), 403),
        ("http://[nowhere]", (), 403),
        ("", (), 403),
    ],
)
async def test_pages_of_other_origins_need_to_be_configured(
    rig_of: Any, origin: str, allowed: tuple[str, ...], status: int
) -> None:
    rig = await rig_of(origins=allowed)
    raw = await rig.raw()
    await raw.send(upgrade_request(f"Origin: {origin}"))
    assert f"HTTP/1.1 {status}" in await raw.head()
    await raw.close()


async def test_a_slow_request_is_closed(rig_of: Any) -> None:
    rig = await rig_of(handshake_s=0.2)
    raw = await rig.raw()
    await raw.send(upgrade_request()[:40])
    assert b"408" in await raw.rest()
    silent = await rig.raw()
    assert b"408" in await silent.rest()
    await raw.close()
    await silent.close()


async def test_an_endless_request_is_closed(rig: Rig) -> None:
    raw = await rig.raw()
    await raw.send(b"GET /ws HTTP/1.1\r\nX: " + b"a" * (17 << 10))
    assert b"431" in await raw.rest()
    await raw.close()


async def test_unregistered_connections_are_capped(rig_of: Any) -> None:
    rig = await rig_of(unregistered=6)
    clients = [await rig.client() for _ in range(3)]
    with pytest.raises(InvalidStatus) as refused:
        await rig.client()
    assert refused.value.response.status_code == 503
    assert int(refused.value.response.headers["Retry-After"]) >= 1
    await clients.pop().close()
    await rig.heard.next("disconnect")
    clients.append(await rig.client())
    for client in clients:
        await client.close()


async def test_connections_that_say_nothing_are_capped(rig_of: Any) -> None:
    rig = await rig_of(unregistered=6)
    silent = [await rig.raw() for _ in range(3)]
    crowd = await rig.raw()
    head = await crowd.head()
    assert "503" in head
    assert "retry-after" in head
    assert await crowd.rest() == b"Too many connections at once; try again.\n"
    await silent[0].send(upgrade_request())
    assert "101" in await silent[0].head()


async def test_a_crowd_from_one_address_leaves_room_for_another(rig_of: Any) -> None:
    rig = await rig_of(unregistered=6)
    for _ in range(3):
        await rig.raw()
    assert "503" in await (await rig.raw()).head()
    other = await rig.raw(source="127.0.0.2")
    await other.send(upgrade_request())
    assert "101" in await other.head()


async def test_who_registers_is_no_stranger_any_more(rig_of: Any) -> None:
    rig = await rig_of(unregistered=2)
    first = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    crowd = await rig.raw()
    await crowd.send(upgrade_request())
    assert "503" in await crowd.head()
    rig.do(Note("registered", {"link": link}))
    await asyncio.sleep(0)
    second = await rig.upgraded()
    await first.close()
    await second.close()


async def test_the_rate_of_handshakes_is_capped(rig_of: Any) -> None:
    rig = await rig_of(handshakes_per_s=6)

    async def attempt() -> int:
        try:
            async with rig.client():
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    results: list[int] = []
    async with asyncio.timeout(TIMEOUT_S):
        while 503 not in results:  # a round that takes seconds finds room for all
            results += await asyncio.gather(*(attempt() for _ in range(20)))
    assert results.count(101) >= 3
    assert set(results) == {101, 503}


@pytest.mark.parametrize("path", ["/ws", "/health", "/health/live", "/health/ready", "/nothing"])
@pytest.mark.parametrize(
    "header",
    [
        "Forwarded: for=x",
        "X-Forwarded-For: 10.0.0.1",
        "X-Real-IP: x",
        "Via: 1.1 p",
        "x-forwarded-proto: https",
    ],
)
async def test_without_keys_nobody_comes_in_through_a_proxy(
    rig: Rig, path: str, header: str
) -> None:
    raw = await rig.raw()
    await raw.send(upgrade_request(header, target=path))
    assert "HTTP/1.1 403" in await raw.head()
    assert b"broker keys init" in await raw.reader.read(1000)
    _, fields = await rig.heard.next("record")
    assert (fields["reason"], fields["status"]) == ("forwarded", 403)
    assert fields["peer"].startswith("127.0.0.1:")
    assert rig.heard.count("connect") == 0


async def test_without_keys_a_page_of_a_name_that_was_led_here_may_not_connect(rig: Rig) -> None:
    raw = await rig.raw()
    request = upgrade_request("Origin: http://evil.example:8765")
    await raw.send(request.replace(b"Host: 127.0.0.1", b"Host: evil.example:8765"))
    assert "HTTP/1.1 403" in await raw.head()


async def test_refusals_are_recorded_once_and_then_counted(rig_of: Any) -> None:
    rig = await rig_of()
    for _ in range(5):
        raw = await rig.raw()
        await raw.send(upgrade_request("Origin: https://elsewhere.example"))
        assert "403" in await raw.head()
    told: list[dict[str, Any]] = []
    while sum(fields.get("count", 1) for fields in told) < 5:
        told.append((await rig.heard.next("record"))[1])
    assert "count" not in told[0]
    assert len(told) < 5  # two, unless they took over a second
    assert {fields["reason"] for fields in told} == {"origin"}
