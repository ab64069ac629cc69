"""What operators and observers see over HTTP: agents, mail, tokens, the archive, health."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.integration.api.rig import TIMEOUT_S, Rig, good, plain, problem
from tests.integration.folder.rig import until_state
from trishula import State
from trishula_broker.api import shapes

pytestmark = pytest.mark.asyncio(loop_scope="module")
T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """Ask again until the answer is as it must come to be."""
    async with asyncio.timeout(TIMEOUT_S):
        while not good(found := await ask()):
            pass
    return found


async def test_agents_groups_and_nodes(rig: Rig, name: str, other: str) -> None:
    async with (
        rig.agent(name, groups=[f"g-{name}"], capabilities=["cook"]),
        rig.agent(other, groups=[f"g-{name}"]) as agni,
        rig.client("eye", role="observer") as eye,
    ):
        await agni.status("busy", {"n": 1})
        asked = {"group": f"g-{name}"}
        agents = good(await eye.get("/agents", params=asked), shapes.Agents).agents
        assert [each.id for each in agents] == sorted([name, other])
        assert all(each.online for each in agents)
        groups = good(await eye.get("/groups"), shapes.Groups).groups
        (group,) = [each for each in groups if each.name == f"g-{name}"]
        assert (sorted(group.members), group.online) == (sorted([name, other]), 2)
        nodes = good(await eye.get("/nodes"), shapes.Nodes)
        assert [(node.node, node.alive) for node in nodes.nodes] == [("hub", True)]


async def test_pages_of_agents_follow_one_another(rig: Rig, name: str) -> None:
    async with rig.agent(name), rig.client("eye", role="observer") as eye:
        every = good(await eye.get("/agents"), shapes.Agents).agents
        first = every[0].id
        rest = good(await eye.get("/agents", params={"after": first}), shapes.Agents).agents
        assert [each.id for each in rest] == [each.id for each in every[1:]]


async def test_an_operator_pauses_resumes_and_forgets(rig: Rig, name: str, other: str) -> None:
    async with rig.client("ops", role="operator") as ops:
        async with rig.agent(name) as dc, rig.agent(other) as agni:
            one = f"/agents/{other}"
            paused = await ops.post(f"{one}/pause", json={"reason": "mending"})
            assert good(paused, shapes.PausedNow).paused
            receipt = await dc.send(other, "later")
            (agent,) = [
                each
                for each in good(await ops.get("/agents"), shapes.Agents).agents
                if each.id == other
            ]
            assert agent.paused == shapes.Paused("mending")
            fate = plain(await ops.get(f"/messages/{name}/{receipt.id}"))["messages"][0]
            assert fate["copies"][0]["waits_for"] == f"{other} to be resumed: it is paused"
            good(await ops.post(f"{one}/resume"), shapes.PausedNow)
            await (await anext(agni.messages())).done()
            problem(await ops.delete(one), 403, "forbidden")  # it is online

        async def forgotten() -> httpx.Response:
            return await ops.delete(one, params={"discard": "true"})

        answer = await until(forgotten, lambda each: each.status_code != 403)
        assert good(answer, shapes.ForgottenAgent) == shapes.ForgottenAgent(other, 0)
        problem(await ops.post(f"{one}/pause", json={}), 404, "unknown_recipient")


async def test_agents_are_ordered_to_the_shared_folder_and_back(
    rig: Rig, name: str, other: str, tmp_path: Path
) -> None:
    async with rig.client("ops", role="operator") as ops, rig.agent(other):
        asked = {"on": True, "reason": "slow"}
        now = good(await ops.post("/folder-mode", json=asked), shapes.FolderModeNow)
        assert (now.on, now.reason, other in now.without_folder) == (True, "slow", True)
        nodes = good(await ops.get("/nodes"), shapes.Nodes)
        assert nodes.folder_mode == shapes.FolderMode("slow", now.since or 0)
        told = plain(await ops.get("/health"))["namespaces"]["default"]["folder_mode"]
        assert told == {"reason": "slow", "since": now.since}
        async with rig.agent(name, shared_folder=tmp_path) as comes:
            await until_state(comes, State.FOLDER)
            good(await ops.post("/folder-mode", json={"on": False}), shapes.FolderModeNow)
            await until_state(comes, State.ACTIVE)
        assert good(await ops.get("/nodes"), shapes.Nodes).folder_mode is None
        async with rig.client("eye", role="observer") as eye:
            problem(await eye.post("/folder-mode", json=asked), 403, "forbidden")


async def test_what_is_anothers_is_not_for_agents(rig: Rig, name: str, other: str) -> None:
    async with rig.agent(other), rig.client(name) as dc, rig.agent(name) as agent:
        await agent.send(other, "hello", id="m1")
        for path in (f"/mailboxes/{other}", f"/messages?agent={other}", f"/messages/{other}/m1"):
            found = problem(await dc.get(path), 403, "forbidden")
            assert found["detail"].startswith("agent: ")
        for path in ("/search", "/audit", "/tokens", "/health", "/health/store", "/live"):
            problem(await dc.get(path), 403, "forbidden")
        problem(await dc.get("/deadletters"), 403, "forbidden")
        problem(await dc.post(f"/agents/{other}/pause", json={}), 403, "forbidden")
        problem(await dc.post("/tokens/revoke", json={"agent": other}), 403, "forbidden")
        async with rig.client("eye", role="observer") as eye:
            mail = good(await eye.get("/messages", params={"agent": other}), shapes.Messages)
            assert [each["payload"] for each in mail.messages] == ["hello"]
            assert good(await eye.get(f"/messages/{other}/m1"), shapes.Followed).messages
            problem(await eye.post(f"/agents/{other}/pause", json={}), 403, "forbidden")
            send = {"type": "COMMAND", "to": other}
            problem(await eye.post("/messages", json=send), 403, "forbidden")


async def test_messages_are_found_by_their_text(rig: Rig, name: str, other: str) -> None:
    async with rig.agent(other), rig.agent(name) as dc, rig.client("eye", role="observer") as eye:
        for n in range(5):
            await dc.send(other, {"what": f'bread "{name}" {n} ü'})
        asked = {"text": f'bread "{name}"', "from": name, "to": other, "limit": "3"}
        found = good(await eye.get("/search", params=asked), shapes.Records)
        texts = [each["body"]["payload"]["what"] for each in found.records]
        assert texts == [f'bread "{name}" {n} ü' for n in range(3)]
        asked = {"text": "ü", "from": name, "since": found.next or ""}
        rest = good(await eye.get("/search", params=asked), shapes.Records)
        assert rest.records[-1]["body"]["payload"]["what"].endswith("4 ü")
        assert rest.next is None
        none = good(await eye.get("/search", params={"text": f"no {name}"}), shapes.Records)
        assert none.records == []


async def test_records_of_the_audit_are_found(rig: Rig, name: str, other: str) -> None:
    async with rig.client("ops", role="operator") as ops, rig.agent(other):
        await ops.post(f"/agents/{other}/pause", json={"reason": name})
        await ops.post(f"/agents/{other}/resume")
        asked = {"event": "operator", "text": name}
        found = good(await ops.get("/audit", params=asked), shapes.Records)
        record = found.records[0]  # behind it are these searches
        assert (record["agent"], record["op"]) == ("ops", "pause")
        problem(await ops.get("/audit", params={"event": "never"}), 400, "bad_message")
        problem(await ops.get("/audit", params={"since": "soon"}), 400, "bad_message")


async def test_who_looked_at_what_is_in_the_audit(rig: Rig, name: str) -> None:
    async with rig.client(name, role="observer") as eye:
        good(await eye.get("/tokens", params={"agent": name}), shapes.Tokens)
        asked = {"event": "operator", "agent": name}
        found = good(await eye.get("/audit", params=asked), shapes.Records)
        assert [record["op"] for record in found.records[:2]] == ["list_tokens", "search_audit"]
        assert found.records[0]["arguments"] == {"agent": name}


async def test_tokens_are_listed_and_revoked(rig: Rig, name: str) -> None:
    token = rig.token(name, send=("agni",))
    async with rig.client("ops", role="operator") as ops, rig.http(token) as dc:

        async def listed() -> shapes.Token:
            answer = await ops.get("/tokens", params={"agent": name})
            assert token not in answer.text
            (found,) = good(answer, shapes.Tokens).tokens
            return found

        before = await listed()
        assert (before.state, before.send, before.role) == ("valid", ["agni"], "agent")
        good(await dc.get("/agents"), shapes.Agents)
        revoke = {"token_id": before.id}
        done = good(await ops.post("/tokens/revoke", json=revoke), shapes.RevokedTokens)
        assert (done.token_id, done.sessions, done.listed) == (before.id, 1, True)
        assert (await dc.get("/agents")).status_code == 401
        assert (await listed()).state == "revoked"
        problem(await ops.post("/tokens/revoke", json={}), 400, "bad_message")
        problem(await ops.get("/tokens", params={"after": "none"}), 400, "bad_message")


async def test_pages_of_tokens_follow_one_another(rig: Rig, name: str) -> None:
    for _ in range(3):
        rig.token(name)
    async with rig.client("eye", role="observer") as eye:
        asked = {"agent": name, "limit": "2"}
        first = good(await eye.get("/tokens", params=asked), shapes.Tokens)
        asked["after"] = first.next or ""
        second = good(await eye.get("/tokens", params=asked), shapes.Tokens)
        assert (len(first.tokens), len(second.tokens), second.next) == (2, 1, None)


@pytest.mark.parametrize(
    ("component", "status"),
    [("store", "ok"), ("redis", "off"), ("audit", "ok"), ("disk", "ok"), ("websocket", "ok")],
)
async def test_each_part_tells_how_it_is(rig: Rig, component: str, status: str) -> None:
    async with rig.client("eye", role="observer") as eye:
        found = good(await eye.get(f"/health/{component}"), shapes.Component)
        assert (found.component, found.status) == (component, status)
        if component == "disk":
            assert found.details["free"] > 0


async def test_the_whole_report_is_there_and_nothing_else(rig: Rig) -> None:
    async with rig.client("eye", role="observer") as eye:
        assert plain(await eye.get("/health"))["store"]["kind"] == "sqlite"
        problem(await eye.get("/health/heart"), 400, "bad_message")


async def test_what_is_not_there_is_not_found(rig: Rig, name: str) -> None:
    async with rig.agent(name), rig.client("ops", role="operator") as ops:
        for path in (f"/messages/{name}/none", "/mailboxes/never-was"):
            problem(await ops.get(path), 404, "not_found")
        problem(await ops.delete("/messages/none"), 404, "not_found")
        problem(await ops.post(f"/deadletters/{name}/99/retry"), 404, "not_found")
        problem(await ops.post("/agents/never-was/pause", json={}), 404, "unknown_recipient")
        found = problem(await ops.post("/agents/No/pause", json={}), 400, "bad_message")
        assert found["detail"].startswith("agent: ")


async def test_without_an_archive_there_is_nothing_to_search(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "data", "--no-audit", keyed=False)
    async with rig.hub, rig.http() as http:
        for path in ("/search", "/audit"):
            problem(await http.get(path), 404, "not_found")
        problem(await http.get("/tokens"), 404, "not_found")
        audit: Any = good(await http.get("/health/audit"), shapes.Component)
        assert audit.status == "off"


async def test_an_encrypted_archive_is_searched_with_its_key(tmp_path: Path) -> None:
    environ = {"TRISHULA_AUDIT_KEY": "ab" * 32}
    rig = Rig(tmp_path / "data", keyed=False, environ=environ)
    async with rig.hub, rig.http() as http:
        body = {"type": "STATUS", "to": "hub-less", "from": "dc", "payload": "sealed words"}
        problem(await http.post("/messages", json=body), 404, "unknown_recipient")
        found = good(await http.get("/audit", params={"event": "refused"}), shapes.Records)
        assert len(found.records) == 1
        assert found.unread == 0
