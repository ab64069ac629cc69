"""``pause``, ``resume``, ``forget`` and ``tap``."""

import json
import os
import pty
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.command import Broker
from tests.integration.folder.rig import until_state
from trishula import Agent, State

pytestmark = pytest.mark.asyncio(loop_scope="module")
AgentOf = Callable[..., Agent]


async def known(agent: AgentOf, *names: str) -> None:
    for name in names:
        async with agent(name):
            pass


async def names_of(broker: Broker) -> set[str]:
    return {each["id"] for each in (await broker("agents", "--json")).json_lines}


async def test_a_paused_agent_gets_its_mail_when_it_is_resumed(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    async with agent(name) as running:
        done = await broker("pause", name, "--reason", "new\nmodel")
        assert done == (0, f"paused {name}; `broker resume {name}` hands out again\n", "")
        assert (await broker("send", name, '"late"')).code == 0
        table = (await broker("agents")).out
        [row] = [line for line in table.splitlines() if line.startswith(f"{name} ")]
        assert row.endswith("paused (new\\u000amodel)")
        [shown] = [
            each for each in (await broker("agents", "--json")).json_lines if each["id"] == name
        ]
        assert (shown["paused"], shown["unsettled"]) == ({"reason": "new\nmodel"}, 1)
        assert (await broker("resume", name)) == (0, f"resumed {name}\n", "")
        message = await anext(running.messages())
        assert message.payload == "late"
        await message.done()


async def test_pausing_and_resuming_in_json(broker: Broker, agent: AgentOf, name: str) -> None:
    await known(agent, name)
    assert (await broker("pause", name, "--json")).json == {"agent": name, "paused": True}
    assert (await broker("resume", name, "--json")).json == {"agent": name, "paused": False}


async def test_watch_tells_of_it(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name), await broker.start("watch") as watching:
        while f"  {name}  " not in await watching.line():
            pass
        await watching.said("watching on")
        await broker("pause", name, "--reason", "lunch")
        assert (await watching.line()).endswith(f"  {name}  paused  lunch\n")
        await broker("resume", name)
        assert (await watching.line()).endswith(f"  {name}  resumed\n")


async def test_folder_mode_names_who_stays_on_the_hub(
    broker: Broker, agent: AgentOf, name: str, tmp_path: Path
) -> None:
    with_folder = agent(f"{name}-with", shared_folder=tmp_path)
    async with agent(name), with_folder:
        off = (await broker("folder-mode", "--json")).json
        assert (off["on"], off["with_folder"], name in off["without_folder"]) == (False, 1, True)
        done = await broker("folder-mode", "on", "--reason", "new\nmodel")
        assert (done.code, done.err) == (0, "")
        assert "(new\\u000amodel): 1 agent online" in done.out
        assert f"without a folder, so still by hub: {name}\n" in done.out
        await until_state(with_folder, State.FOLDER)
        assert "ordered to their shared folder since" in (await broker("nodes")).err
        done = await broker("folder-mode", "off")
        assert done.out.startswith("folder mode is off")
        await until_state(with_folder, State.ACTIVE)
        assert (await broker("nodes")).err == ""


async def test_a_reason_belongs_to_on(broker: Broker) -> None:
    done = await broker("folder-mode", "off", "--reason", "x")
    assert done.code == 2
    assert "--reason: it belongs to `on`; leave it out" in done.err


@pytest.mark.parametrize("what", ["pause", "resume", "forget"])
async def test_a_name_nobody_has_is_told_with_the_nearest(
    broker: Broker, agent: AgentOf, name: str, what: str
) -> None:
    await known(agent, f"{name}-abc")
    done = await broker(what, f"{name}-abd", *(["--yes"] if what == "forget" else []))
    assert (done.code, done.out) == (1, "")
    assert f"no agent {name}-abd is known here; did you mean {name}-abc" in done.err


async def test_forget(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name):
        done = await broker("forget", name, "--yes")
        assert (done.code, done.out) == (1, "")
        assert f"{name} is online at hub; stop it first" in done.err
    done = await broker("forget", name)
    assert (done.code, name in await names_of(broker)) == (2, True)
    assert done.err.endswith("Error: Nobody can be asked here; say --yes.\n")
    assert await broker("forget", name, "--yes") == (0, f"forgot {name}\n", "")
    assert name not in await names_of(broker)


async def test_forget_discards_mail_only_when_it_is_told_to(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    async with agent(other) as sender:
        await sender.send(name, 1)
        await sender.send(name, 2)
        done = await broker("forget", name, "--yes")
        assert (done.code, done.out) == (1, "")
        assert f"2 messages wait for {name}; " in done.err
        assert "say --discard" in done.err
        done = await broker("forget", name, "--discard", "--yes")
        assert done == (0, f"forgot {name}; 2 messages went to the dead letters\n", "")
        told = [await anext(sender.messages()) for _ in range(2)]
        assert [message.payload["code"] for message in told] == ["undeliverable"] * 2
        for message in told:
            await message.done()
    letters = (await broker("deadletters", "list", "--json")).json_lines
    assert len([each for each in letters if each["agent"] == name]) == 2


@pytest.mark.parametrize(("typed", "code"), [("n\n", 1), ("y\n", 0), ("\x04", 130)])
async def test_forget_asks_a_person(
    broker: Broker, agent: AgentOf, name: str, typed: str, code: int
) -> None:
    await known(agent, name)
    await broker("send", name, "1")
    terminal, end = pty.openpty()
    async with await broker.start("forget", name, "--discard", stdin=end) as forgetting:
        os.close(end)
        os.write(terminal, typed.encode())
        done = await forgetting.end()
    os.close(terminal)
    assert f"Forget {name} for good, and discard 1 message?" in done.err
    assert "Traceback" not in done.err
    assert done.code == code
    assert (name in await names_of(broker)) == (code != 0)


async def test_tap_prints_what_passes_and_what_becomes_of_it(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    async with (
        agent(name, groups=[f"g{name}"]) as receiver,
        await broker.start("tap", "--from", other) as tapping,
        agent(other) as sender,
    ):
        await tapping.said("tapping ws://")
        await receiver.send(other, "not this way")
        sent = await sender.send(name, {"n": "\x1b[2J"})
        line = await tapping.line()
        assert line.endswith(f'  {other} → {name}  STATUS  {sent.id}  {{"n":"\\u001b[2J"}}\n')
        await (await anext(receiver.messages())).done()
        line = await tapping.line()
        assert line.endswith(f"  {name}  done  STATUS  {sent.id}  from {other}\n")
        await sender.send(f"#g{name}", 1)
        assert (await tapping.line()).endswith(f"  1  (for {name})\n")
        assert (await tapping.interrupt())[:2] == (130, "")
        assert (await receiver.peek())["count"] == 1


async def test_tap_in_json_ends_after_a_count(broker: Broker, agent: AgentOf, name: str) -> None:
    filters = ("--to", name, "--type", "command", "--thread", "t1", "--count", "2", "--json")
    async with agent(name) as dc, await broker.start("tap", *filters) as tapping:
        await tapping.said("tapping ws://")
        await dc.send(name, 0, thread="t1")
        await dc.send(name, 1, type="COMMAND", thread="t2")
        sent = [await dc.send(name, n, type="COMMAND", thread="t1") for n in (2, 3)]
        done = await tapping.end()
        assert done.code == 0
        copies = [json.loads(line) for line in done.out.splitlines()]
        assert [each["envelope"]["id"] for each in copies] == [each.id for each in sent]
        assert [(each["tap"], each["node"], each["agents"]) for each in copies] == [
            ("accepted", "hub", [name])
        ] * 2


async def test_tap_ends_by_its_timeout_and_warns_of_a_name_nobody_has(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, f"{name}-abc")
    done = await broker("tap", "--to", f"{name}-abd", "--timeout", "0.2")
    assert (done.code, done.out) == (4, "")
    assert f"note: no agent {name}-abd is known here; did you mean {name}-abc" in done.err
    assert done.err.endswith("Error: nothing passed for 0.2 s; 0 lines before\n")


@pytest.mark.parametrize("args", [["--to", "#"], ["--from", "@x"], ["--thread", "a b"]])
async def test_a_filter_that_cannot_be_is_wrong_usage_or_refused(
    broker: Broker, args: list[str]
) -> None:
    done = await broker("tap", *args)
    assert done.code in (1, 2)
    assert done.out == ""
    assert args[0].removeprefix("--") in done.err
