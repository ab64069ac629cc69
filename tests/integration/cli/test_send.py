"""``broker send`` without waiting for anybody."""

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.integration.cli.command import Broker
from trishula import Agent, Message

pytestmark = pytest.mark.asyncio(loop_scope="module")
AgentOf = Callable[..., Agent]


async def next_of(agent: Agent) -> Message:
    async with asyncio.timeout(60):
        message = await anext(aiter(agent.messages()))
    await message.done()
    return message


async def known(agent: AgentOf, name: str) -> None:
    async with agent(name):
        pass


async def test_it_prints_the_id_once_the_message_is_stored(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    async with agent(name) as receiver:
        sent = await broker("send", name, '{"a": 1}')
        assert (sent.code, sent.err) == (0, "")
        message = await next_of(receiver)
    assert message.id == sent.id
    assert (message.type, message.payload, message.priority) == ("STATUS", {"a": 1}, 3)
    assert message.sender.startswith("cli-")
    assert sent.out == f"accepted {message.id} from {message.sender}\n"


async def test_json_is_one_document(broker: Broker, agent: AgentOf, name: str) -> None:
    await known(agent, name)
    sent = await broker("send", name, "[]", "--json", "--as", name)
    assert sent.json.keys() == {"id", "from"}
    assert sent.json["from"] == name


async def test_an_offline_recipient_gets_it_when_it_comes(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, '"later"')
    async with agent(name) as receiver:
        message = await next_of(receiver)
    assert (message.id, message.payload) == (sent.id, "later")


async def test_every_field_arrives(broker: Broker, agent: AgentOf, name: str, other: str) -> None:
    async with agent(name) as receiver:
        sent = await broker(
            *("send", name, "null", "--type", "ERROR", "--priority", "1", "--ttl", "60"),
            *("--thread", "t1", "--reply-to", "r1", "--id", "mine", "--as", other),
        )
        message = await next_of(receiver)
    assert sent.id == "mine"
    assert (message.id, message.sender, message.type) == ("mine", other, "ERROR")
    assert (message.priority, message.thread, message.reply_to) == (1, "t1", "r1")
    assert message.expires_in is not None


@pytest.mark.parametrize(
    ("args", "given", "payload"),
    [
        (['{"grüße": "नमस्ते 🙂"}'], None, {"grüße": "नमस्ते 🙂"}),
        (["-"], '{"a": "é"}\n'.encode(), {"a": "é"}),
        (["-", "--text"], b"zwei\nZeilen\n", "zwei\nZeilen\n"),
        (["{not json", "--text"], None, "{not json"),
        (["18446744073709551615"], None, 2**64 - 1),
    ],
)
async def test_payloads_arrive_as_they_were_given(
    broker: Broker,
    agent: AgentOf,
    name: str,
    args: list[str],
    given: bytes | None,
    payload: object,
) -> None:
    async with agent(name) as receiver:
        sent = await broker("send", name, *args, given=given)
        assert sent.code == 0, sent
        assert (await next_of(receiver)).payload == payload


@pytest.mark.parametrize(
    ("args", "given", "says"),
    [
        (["hello"], None, "use --text"),
        (['{"a": 1'], None, "JSON: Input data was truncated"),
        (["-"], b"hello", "JSON from standard input: JSON is malformed"),
        (["-"], b"\xff", "standard input: "),
        (["-", "--text"], b"\xff", "not UTF-8"),
        (["[" * 5000 + "]" * 5000], None, "nested"),
        (["36893488147419103232"], None, "integers go from -2^63 to 2^64-1"),
        (["1", "--type", "RESULT"], None, "--reply-to: required with type RESULT"),
        (["1", "--id", "a b"], None, "--id: must be"),
        (["1", "--ttl", "0"], None, "'--ttl': '0' is not between 0 and 366 days"),
        (["1", "--ttl", "soon"], None, "'--ttl': 'soon' is no time: such as 500ms, 60s, 5m or 1h"),
        (["1", "--timeout", "1y"], None, "'--timeout': '1y' is no time: such as"),
        (["1", "--priority", "6"], None, "1<=x<=5"),
        (["1", "--as", "No One"], None, "--as: 'No One' must be"),
        (["1", "--wait", "--type", "STATUS"], None, "--wait is for a COMMAND"),
        (["1", "--wait", "--until", "done"], None, "exclude one another"),
        (["1", "--timeout", "3"], None, "--timeout is for"),
    ],
)
async def test_wrong_usage_is_told_in_a_line(
    broker: Broker, name: str, args: list[str], given: bytes | None, says: str
) -> None:
    sent = await broker("send", name, *args, given=given)
    assert sent.code == 2
    assert sent.out == ""
    last = sent.err.splitlines()[-1]
    assert last.startswith("Error: ")
    assert says in last
    assert "Traceback" not in sent.err


async def test_an_address_that_cannot_be_is_wrong_usage(broker: Broker) -> None:
    sent = await broker("send", "No One", "1")
    assert sent.code == 2
    assert sent.err.startswith("Error: TO: agent 'No One' must be 1-64 characters")


async def test_an_unknown_recipient_is_refused_with_the_nearest_names(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, f"{name}-review")
    sent = await broker("send", f"{name}-reveiw", "1")
    assert (sent.code, sent.out) == (1, "")
    assert sent.err == (
        f"Error: unknown_recipient: to: {name}-reveiw never registered here; "
        f"did you mean {name}-review?\n"
    )


async def test_as_does_not_disturb_a_running_agent(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, other)
    async with agent(name) as running:
        assert (await broker("send", other, "1", "--as", name)).code == 0
        assert (await broker("peek", "--as", name)).code == 0
        assert (await broker("send", name, "2", "--as", other)).code == 0
        assert (await next_of(running)).payload == 2
        assert running.state == "active"


async def test_the_same_id_of_the_same_sender_is_accepted_once(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    await known(agent, name)
    send = ("send", name, "--as", other, "--id", "once")
    assert (await broker(*send, "1")).id == "once"
    assert (await broker(*send, "1")).id == "once"
    refused = await broker(*send, "2")
    assert refused.code == 1
    assert refused.err.startswith("Error: duplicate_id: ")
    assert (await broker("peek", "--as", name, "--json")).json["count"] == 1


async def test_the_name_may_come_from_the_environment(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1", "--json", env={"TRISHULA_AGENT": name})
    assert sent.json["from"] == name


async def test_a_command_that_nobody_waits_for_is_noted(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1", "--type", "command", "--json")
    assert sent.code == 0
    assert sent.err.startswith("note: an answer will find nobody")
    assert json.loads(sent.out)["id"]


async def test_to_a_group_and_to_a_capability(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name, groups=[f"g{name}"], capabilities=[f"c{name}"]) as receiver:
        assert (await broker("send", f"#g{name}", "1")).code == 0
        assert (await next_of(receiver)).payload == 1
        assert (await broker("send", f"@c{name}", "2")).code == 0
        assert (await next_of(receiver)).payload == 2
