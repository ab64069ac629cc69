"""Whatever is asked, the answer is one the OpenAPI document tells of, and the hub is well."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.hub_process import READY
from trishula_broker.api.endpoints import ENDPOINTS
from trishula_broker.api.failures import Problem

ASKED = [each for each in ENDPOINTS if each.path not in ("/live", "/search", "/audit")]
NAMES = st.one_of(
    st.sampled_from(["dc", "agni", "@cook", "#ops", "hub", "broadcast", "A", "..", "%00"]),
    st.text(string.printable, min_size=1, max_size=12),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    NAMES,
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("hub") / "data"
    with (
        Path(data.with_name("log")).open("wb") as log,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "trishula_broker", "serve", "--port", "0"),
                *("--data", str(data), "--node", "hub"),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        ready = READY.match(process.stdout.readline())
        assert ready is not None
        url = f"http://127.0.0.1:{ready['port']}/api/v1"
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            yield client
        process.kill()


def fields(kind: Any) -> list[str]:
    return [] if kind is None else [each.encode_name for each in msgspec.structs.fields(kind)]


@st.composite
def requests(draw: st.DrawFn) -> tuple[Any, str, dict[str, Any], Any]:
    """An endpoint, its path, parameters and body: of their fields, with any values."""
    endpoint = draw(st.sampled_from(ASKED))
    path = endpoint.path
    for name in ("agent", "mine", "id", "seq", "component"):
        while f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(draw(NAMES), safe=""), 1)
    given_ = st.dictionaries(st.sampled_from([*fields(endpoint.query), "as", "x"]), LEAVES)
    query = {name: value for name, value in draw(given_).items() if value is not None}
    query = {name: str(value) for name, value in query.items() if _encodable(value)}
    body = None
    if endpoint.body is not None:
        known = [name for name in fields(endpoint.body) if name != "wait_s"]
        body = draw(st.dictionaries(st.sampled_from([*known, "x"]), VALUES) | VALUES)
    return endpoint, path, query, body


def _encodable(value: Any) -> bool:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(requests())
def test_every_answer_is_one_that_the_document_tells_of(
    hub: httpx.Client, asked: tuple[Any, str, dict[str, Any], Any]
) -> None:
    endpoint, path, query, body = asked
    content = None if endpoint.body is None else json.dumps(body).encode()
    headers = {} if content is None else {"content-type": "application/json"}
    answer = hub.request(endpoint.method, path, params=query, content=content, headers=headers)
    if answer.status_code == endpoint.status:
        msgspec.json.decode(answer.content, type=endpoint.returns)
    else:
        assert answer.status_code in (400, 403, 404, 405, 409, 507), (asked, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        if answer.status_code not in (404, 405):  # else the path may be none
            found = msgspec.json.decode(answer.content, type=Problem)
            assert found.status == answer.status_code
    assert hub.get("/nodes").status_code == 200
