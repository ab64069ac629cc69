"""``broker deadletters``."""

import os
import pty
from collections.abc import Callable

import pytest

from tests.integration.cli.command import Broker
from trishula import Agent, Message

pytestmark = pytest.mark.asyncio(loop_scope="module")
AgentOf = Callable[..., Agent]


async def give_up(agent: AgentOf, name: str, sender: str, count: int = 1) -> list[int]:
    """Dead letters of ``name``; their places in the log."""
    seqs: list[int] = []

    async def reject(message: Message) -> None:
        assert message.seq is not None
        seqs.append(message.seq)
        await message.reject("not\nmine")

    async with agent(name, concurrency=1) as receiver, agent(sender) as sending:
        receiver.on_message(reject)
        for number in range(count):
            await sending.send(name, {"n": number, "s": "ü"})
        async for notice in sending.messages():
            await notice.done()
            if len(seqs) == count:
                break
    return seqs


async def waiting(broker: Broker, name: str) -> int:
    count = (await broker("peek", "--as", name, "--json")).json["count"]
    assert isinstance(count, int)
    return count


async def listed(broker: Broker, name: str) -> list[int]:
    done = await broker("deadletters", "list", "--agent", name, "--json")
    return [line["message"]["seq"] for line in done.json_lines]


async def test_its_options_may_stand_before_what_is_to_be_done(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    async with agent(name):
        pass
    elsewhere = Broker("ws://127.0.0.1:1/ws")
    for args in (
        ("--url", broker.url, "list", "--agent", name),
        (f"--url={broker.url}", "--agent", name, "list"),
        ("list", "--agent", name, "--url", broker.url),
    ):
        done = await elsewhere("deadletters", *args)
        assert done == (0, "no dead letters\n", "")
    wrong = await elsewhere("deadletters", "--url", broker.url, "--nothing", "list")
    assert (wrong.code, wrong.err.splitlines()[-1]) == (2, "Error: No such option '--nothing'.")
    wrong = await elsewhere("deadletters", "--url", broker.url)
    assert (wrong.code, wrong.err.splitlines()[-1]) == (2, "Error: Missing command.")


async def test_list_and_show(broker: Broker, agent: AgentOf, name: str, other: str) -> None:
    (seq,) = await give_up(agent, name, other)
    assert (await broker("deadletters", "list", "--agent", other)).out == "no dead letters\n"
    done = await broker("deadletters", "list", "--agent", name)
    header, row = done.out.splitlines()
    assert header.split()[:2] == ["AGENT", "SEQ"]
    assert row.split()[:2] == [name, str(seq)]
    assert row.split()[-5:] == ["rejected", "0", other, "STATUS", "not\\u000amine"]
    assert await listed(broker, name) == [seq]

    shown = await broker("deadletters", "show", name, str(seq))
    assert (shown.code, shown.err) == (0, "")
    first, second, *payload = shown.out.splitlines()
    assert first.startswith("STATUS ")
    assert f" from {other} to {name}, accepted " in first
    assert second.endswith("after 0 attempts: not\\u000amine")
    assert payload == ["{", '  "n": 0,', '  "s": "ü"', "}"]
    as_json = (await broker("deadletters", "show", name, str(seq), "--json")).json
    assert as_json["message"]["payload"] == {"n": 0, "s": "ü"}


async def test_all_of_more_than_a_page_are_listed_and_retried(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    seqs = await give_up(agent, name, other, 120)
    assert await listed(broker, name) == seqs
    done = await broker("deadletters", "retry", name, "--all")
    assert done == (0, "put back 120 messages\n", "")
    assert await listed(broker, name) == []
    assert await waiting(broker, name) == 120


async def test_retry_of_one(broker: Broker, agent: AgentOf, name: str, other: str) -> None:
    first, second = await give_up(agent, name, other, 2)
    assert (await broker("deadletters", "retry", name, str(first))).out == "put back 1 message\n"
    assert await listed(broker, name) == [second]
    done = await broker("deadletters", "retry", name, str(second), "--json")
    assert done.json == {"retried": [{"agent": name, "seq": second}]}
    assert await waiting(broker, name) == 2


async def test_drop(broker: Broker, agent: AgentOf, name: str, other: str) -> None:
    first, second = await give_up(agent, name, other, 2)
    done = await broker("deadletters", "drop", name, str(first))
    assert done.code == 2
    assert done.err.endswith("Error: Nobody can be asked here; say --yes.\n")
    assert await listed(broker, name) == [first, second]
    done = await broker("deadletters", "drop", name, str(first), "--yes")
    assert done == (0, f"dropped {name} {first}\n", "")
    done = await broker("deadletters", "drop", name, str(second), "--yes", "--json")
    assert done.json == {"dropped": [{"agent": name, "seq": second}]}
    assert await listed(broker, name) == []
    assert await waiting(broker, name) == 0


@pytest.mark.parametrize(("typed", "code"), [("n\n", 1), ("y\n", 0), ("\x04", 130)])
async def test_drop_asks_a_person(
    broker: Broker, agent: AgentOf, name: str, other: str, typed: str, code: int
) -> None:
    (seq,) = await give_up(agent, name, other)
    terminal, end = pty.openpty()
    async with await broker.start("deadletters", "drop", name, str(seq), stdin=end) as dropping:
        os.close(end)
        os.write(terminal, typed.encode())
        done = await dropping.end()
        assert "Drop STATUS " in done.err
    os.close(terminal)
    assert done.code == code
    assert "Traceback" not in done.err
    assert await listed(broker, name) == ([] if code == 0 else [seq])


@pytest.mark.parametrize("what", ["show", "retry", "drop"])
async def test_what_is_not_there_is_refused(
    broker: Broker, agent: AgentOf, name: str, what: str
) -> None:
    async with agent(name):
        pass
    args = ["--yes"] if what == "drop" else []
    done = await broker("deadletters", what, name, "77", *args)
    assert (done.code, done.out) == (1, "")
    assert f"{name} has no dead letter 77; `broker deadletters list` shows them" in done.err


@pytest.mark.parametrize("args", [[], ["dc"], ["dc", "1", "--all"]])
async def test_retry_wants_one_or_all(broker: Broker, args: list[str]) -> None:
    done = await broker("deadletters", "retry", *args)
    assert done.code == 2
    assert done.err.endswith("Error: Give AGENT and SEQ, or --all with or without AGENT.\n")
