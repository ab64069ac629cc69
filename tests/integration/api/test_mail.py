"""Sending over HTTP, and a mailbox that is polled."""

import asyncio
from typing import Any

import pytest

from tests.integration.api.rig import TIMEOUT_S, Rig, good, plain, problem
from trishula_broker.api import shapes

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def known(rig: Rig, *names: str) -> None:
    """Have agents that exist."""
    for name in names:
        async with rig.agent(name):
            pass


async def test_a_message_goes_over_http_from_end_to_end(rig: Rig, name: str, other: str) -> None:
    await known(rig, other)
    async with rig.client(name) as dc, rig.client(other) as agni:
        sent = good(
            await dc.post("/messages", json={"type": "COMMAND", "to": other, "payload": {"n": 1}}),
            shapes.Sent,
            201,
        )
        assert sent.sender == name
        got = good(
            await agni.post(f"/mailboxes/{other}/receive", json={"wait_s": 20}), shapes.Received
        )
        (message,) = got.messages
        assert (message["from"], message["id"], message["payload"]) == (name, sent.id, {"n": 1})
        assert message["attempt"] == 1
        answer = {
            "type": "RESULT",
            "to": name,
            "reply_to": sent.id,
            "settles": message["seq"],
            "payload": "done",
        }
        good(await agni.post("/messages", json=answer), shapes.Sent, 201)
        (fate,) = good(await dc.get(f"/messages/{name}/{sent.id}"), shapes.Followed).messages
        assert [copy["stage"] for copy in fate["copies"]] == ["done"]
        got = good(
            await dc.post(f"/mailboxes/{name}/receive", json={"wait_s": 20}), shapes.Received
        )
        assert [each["payload"] for each in got.messages] == ["done"]
        seqs = [each["seq"] for each in got.messages]
        settled = good(
            await dc.post(f"/mailboxes/{name}/settle", json={"seqs": seqs}), shapes.Settled
        )
        assert (settled.settled, settled.stale) == (seqs, [])
        again = plain(await dc.post(f"/mailboxes/{name}/settle", json={"seqs": seqs}))
        assert again == {"settled": seqs, "stale": []}  # a repetition is a success


@pytest.mark.parametrize("payload", [{"op": "tap"}, {"op": "agents"}, "busy"])
async def test_the_hub_is_asked_by_endpoints_and_not_sent_messages(
    rig: Rig, name: str, payload: Any
) -> None:
    async with rig.client(name, role="operator") as ops:
        for kind in ("COMMAND", "STATUS"):
            body = {"type": kind, "to": "hub", "id": f"{kind}-1", "payload": payload}
            found = problem(await ops.post("/messages", json=body), 400, "bad_message")
            assert found["detail"].startswith("to: ")


async def test_a_message_sent_again_under_its_id_is_one(rig: Rig, name: str, other: str) -> None:
    await known(rig, other)
    async with rig.client(name) as dc:
        body = {"type": "STATUS", "to": other, "id": "once", "payload": 1}
        for _ in range(2):
            good(await dc.post("/messages", json=body), shapes.Sent, 201)
        found = problem(await dc.post("/messages", json=body | {"payload": 2}), 409, "duplicate_id")
        assert found["detail"].startswith("id: ")
        async with rig.client("ops", role="operator") as ops:
            box = good(await ops.get(f"/mailboxes/{other}"), shapes.Mailbox)
        assert (box.count, [head["id"] for head in box.heads]) == (1, ["once"])


async def test_what_is_recalled_before_it_is_polled_is_not_handed_out(
    rig: Rig, name: str, other: str
) -> None:
    await known(rig, other)
    box = f"/mailboxes/{other}/receive"
    async with rig.agent(name) as dc, rig.client(other) as agni:
        receipts = [await dc.send(other, n) for n in range(3)]
        wanted = {"limit": 1, "wait_s": 20}
        first = good(await agni.post(box, json=wanted), shapes.Received)
        assert [each["payload"] for each in first.messages] == [0]
        assert (await dc.recall(receipts[1].id))["recalled"] == [other]
        rest = good(await agni.post(box, json={"wait_s": 20}), shapes.Received)
        assert [each["payload"] for each in rest.messages] == [2]


