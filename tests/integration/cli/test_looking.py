"""``agents``, ``watch``, ``peek``, ``history``, ``trace`` and ``recall``."""

import json
import os
import pty
import termios
from collections.abc import Callable

import pytest

from tests.integration.cli.command import Broker
from trishula import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
AgentOf = Callable[..., Agent]


async def known(agent: AgentOf, *names: str) -> None:
    for name in names:
        async with agent(name):
            pass


async def test_agents_is_a_table(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name, capabilities=["sql", "review"], groups=["ops"]) as running:
        await running.status("building\x1b[2J", {"left": 3})
        done = await broker("agents")
    assert (done.code, done.err) == (0, "")
    header, *rows = done.out.splitlines()
    assert " ".join(header.split()) == (
        "AGENT ONLINE SINCE UNSETTLED NODE CAPABILITIES GROUPS STATUS"
    )
    (row,) = [row for row in rows if row.startswith(f"{name} ")]
    cells = row.split(maxsplit=7)
    assert (cells[1], cells[3:]) == (
        "yes",
        ["0", "hub", "review,sql", "ops", 'building\\u001b[2J {"left":3}'],
    )


async def test_nodes_is_a_table(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name):
        done = await broker("nodes")
        [line] = (await broker("nodes", "--json")).json_lines
    assert (done.code, done.err) == (0, "")
    header, row = done.out.splitlines()
    assert header.split() == [
        "NODE",
        "ROLE",
        "ALIVE",
        "LEADS",
        "AGENTS",
        "SINCE",
        "HEARD",
        "ADDRESS",
    ]
    assert row.split()[:4] == ["hub", "primary", "yes", "yes"]
    assert (line["node"], line["leads"], line["agents"] >= 1) == ("hub", True, True)


