"""``broker listen``: what it prints, what it settles, how it ends."""

import asyncio
import json
import os
from collections.abc import Callable

import pytest

from tests.integration.cli.command import TIMEOUT_S, Broker
from tests.support.hub_process import HubProcess
from trishula import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
AgentOf = Callable[..., Agent]


async def test_a_line_a_message_and_it_is_done(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    async with (
        agent(other) as sender,
        await broker.start("listen", "--as", name, "--count", "2") as listening,
    ):
        assert await listening.said(f"listening as {name} on {broker.url}")
        first = await sender.send(name, {"s": "नमस्ते\x9b"}, receipt=True)
        second = await sender.send(name, [1], type="COMMAND", receipt=True)
        assert await first.reached("done", TIMEOUT_S) == name
        assert await second.reached("done", TIMEOUT_S) == name
        done = await listening.end()
    assert (done.code, done.err) == (0, "")
    lines = [line.split("  ", 1)[1] for line in done.out.splitlines()]
    assert lines == [
        f'{other}  STATUS  {first.id}  {{"s":"नमस्ते\\u009b"}}',
        f"{other}  COMMAND  {second.id}  [1]",
    ]


async def test_json_is_an_envelope_a_line(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    async with agent(name):
        pass
    for payload in ('"ü"', "2"):
        assert (await broker("send", name, payload, "--as", other, "--thread", "t")).code == 0
    done = await broker("listen", "--as", name, "--count", "2", "--json")
    assert done.code == 0
    first, second = done.json_lines
    assert (first["from"], first["to"], first["payload"]) == (other, name, "ü")
    assert (second["payload"], second["thread"], second["attempt"]) == (2, "t", 1)
    assert second["seq"] > first["seq"]


async def test_by_default_it_has_a_name_of_its_own(broker: Broker, agent: AgentOf) -> None:
    async with (
        agent("asker") as sender,
        await broker.start("listen", "--group", "lg", "--capability", "lc") as listening,
    ):
        said = await listening.said("listening as cli-")
        name = said.split()[2]
        await sender.send("#lg", 1)
        await sender.send("@lc", 2)
        await sender.send(name, 3)
        lines = [await listening.line() for _ in range(3)]
        assert [line.split()[-1] for line in lines] == ["1", "2", "3"]
        assert "asker → #lg  STATUS" in lines[0]
        assert "asker → @lc  STATUS" in lines[1]
        assert (await listening.interrupt()).code == 130


async def test_no_settle_leaves_it(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name):
        pass
    sent = await broker("send", name, "1")
    done = await broker("listen", "--as", name, "--count", "1", "--no-settle")
    assert sent.id in done.out
    assert (await broker("peek", "--as", name, "--json")).json["count"] == 1
    again = await broker("listen", "--as", name, "--count", "1")
    assert again.out.endswith("(attempt 2)\n")
    assert (await broker("peek", "--as", name, "--json")).json["count"] == 0


async def test_count_takes_no_more_than_that(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name):
        pass
    for number in range(5):
        assert (await broker("send", name, str(number))).code == 0
    done = await broker("listen", "--as", name, "--count", "2", "--json")
    assert [line["payload"] for line in done.json_lines] == [0, 1]
    heads = (await broker("peek", "--as", name, "--json")).json["heads"]
    assert [head["attempt"] for head in heads] == [1, 1, 1]


async def test_timeout_ends_it_with_4_when_no_more_comes(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    async with agent(name):
        pass
    assert (await broker("send", name, "1")).code == 0
    done = await broker("listen", "--as", name, "--count", "2", "--timeout", "5")
    assert (done.code, done.out[-2:]) == (4, "1\n")
    assert done.err.endswith("Error: nothing came for 5 s; 1 message before\n")
    assert (await broker("peek", "--as", name, "--json")).json["count"] == 0
    assert (await broker("send", name, "2")).code == 0
    assert (await broker("listen", "--as", name, "--count", "1", "--timeout", "60")).code == 0


@pytest.mark.parametrize("command", ["listen", "watch"])
async def test_an_interruption_is_told_and_its_end(
    hub: HubProcess, broker: Broker, command: str
) -> None:
    async with await broker.start(command) as following:
        await following.said("ing ")
        await hub.restart()
        assert f": lost {broker.url}: " in await following.said(": lost ")
        assert (await following.said("connected to")).endswith(f": connected to {broker.url}\n")
        assert (await following.interrupt()).code == 130


async def test_as_takes_over_and_is_taken_over(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name) as running:
        async with await broker.start("listen", "--as", name) as listening:
            await listening.said("listening as")
            async with agent(name):
                done = await listening.end()
        assert running.state == "taken_over"
    assert done.code == 1
    assert done.err.startswith(f"Error: another connection registered as '{name}'")
    assert done.err.count("\n") == 1


async def test_ctrl_c_is_quiet(broker: Broker) -> None:
    async with await broker.start("listen") as listening:
        await listening.said("listening as")
        assert await listening.interrupt() == (130, "", "")


async def test_a_reader_that_leaves_ends_it_at_once(broker: Broker) -> None:
    reading, writing = os.pipe()
    async with await broker.start("listen", stdout=writing) as listening:
        os.close(writing)
        await listening.said("listening as")
        os.close(reading)
        done = await listening.end()
    assert (done.code, done.err) == (0, "")


async def test_what_a_reader_did_not_take_is_not_settled(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    async with agent(name):
        pass
    assert (await broker("send", name, "1", "--as", other)).code == 0
    async with await broker.start("listen", "--as", name, stdout=writing) as listening:
        os.close(writing)
        done = await listening.end()
    assert done.code == 0
    assert "Traceback" not in done.err
    assert (await broker("peek", "--as", name, "--json")).json["count"] == 1


async def test_a_reader_that_rests_does_not_cost_the_session(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    text = "x" * 50_000  # two fill a pipe and a reader's buffer
    reading, writing = os.pipe()
    async with (
        agent(other) as sender,
        agent(f"{other}-w") as watching,
        await broker.start("listen", "--as", name, "--json", stdout=writing) as listening,
    ):
        os.close(writing)
        await listening.said("listening as")
        for _ in range(4):
            await sender.send(name, text)
        # The hub would end a session that is silent for two heartbeats, 2 s each.
        try:
            async with asyncio.timeout(5):
                async for change in watching.watch():
                    assert change["agent"] != name, change
        except TimeoutError:
            pass
        with os.fdopen(reading, "rb") as pipe:
            lines = [await asyncio.to_thread(pipe.readline) for _ in range(4)]
        assert [json.loads(line)["payload"] for line in lines] == [text] * 4
        await listening.interrupt()
