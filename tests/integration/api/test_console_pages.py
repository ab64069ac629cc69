"""The console's files: for everybody, as they are in the package, and kept to themselves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from trishula_broker import console
from trishula_broker.audit.events import EVENTS

STATIC = Path(console.__path__[0]) / "static"
FILES = sorted(p.relative_to(STATIC).as_posix() for p in STATIC.rglob("*") if p.is_file())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    folder = tmp_path_factory.mktemp("console")
    keys = Keys(folder)
    async with (
        HubProcess(folder / "data", "--keys", str(keys.path)) as hub,
        httpx.AsyncClient(base_url=hub.http_url, timeout=60) as asking,
    ):
        yield asking


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_page_is_there_before_anybody_has_signed_in(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.content == (STATIC / "index.html").read_bytes()
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_as_it_is_in_the_package(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/console/{name}")
    assert answer.content == (STATIC / name).read_bytes()
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    again = await client.get(f"/console/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["../pages.py", "%2e%2e/pages.py", "nothing.js", "", "static"])
async def test_what_is_no_file_of_the_console_is_not_there(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(f"/console/{path}")
    assert answer.status_code in (401, 404)  # out of /console/ the door asks for a token


async def test_what_it_shows_is_not_open(client: httpx.AsyncClient) -> None:
    for path in ("agents", "nodes", "series", "messages"):
        assert (await client.get(f"/api/v1/{path}")).status_code == 401


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("vendor/")])
async def test_nothing_comes_from_elsewhere(name: str) -> None:
    text = (STATIC / name).read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


async def test_the_events_it_offers_are_those_there_are() -> None:
    text = (STATIC / "views" / "audit.js").read_text()
    [offered] = re.findall(r"^const EVENTS = \[(.*?)\];$", text, re.MULTILINE | re.DOTALL)
    assert tuple(re.findall(r'"([a-z-]+)"', offered)) == EVENTS
