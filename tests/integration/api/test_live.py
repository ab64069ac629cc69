"""The stream of what passes."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.api.rig import TIMEOUT_S, Rig, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Events of a stream: their kind and data."""
    kind = ""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


async def next_of(stream: AsyncIterator[tuple[str, Any]], kind: str) -> Any:
    async with asyncio.timeout(TIMEOUT_S):
        async for found, data in stream:
            if found == kind:
                return data
    raise AssertionError(f"the stream ended without {kind}")


async def test_a_stream_tells_of_messages_and_agents_as_they_pass(
    rig: Rig, name: str, other: str
) -> None:
    async with (
        rig.client("eye", role="observer") as eye,
        rig.agent(other) as agni,
        eye.stream("GET", "/live", params={"to": other}) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = events(answer)
        picture = await next_of(stream, "agents")
        assert other in [agent["id"] for agent in picture["agents"]]
        async with rig.agent(name) as dc:
            assert (await next_of(stream, "presence"))["agent"] == name
            await dc.send(other, "hello", id="m1")
            accepted = await next_of(stream, "accepted")
            assert (accepted["agents"], accepted["envelope"]["payload"]) == ([other], "hello")
            await (await anext(agni.messages())).done()
            settled = await next_of(stream, "settled")
            assert (settled["outcome"], settled["envelope"]["id"]) == ("done", "m1")


async def test_a_quiet_stream_outlives_the_time_of_a_request(tmp_path: Path) -> None:
    environ = {"TRISHULA_WEBSOCKET_HTTP_REQUEST_S": "0.6"}
    rig = Rig(tmp_path / "data", environ=environ)
    async with (
        rig.hub,
        rig.client("eye", role="observer") as eye,
        eye.stream("GET", "/live") as answer,
    ):
        quiet = 0
        async with asyncio.timeout(TIMEOUT_S):
            async for line in answer.aiter_lines():  # a comment each 0.2 s
                quiet += line == ": "
                if quiet == 6:
                    break
        assert quiet == 6


async def test_a_stream_ends_with_a_word_when_its_token_is_revoked(rig: Rig) -> None:
    async with (
        rig.client("watcher", role="observer") as eye,
        rig.client("ops", role="operator") as ops,
        eye.stream("GET", "/live") as answer,
    ):
        stream = events(answer)
        await next_of(stream, "agents")
        done = await ops.post("/tokens/revoke", json={"agent": "watcher"})
        assert done.json()["sessions"] == 1
        assert (await next_of(stream, "end"))["code"] == "unauthorized"
        assert [found async for found in stream] == []


async def test_a_draining_hub_ends_streams_and_sessions_and_itself(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "data")
    async with (
        rig.hub,
        rig.client("eye", role="observer") as eye,
        rig.client("dc") as dc,
        eye.stream("GET", "/live") as answer,
    ):
        await dc.post("/mailboxes/dc/receive", json={})
        stream = events(answer)
        await next_of(stream, "agents")
        assert await rig.hub.terminate() == 0


async def test_a_stream_that_is_left_leaves_nothing(rig: Rig) -> None:
    async with rig.client("leaver", role="observer") as eye:
        for _ in range(20):  # more than one may have at a time
            async with eye.stream("GET", "/live") as answer:
                await next_of(events(answer), "agents")


async def test_streams_of_one_caller_are_limited(rig: Rig) -> None:
    async with rig.client("many", role="observer") as eye:
        open_ = []
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                answer = await eye.send(eye.build_request("GET", "/live"), stream=True)
                if answer.status_code != 200:
                    break
                open_.append(answer)
        await answer.aread()
        found = problem(answer, 429, "rate_limited")
        assert found["retryable"]
        assert answer.headers["retry-after"]
        assert len(open_) == 16
        for each in open_:
            await each.aclose()