async def test_agents_leaves_out_the_names_of_commands(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1", "--json")
    names = [each["id"] for each in (await broker("agents", "--json")).json_lines]
    assert name in names
    assert not [each for each in names if each.startswith("cli-")]
    everybody = [each["id"] for each in (await broker("agents", "--json", "--all")).json_lines]
    assert sent.json["from"] in everybody


async def test_agents_are_filtered(broker: Broker, agent: AgentOf, name: str, other: str) -> None:
    await known(agent, other)
    async with agent(name, capabilities=[f"c{name}"], groups=[f"g{name}"]):

        async def names(*args: str) -> set[str]:
            done = await broker("agents", "--json", *args)
            return {each["id"] for each in done.json_lines} & {name, other}

        assert await names() == {name, other}
        assert await names("--online") == {name}
        assert await names("--offline") == {other}
        assert await names("--capability", f"c{name}") == {name}
        assert await names("--group", f"g{name}") == {name}
        assert await names("--group", f"g{name}", "--offline") == set()


async def test_watch_tells_who_is_there_and_what_changes(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    async with agent(name, groups=["ops"]), await broker.start("watch") as watching:
        await watching.said("watching on")
        lines = [await watching.line()]
        while f"  {name}  " not in lines[-1]:
            lines.append(await watching.line())
        assert lines[-1].endswith(f"  {name}  online  #ops\n")
        async with agent(other, capabilities=["sql"]) as coming:
            assert (await watching.line()).endswith(f"  {other}  online  @sql\n")
            await coming.status("läuft")
            assert (await watching.line()).endswith(f"  {other}  läuft\n")
        assert (await watching.line()).endswith(f"  {other}  offline\n")
        assert await watching.interrupt() == (130, "", "")


async def test_watch_in_json_begins_with_a_snapshot(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    async with agent(name), await broker.start("watch", "--json") as watching:
        snapshot = json.loads(await watching.line())
        assert snapshot["event"] == "snapshot"
        assert name in [each["id"] for each in snapshot["agents"]]
        async with agent(other):
            change = json.loads(await watching.line())
        assert (change["event"], change["agent"], change["online"]) == ("presence", other, True)


async def test_peek_shows_what_waits_and_settles_nothing(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    assert (await broker("peek", "--as", name)).out == f"nothing waits for {name}\n"
    low = await broker("send", name, '"low"', "--priority", "5", "--as", other)
    high = await broker("send", name, '"high"', "--priority", "1", "--as", other)
    for _ in range(2):
        first, _, *rows = (await broker("peek", "--as", name)).out.splitlines()
        assert first.startswith("2 messages, ")
        assert first.endswith(": 1 of priority 1, 1 of priority 5")
        assert [row.split()[-1] for row in rows] == [high.id, low.id]
    one = await broker("peek", "--as", name, "--limit", "1")
    assert one.out.endswith("... and 1 more; see --limit\n")
    assert (await broker("peek", "--as", name, "--json")).json["by_priority"]["5"] == 1


@pytest.mark.parametrize(
    "command", ["peek", "history", "history t", "trace x", "recall x", "deadletters list"]
)
async def test_a_name_nobody_has_is_told_with_the_nearest(
    broker: Broker, agent: AgentOf, name: str, command: str
) -> None:
    await known(agent, f"{name}-review")
    who = "--agent" if command == "deadletters list" else "--as"
    done = await broker(*command.split(), who, f"{name}-reviw")
    assert (done.code, done.out) == (1, "")
    near = f"no agent {name}-reviw is known here; did you mean {name}-review"
    assert done.err.startswith(f"Error: {near}")


async def test_agents_as_a_name_nobody_has_notes_it(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, f"{name}-review")
    done = await broker("agents", "--as", f"{name}-reviw")
    assert done.code == 0
    assert f"{name}-review " in done.out
    near = f"no agent {name}-reviw is known here; did you mean {name}-review"
    assert done.err.startswith(f"note: {near}")
    assert (await broker("agents", "--as", f"{name}-review")).err == ""


async def test_attempts_are_those_that_ended_wherever_they_are_shown(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1", "--as", other)

    async def attempts() -> tuple[str, str]:
        peeked = (await broker("peek", "--as", name)).out.splitlines()
        traced = (await broker("trace", sent.id, "--as", other)).out.splitlines()
        found = []
        for header, row in (peeked[1:3], traced[1:3]):
            start = header.index("ATTEMPTS")
            found.append(row[start:].split()[0])
        return found[0], found[1]

    assert await attempts() == ("0", "0")
    assert (await broker("listen", "--as", name, "--count", "1", "--no-settle")).code == 0
    assert await attempts() == ("1", "1")


async def test_history_of_a_thread_and_of_all_mail_page_by_page(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    async with agent(other) as sender:
        for number in range(230):
            await sender.send(name, number, thread="even" if number % 2 == 0 else None)
    thread = await broker("history", "even", "--as", name, "--json", "--all")
    assert [line["payload"] for line in thread.json_lines] == list(range(0, 230, 2))
    page = await broker("history", "--as", name, "--json")
    assert [line["payload"] for line in page.json_lines] == list(range(100))
    last = page.json_lines[-1]["seq"]
    assert page.err == f"there may be more: --after {last}, or --all\n"
    rest = await broker("history", "--as", name, "--after", str(last), "--limit", "1000")
    lines = rest.out.splitlines()
    assert len(lines) == 130
    assert lines[0].split("  ")[1:3] == [f"{other} → {name}", "STATUS"]
    assert lines[-1].endswith("  229")
    assert rest.err == ""


async def test_history_of_nothing(broker: Broker, agent: AgentOf, name: str) -> None:
    await known(agent, name)
    assert await broker("history", "none", "--as", name) == (
        *(0, ""),
        f"nothing that {name} sent or received in thread none\n",
    )
    assert (await broker("history", "--as", name)).err == f"nothing that {name} sent or received\n"
    assert await broker("history", "none", "--as", name, "--json") == (0, "", "")


async def test_trace_tells_where_each_copy_is(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1", "--as", other, "--ttl", "3600", "--priority", "2")
    done = await broker("trace", sent.id, "--as", other)
    assert (done.code, done.err) == (0, "")
    first, header, row = done.out.splitlines()
    assert first.startswith(f"STATUS {sent.id} from {other} to {name}, accepted ")
    assert ", priority 2, seq " in first
    assert ", expires " in first
    assert first.endswith(", 1 recipient")
    assert header.split()[:2] == ["RECIPIENT", "STAGE"]
    assert row.split(maxsplit=6)[:2] == [name, "waiting"]
    assert row.endswith(f"{name} to come online")
    assert (await broker("listen", "--as", name, "--count", "1")).code == 0
    (message,) = (await broker("trace", sent.id, "--as", name, "--json")).json["messages"]
    assert [copy["stage"] for copy in message["copies"]] == ["done"]


async def test_trace_by_the_name_of_the_command_that_sent(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, name)
    sent = (await broker("send", name, "1", "--json")).json
    assert (await broker("trace", sent["id"], "--as", sent["from"])).code == 0


async def test_trace_of_what_one_has_no_part_in_is_refused(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1")
    await known(agent, other)
    done = await broker("trace", sent.id, "--as", other)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"Error: bad_message: payload.id: you neither sent nor received '{sent.id}'\n"
    )


async def test_recall_takes_back_what_nobody_has_read(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1", "--as", other)
    assert await broker("recall", sent.id, "--as", other) == (0, f"taken back from {name}\n", "")
    assert (await broker("peek", "--as", name, "--json")).json["count"] == 0
    again = await broker("recall", sent.id, "--as", other, "--json")
    assert again.json == {"recalled": [name], "kept": []}


async def test_recall_is_too_late_for_what_is_done(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1", "--as", other)
    assert (await broker("listen", "--as", name, "--count", "1")).code == 0
    done = await broker("recall", sent.id, "--as", other)
    assert done == (1, "", f"Error: too late for {name} (done)\n")
    assert (await broker("recall", sent.id, "--as", other, "--json")).json["recalled"] == []


@pytest.mark.parametrize("command", ["peek", "history", "trace x", "recall x"])
async def test_who_asks_must_be_said(broker: Broker, command: str) -> None:
    done = await broker(*command.split())
    assert done.code == 2
    assert "Missing option '--as' (env var: 'TRISHULA_AGENT')" in done.err


async def test_on_a_terminal_it_is_a_table_too(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name) as running:
        await running.status("[red]at it[/red]")
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 160))
        async with await broker.start("agents", "--online", stdout=end) as asking:
            os.close(end)
            assert (await asking.end()).code == 0
        shown = os.read(terminal, 65536).decode()
        os.close(terminal)
    assert "unsettled" in shown
    assert name in shown
    assert "[red]at it[/red]" in shown
