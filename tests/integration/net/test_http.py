"""HTTP beside WebSocket on the same port."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.integration.net.rig import HEARTBEAT, TIMEOUT_S, Raw, Rig
from trishula_broker.store.base import StoreUnavailable


def http(rig: Rig) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{rig.port}", trust_env=False, timeout=60)


async def test_health_says_how_the_hub_is(rig: Rig) -> None:
    async with http(rig) as client, rig.client():
        await rig.heard.next("connect")
        response = await client.get("/health")
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert "date" in response.headers
        body = response.json()
        assert body["status"] == "ok"
        assert body["node"] == "rig"
        assert body["connections"] == 1
        assert body["namespaces"] == {"default": {"sessions": 1, "agents_online": 0}}
        assert body["store"] == {"kind": "scripted"}


async def test_health_says_why_it_is_degraded_and_ready_is_503(rig: Rig) -> None:
    rig.store.failure = StoreUnavailable("disk full")
    async with http(rig) as client:
        body = (await client.get("/health")).json()
        assert (body["status"], body["why"]) == ("degraded", "disk full")
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503
        rig.store.failure = None
        assert (await client.get("/health/ready")).status_code == 200
        rig.driver.draining = True
        assert (await client.get("/health")).json()["status"] == "draining"
        assert (await client.get("/health/ready")).status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/health", 405, "unsupported"),
        ("GET", "/ws", 426, "unsupported"),
    ],
)
async def test_errors_are_problem_details(
    rig: Rig, method: str, path: str, status: int, code: str
) -> None:
    async with http(rig) as client:
        response = await client.request(method, path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        body = response.json()
        assert body["status"] == status
        assert (body["code"], body["type"]) == (code, f"urn:trishula:problem:{code}")
        assert body["title"]
        assert path in body["detail"] or status == 426


async def test_head_has_no_body(rig: Rig) -> None:
    async with http(rig) as client:
        for path in ("/health", "/health/live", "/health/ready"):
            response = await client.head(path)
            assert response.status_code == 200
            assert response.content == b""


async def test_a_connection_serves_many_requests_beside_a_websocket(rig: Rig) -> None:
    async with rig.client() as client:
        raw = await rig.raw()
        for _ in range(3):
            await raw.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await raw.head()
            assert "200 OK" in head
            await raw.reader.readexactly(len(b'{"status":"ok"}'))
            await client.send(HEARTBEAT.decode())
            await rig.heard.next("receive")
        await raw.close()


async def test_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    raw = await rig.raw()
    paths = ["/health/live", "/nothing", "/health/live"]
    requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths]
    await raw.send("".join(requests).encode())
    statuses: list[int] = []
    for _ in paths:
        head = await raw.head()
        statuses.append(int(head.split(" ")[1]))
        size = next(line for line in head.lower().split("\r\n") if "content-length" in line)
        json.loads(await raw.reader.readexactly(int(size.partition(":")[2])))
    assert statuses == [200, 404, 200]
    await raw.close()


async def test_what_is_not_http_is_refused(rig: Rig) -> None:
    raw = await rig.raw()
    await raw.send(b"\x16\x03\x01 hello\r\n\r\n")
    assert b"400" in await raw.rest()
    await raw.close()


async def test_an_upgrade_elsewhere_is_not_the_hub(rig: Rig) -> None:
    raw = await rig.raw()
    await raw.send(
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    )
    assert "101" not in await raw.head()
    assert rig.heard.count("connect") == 0
    await raw.close()


async def test_idle_http_connections_are_closed(rig_of: Any) -> None:
    rig = await rig_of(http_keep_alive_s=1)
    raw = await rig.raw()
    await raw.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in await raw.rest()
    await raw.close()


LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(LIVE[:20], id="half a head"),
        pytest.param(b"POST /health HTTP/1.1\r\nContent-Length: 9\r\n\r\n", id="no body"),
        pytest.param(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5", id="half a chunk"),
    ],
)
async def test_requests_that_do_not_end_are_cut(rig_of: Any, late: bytes) -> None:
    rig = await rig_of(handshake_s=0.5, http_request_s=0.5, http_keep_alive_s=3600)
    for first in (LIVE, b""):  # the second request of a connection, and its first
        raw = await rig.raw()
        await raw.send(first + late)
        if late.partition(b"\r\n\r\n")[1] or first:
            await raw.head()
        await raw.rest()
        await raw.close()


async def test_a_trickling_body_keeps_no_connection(rig_of: Any) -> None:
    rig = await rig_of(http_request_s=0.5)
    raw = await rig.raw()
    await raw.send(b"POST /health HTTP/1.1\r\nContent-Length: 999999\r\n\r\n")
    assert "405" in await raw.head()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(_write_for_ever(raw, b"x"), TIMEOUT_S)
    await raw.close()


async def _write_for_ever(raw: Raw, piece: bytes) -> None:
    while True:
        await raw.send(piece)
        await asyncio.sleep(0)


async def test_a_connection_whose_body_came_late_is_not_idle_for_ever(rig_of: Any) -> None:
    rig = await rig_of(http_keep_alive_s=1)
    raw = await rig.raw()
    await raw.send(b"POST /health HTTP/1.1\r\nContent-Length: 1\r\n\r\n")
    head = await raw.head()
    size = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
    await raw.reader.readexactly(size)
    await raw.send(b"x")
    assert await raw.rest() == b""
    await raw.close()


@pytest.mark.parametrize(
    ("endless", "status"),
    [
        (b"GET / HTTP/1.1\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nA: ", b"431"),
        (b"GET /", b"431"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", b"413"),
    ],
)
async def test_later_requests_are_bounded_too(rig_of: Any, endless: bytes, status: bytes) -> None:
    rig = await rig_of(http_head_bytes=8192, http_body_bytes=8192)
    raw = await rig.raw()
    await raw.send(LIVE)
    assert "200 OK" in await raw.head()
    raw.writer.write(endless)
    filler = b"A: b\r\n" if endless.endswith(b"\n") else b"a"
    raw.writer.write(filler * 2_000_000)
    try:
        answer = await raw.rest()
    except ConnectionError:  # cut while it was still writing
        answer = status
    assert status in answer
    await raw.close()


async def test_a_peer_that_does_not_read_its_answers_is_cut(rig_of: Any) -> None:
    rig = await rig_of(http_request_s=0.2, http_head_bytes=32 << 10)
    raw = await rig.raw()
    raw.writer.transport.pause_reading()
    asked = b"GET /" + b"a" * 16_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(_write_for_ever(raw, asked * 20), TIMEOUT_S)


async def test_what_is_large_but_no_head_is_answered(rig_of: Any) -> None:
    rig = await rig_of(http_head_bytes=1024)
    raw = await rig.raw()
    body = b"POST /health HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
    await raw.send(LIVE + body + LIVE * 99 + LIVE.replace(b"Host", b"Connection: close\r\nHost"))
    answers = await raw.rest()
    assert answers.count(b"200 OK") == 101
    assert b"405" in answers
    assert b"431" not in answers
    await raw.close()
