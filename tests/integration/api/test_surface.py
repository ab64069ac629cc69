"""What every answer has in common: who is let in, headers, limits, and the OpenAPI document."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.integration.api.rig import TIMEOUT_S, Rig, good, plain, problem
from trishula_broker.api import shapes
from trishula_broker.api.endpoints import ENDPOINTS
from trishula_broker.api.openapi import document

pytestmark = pytest.mark.asyncio(loop_scope="module")
LISTED = "https://console.example"
ROOT = Path(__file__).parents[3]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyless(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """A hub without keys that lists an origin and takes small bodies."""
    environ = {
        "TRISHULA_WEBSOCKET_ORIGINS": LISTED,
        "TRISHULA_WEBSOCKET_HTTP_BODY_BYTES": "4096",
    }
    rig = Rig(tmp_path_factory.mktemp("keyless") / "data", keyed=False, environ=environ)
    async with rig.hub:
        yield rig


# --- who is let in ---


async def test_without_a_token_nothing_is_told_but_what_there_is(rig: Rig) -> None:
    async with rig.http() as nobody:
        for endpoint in ENDPOINTS:
            path = re.sub(r"{seq}", "1", endpoint.path)
            path = re.sub(r"{\w+}", "x", path)
            answer = await nobody.request(endpoint.method, path)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert plain(await nobody.get("/openapi.json"))["openapi"] == "3.1.0"
    async with rig.http("no.such.token") as forger:
        problem(await forger.get("/agents"), 401, "unauthorized")


async def test_on_a_hub_without_keys_one_is_who_one_says(keyless: Rig, name: str) -> None:
    async with keyless.http() as http:
        box = f"/mailboxes/{name}/receive"
        assert good(await http.post(box, json={}), shapes.Received).messages == []
        sent = {"type": "STATUS", "to": name, "from": "curl", "payload": 1}
        assert good(await http.post("/messages", json=sent), shapes.Sent, 201).sender == "curl"
        (got,) = plain(await http.post(box, json={"wait_s": 20}))["messages"]
        assert got["from"] == "curl"
        good(await http.get(f"/messages/curl/{got['id']}", params={"as": "curl"}), shapes.Followed)
        problem(await http.get("/agents", params={"as": "No!"}), 400, "bad_message")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},  # DNS that leads here
        {"origin": "https://evil.example"},
        {"x-forwarded-for": "127.0.0.1"},
        {"origin": "null"},
    ],
)
async def test_on_a_hub_without_keys_pages_of_others_are_turned_away(
    keyless: Rig, headers: dict[str, str]
) -> None:
    async with keyless.http(**headers) as page:
        sent = {"type": "STATUS", "to": "x", "from": "evil"}
        assert (await page.post("/messages", json=sent)).status_code == 403
        assert (await page.get("/agents")).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_what_a_page_may_send_unasked_is_no_body(keyless: Rig, kind: str) -> None:
    async with keyless.http() as page:
        body = b'{"type":"STATUS","to":"x"}'
        answer = await page.post("/messages", content=body, headers={"content-type": kind})
        problem(answer, 415, "unsupported")


# --- headers ---


@pytest.mark.parametrize("path", ["/api/v1/agents", "/health", "/nothing", "/metrics"])
async def test_every_answer_is_hardened(rig: Rig, path: str) -> None:
    async with rig.http() as http:
        answer = await http.get(rig.hub.http_url + path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


async def test_listed_origins_may_ask_and_no_others(keyless: Rig) -> None:
    async with keyless.http() as http:
        wanted = {"access-control-request-method": "POST"}
        preflight = await http.options("/messages", headers={"origin": LISTED, **wanted})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == LISTED
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in preflight.headers
        answer = await http.get("/agents", headers={"origin": LISTED})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == LISTED
        assert "origin" in answer.headers["vary"].lower()
        for other in ("https://evil.example", "null", LISTED + ".evil.example"):
            answer = await http.options("/messages", headers={"origin": other, **wanted})
            assert answer.status_code == 405
            assert "access-control-allow-origin" not in answer.headers


# --- limits ---


async def test_a_body_that_is_too_large_is_refused(keyless: Rig) -> None:
    async with keyless.http() as http:
        body = {"type": "STATUS", "to": "x", "payload": "x" * 8192}
        problem(await http.post("/messages", json=body), 413, "too_large")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "request"),
        (b'{"type":"STATUS","to":"x","payload":' + b"[" * 1000 + b"]" * 1000 + b"}", ""),
        (b'{"type":"STATUS","to":"x","payload":"\\ud800"}', ""),
        (b'{"type":"STATUS","to":"x","payload":1e999}', ""),
        (b'{"type":"STATUS","to":"\xff"}', "body"),
        (b'{"type":"STATUS","to":"x","payload":' + b"9" * 2000 + b"}", ""),
    ],
)
async def test_a_body_that_is_none_is_refused_and_the_session_is_well(
    keyless: Rig, body: bytes, field: str
) -> None:
    async with keyless.http() as http:
        answer = await http.post(
            "/messages", content=body, headers={"content-type": "application/json"}
        )
        found = problem(answer, 400, "bad_message")
        assert found["detail"].startswith(field)
        good(await http.get("/nodes"), shapes.Nodes)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/agents?online=maybe", "online"),
        ("/agents?onlin=true", "request"),
        ("/agents?group=a&group=b", "group"),
        ("/messages?limit=0", "limit"),
        ("/messages?limit=1001", "limit"),
        ("/messages?after=-1", "after"),
        ("/nodes?limit=1", "request"),
        ("/audit?limit=many", "limit"),
    ],
)
async def test_a_parameter_that_breaks_its_rule_is_named(
    keyless: Rig, path: str, field: str
) -> None:
    async with keyless.http() as http:
        found = problem(await http.get(path), 400, "bad_message")
        assert found["detail"].startswith(field), found


async def test_many_requests_at_once_share_a_session(keyless: Rig) -> None:
    async with keyless.http() as http, asyncio.timeout(TIMEOUT_S):
        answers = await asyncio.gather(*(http.get("/nodes") for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200}
        health = (await http.get(f"{keyless.hub.http_url}/health")).json()
        assert health["namespaces"]["default"]["sessions"] <= 6  # one a name asked as


async def test_a_path_or_method_that_is_none_is_told_so(keyless: Rig) -> None:
    async with keyless.http() as http:
        problem(await http.get("/agent"), 404, "not_found")
        problem(await http.put("/agents"), 405, "unsupported")
        head = await http.head("/agents")
        assert (head.status_code, head.content) == (200, b"")
        head = await http.head("/live")
        assert (head.status_code, head.content) == (200, b"")


# --- OpenAPI ---


def references(found: Any) -> set[str]:
    if isinstance(found, dict):
        own = {found["$ref"]} if isinstance(found.get("$ref"), str) else set()
        return own.union(*(references(each) for each in found.values()))
    if isinstance(found, list):
        return set().union(*(references(each) for each in found))
    return set()


async def test_the_document_has_every_endpoint_and_all_it_refers_to(rig: Rig) -> None:
    async with rig.http() as http:
        found = plain(await http.get("/openapi.json"))
    assert found == document("/api/v1", found["info"]["version"])
    operations = {
        (method.upper(), path): each
        for path, methods in found["paths"].items()
        for method, each in methods.items()
    }
    assert set(operations) == {
        (each.method, "/api/v1" + each.path.replace("{mine}", "{agent}")) for each in ENDPOINTS
    }
    assert len({each["operationId"] for each in operations.values()}) == len(operations)
    for reference in references(found):
        at = found
        for name in reference.removeprefix("#/").split("/"):
            at = at[name]
    for (_, path), each in operations.items():
        named = {part["name"] for part in each["parameters"] if part["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert each["summary"]
        assert each["description"]


async def test_the_guide_tells_of_every_endpoint() -> None:
    text = (ROOT / "docs/http-api.md").read_text()
    for each in ENDPOINTS:
        assert f"{each.method} {each.path.replace('{mine}', '{agent}')}" in text, each.path


async def test_an_error_of_the_door_is_readable_for_listed_pages(keyless: Rig) -> None:
    async with httpx.AsyncClient(
        base_url=keyless.hub.http_url, trust_env=False, timeout=60
    ) as http:
        headers = {"origin": LISTED, "via": "a proxy"}
        answer = await http.get("/api/v1/agents", headers=headers)
        assert answer.status_code == 403
        assert answer.headers["access-control-allow-origin"] == LISTED
