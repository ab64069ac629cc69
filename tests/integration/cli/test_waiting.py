"""``broker send --wait`` and ``--until``."""

from collections.abc import Callable

import pytest

from tests.integration.cli.command import Broker
from tests.support.hub_process import HubProcess
from trishula import Agent, Message, RemoteError

pytestmark = pytest.mark.asyncio(loop_scope="module")
AgentOf = Callable[..., Agent]
AS = pytest.mark.parametrize("named", [False, True], ids=["own name", "--as"])


async def twice(message: Message) -> object:
    await message.progress({"done": "½"})
    return {"twice": message.payload * 2}


async def refuse(message: Message) -> object:
    raise RemoteError("busy", "come\x1b[31m back", details={"queue": 3})


@AS
async def test_wait_prints_the_result_and_progress_beside_it(
    broker: Broker, agent: AgentOf, name: str, other: str, named: bool
) -> None:
    async with agent(name) as answering:
        answering.on_command(twice)
        args = ["--as", other] if named else []
        done = await broker("send", name, "21", "--wait", *args)
    assert done == (0, '{"twice":42}\n', f'{name}: {{"done":"½"}}\n')


@AS
async def test_wait_in_json_prints_the_answer_as_an_envelope(
    broker: Broker, agent: AgentOf, name: str, other: str, named: bool
) -> None:
    async with agent(name) as answering:
        answering.on_command(twice)
        args = ["--as", other] if named else []
        done = await broker("send", name, "1", "--wait", "--json", "--id", f"q-{name}", *args)
    assert done.code == 0
    answer = done.json
    assert (answer["type"], answer["from"], answer["payload"]) == ("RESULT", name, {"twice": 2})
    assert (answer["reply_to"], answer["thread"]) == (f"q-{name}", f"q-{name}")


@AS
async def test_an_error_is_the_end_with_1(
    broker: Broker, agent: AgentOf, name: str, other: str, named: bool
) -> None:
    args = ["--as", other] if named else []
    async with agent(name) as answering:
        answering.on_command(refuse)
        done = await broker("send", name, "1", "--wait", *args)
        assert done == (1, "", f"Error: {name} answered: busy: come\\u001b[31m back\n")
        done = await broker("send", name, "1", "--wait", "--json", *args)
    assert done.code == 1
    assert done.json["payload"]["details"] == {"queue": 3}


@AS
async def test_no_answer_in_time_is_the_end_with_4(
    broker: Broker, agent: AgentOf, name: str, other: str, named: bool
) -> None:
    async with agent(name):
        pass
    args = ["--as", other] if named else []
    done = await broker("send", name, "1", "--wait", "--timeout", "5", *args)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("Error: not answered in time, and not taken back; `broker trace ")


@AS
async def test_a_command_that_expires_is_answered_by_the_hub(
    broker: Broker, agent: AgentOf, name: str, other: str, named: bool
) -> None:
    async with agent(name):
        pass
    args = ["--as", other] if named else []
    done = await broker("send", name, "1", "--wait", "--ttl", "0.2", *args)
    assert done.code == 1
    assert done.err.startswith("Error: the hub answered: expired: ")


async def test_the_answer_stays_for_the_agent_it_was_asked_for(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    async with agent(name) as answering, agent(other) as running:
        answering.on_command(twice)
        assert (await broker("send", name, "4", "--wait", "--as", other)).code == 0
        assert running.state == "active"
        async for message in running.messages():
            await message.done()
            if message.type == "RESULT":
                break
        assert message.payload == {"twice": 8}


async def test_asked_again_under_the_same_id_the_answer_is_there_already(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    ask = ("send", name, "4", "--wait", "--as", other, "--id", "again")
    async with agent(name) as answering:
        answering.on_command(twice)
        first = await broker(*ask)
    assert await broker(*ask) == first


async def test_a_group_answers_by_its_first(broker: Broker, agent: AgentOf, name: str) -> None:
    async with agent(name, groups=[f"g{name}"]) as answering:
        answering.on_command(twice)
        done = await broker("send", f"#g{name}", "2", "--wait")
    assert (done.code, done.out) == (0, '{"twice":4}\n')


@AS
@pytest.mark.parametrize("stage", ["delivered", "read", "done"])
async def test_until_a_recipient_got_that_far(
    broker: Broker, agent: AgentOf, name: str, other: str, named: bool, stage: str
) -> None:
    args = ["--as", other, "--id", f"u-{name}"] if named else ["--id", f"u-{name}"]
    async with agent(name) as receiver:
        receiver.on_message(lambda message: None)
        done = await broker("send", name, "1", "--until", stage, *args)
    assert done == (0, f"{stage} u-{name} by {name}\n", "")


async def test_until_in_json(broker: Broker, agent: AgentOf, name: str, other: str) -> None:
    async with agent(name) as receiver:
        receiver.on_message(lambda message: None)
        args = ("--until", "done", "--json", "--as", other, "--id", "j")
        done = await broker("send", name, "1", *args)
    assert done.json == {"id": "j", "from": other, "stage": "done", "by": name}


async def test_what_became_so_before_is_found(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    send = ("send", name, "1", "--until", "done", "--as", other, "--id", "before")
    async with agent(name) as receiver:
        receiver.on_message(lambda message: None)
        first = await broker(*send)
    assert await broker(*send) == first  # no receipt comes for it any more


async def test_until_ends_with_1_when_it_cannot_come_to_that(
    broker: Broker, agent: AgentOf, name: str, other: str
) -> None:
    async def reject(message: Message) -> None:
        await message.reject("not mine")

    async with agent(name) as receiver:
        receiver.on_message(reject)
        done = await broker("send", name, "1", "--until", "done", "--as", other)
    assert done == (1, "", f"Error: it ended otherwise; {name}: rejected, not mine\n")


async def test_until_ends_with_4_when_it_takes_too_long(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    async with agent(name):
        pass
    done = await broker("send", name, "1", "--until", "delivered", "--timeout", "5")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("Error: not delivered in time")


@pytest.mark.parametrize("how", [["--wait"], ["--until", "done"]])
async def test_ctrl_c_while_waiting_says_where_to_look(
    broker: Broker, agent: AgentOf, name: str, other: str, how: list[str]
) -> None:
    async with (
        agent(name) as receiver,
        await broker.start("send", name, "1", *how, "--as", other) as asking,
    ):
        async for message in receiver.messages():
            assert await asking.interrupt() == (
                *(130, ""),
                "interrupted, and not taken back; "
                f"`broker trace {message.id} --as {other}` says where it is\n",
            )
            break


@AS
async def test_the_hub_may_be_killed_and_come_back_meanwhile(
    hub: HubProcess, broker: Broker, agent: AgentOf, name: str, other: str, named: bool
) -> None:
    args = ["--as", other] if named else []
    first = agent(name)
    async with first, await broker.start("send", name, "3", "--wait", *args) as asking:
        await anext(aiter(first.messages()))  # it is there; and it is not settled
        await hub.kill()
        await first.close(0)  # else it may come back after the other, and take its mail
        await hub.start()
        async with agent(name) as answering:
            answering.on_command(twice)
            done = await asking.end()
    assert (done.code, done.out) == (0, '{"twice":6}\n')