async def test_what_is_not_settled_in_its_lease_comes_again(
    rig: Rig, name: str, other: str
) -> None:
    await known(rig, other)
    async with rig.client(name) as dc, rig.client(other) as agni:
        good(await dc.post("/messages", json={"type": "STATUS", "to": other}), shapes.Sent, 201)
        wanted = {"lease_ms": 1000, "wait_s": 20}
        attempts: list[int] = []
        async with asyncio.timeout(TIMEOUT_S):
            while len(attempts) < 2:
                answer = await agni.post(f"/mailboxes/{other}/receive", json=wanted)
                attempts += [each["attempt"] for each in good(answer, shapes.Received).messages]
        assert attempts == [1, 2]


async def test_mail_that_is_rejected_is_a_dead_letter_that_an_operator_retries(
    rig: Rig, name: str, other: str
) -> None:
    await known(rig, other)
    async with (
        rig.client(name) as dc,
        rig.client(other) as agni,
        rig.client("ops", role="operator") as ops,
    ):
        await dc.post("/messages", json={"type": "COMMAND", "to": other, "payload": "hard"})
        box = f"/mailboxes/{other}"
        (got,) = plain(await agni.post(f"{box}/receive", json={"wait_s": 20}))["messages"]
        no = {"seqs": [got["seq"]], "stage": "rejected", "reason": "too hard"}
        settled = good(await agni.post(f"{box}/settle", json=no), shapes.Settled)
        assert settled.settled == [got["seq"]]
        found = good(await ops.get("/deadletters", params={"agent": other}), shapes.DeadLetters)
        (letter,) = found.deadletters
        assert (letter.reason, letter.message["payload"]) == ("too hard", "hard")
        one = f"/deadletters/{other}/{got['seq']}"
        good(await ops.post(f"{one}/retry"), shapes.LetterNamed)
        (again,) = plain(await agni.post(f"{box}/receive", json={"wait_s": 20}))["messages"]
        assert again["seq"] == got["seq"]
        await agni.post(f"{box}/settle", json=no)
        good(await ops.delete(one), shapes.LetterNamed)
        problem(await ops.delete(f"/deadletters/{other}/many"), 400, "bad_message")


async def test_a_poll_takes_over_and_is_taken_over(rig: Rig, name: str) -> None:
    async with rig.client(name) as dc:
        box = f"/mailboxes/{name}/receive"
        assert good(await dc.post(box, json={}), shapes.Received).messages == []
        waiting = asyncio.ensure_future(dc.post(box, json={"wait_s": 20}))
        await asyncio.sleep(0)
        async with rig.agent(name):
            answer = await waiting
            if answer.status_code != 200:  # else it came behind the agent, and took over
                problem(answer, 409, "taken_over")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"to": "x", "type": "COMMAND", "seq": 1}, 400, "bad_message", "request"),
        ({"to": "x"}, 400, "bad_message", "request"),
        ({"to": "X!", "type": "COMMAND"}, 400, "bad_message", "to"),
        ({"to": "nobody-here", "type": "COMMAND"}, 404, "unknown_recipient", "to"),
        ({"to": "x", "type": "HEARTBEAT"}, 400, "bad_message", "type"),
        ({"to": "x", "type": "RESULT"}, 400, "bad_message", "reply_to"),
        ({"to": "x", "type": "COMMAND", "id": "a b"}, 400, "bad_message", "id"),
        ({"to": "x", "type": "COMMAND", "priority": 9}, 400, "bad_message", "priority"),
        ({"to": "x", "type": "COMMAND", "from": "other"}, 403, "forbidden", "as"),
        ({"to": "x", "type": "COMMAND", "headers": {"auth": "me"}}, 400, "bad_message", "headers"),
        ({"to": "x", "type": "COMMAND", "payload": 2**70}, 400, "bad_message", "payload"),
    ],
)
async def test_a_bad_message_is_refused_with_its_field(
    rig: Rig, name: str, body: dict[str, Any], status: int, code: str, field: str
) -> None:
    async with rig.client(name) as dc:
        found = problem(await dc.post("/messages", json=body), status, code)
        assert found["detail"].startswith(field), found
        good(await dc.get("/agents"), shapes.Agents)  # and the session is well
