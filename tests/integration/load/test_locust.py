"""Locust's users, and the agent they are made of, against a real hub."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from loadtests.swarm.agent import Counters, LoadError, SocketAgent
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from trishula import Agent
from trishula_protocol.bodies import Peek

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[3]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path_factory.mktemp("hub") / "data") as running:
        yield running


async def test_a_command_is_answered_and_everything_settled(hub: HubProcess) -> None:
    counters = Counters()
    one, two = (SocketAgent(hub.url, name, counters) for name in ("one", "two"))

    def talk() -> None:
        one.open()
        two.open()
        assert one.command("two", {"n": 1}) == {"n": 1}
        two.send("STATUS", "one", "news")
        one.leave()
        two.leave()

    await asyncio.to_thread(talk)
    # A command, its result, and a status; each was delivered once.
    assert (counters.accepted, counters.delivered) == (3, 3)
    async with Agent("looker", hub.url, receive=False, ephemeral=True) as looker:
        assert not {"one", "two"} & {each["id"] for each in await looker.agents()}


async def test_it_speaks_with_agents_of_the_sdk(hub: HubProcess) -> None:
    mine = SocketAgent(hub.url, "mine", Counters())
    async with Agent("theirs", hub.url) as theirs:
        theirs.on_command(lambda message: message.payload + 1)
        await asyncio.to_thread(mine.open)
        assert await asyncio.to_thread(mine.command, "theirs", 41) == 42
        assert await theirs.command("mine", "echo", timeout=60) == "echo"
        await asyncio.to_thread(mine.leave)


async def test_what_was_under_way_survives_a_lost_connection(hub: HubProcess) -> None:
    agent = SocketAgent(hub.url, "falls", Counters())
    async with Agent("slow", hub.url) as slow:
        await asyncio.to_thread(agent.open)
        asking = asyncio.create_task(asyncio.to_thread(agent.command, "slow", "are you there"))
        message = await anext(slow.messages())
        await asyncio.to_thread(agent.drop)
        assert not agent.is_open
        await message.reply("yes")
        await asyncio.to_thread(agent.open)
        assert await asking == "yes"
        assert await asyncio.to_thread(agent.ask, Peek()) is not None
        await asyncio.to_thread(agent.leave)


async def test_a_hub_that_dies_is_noticed_and_found_again(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "data") as hub:
        agent = SocketAgent(hub.url, "stays", Counters())
        await asyncio.to_thread(agent.open)
        await hub.restart()
        with pytest.raises(LoadError, match="not connected"):
            await asyncio.to_thread(agent.ask, Peek())
        await asyncio.to_thread(agent.open)
        await asyncio.to_thread(agent.leave)


async def test_a_refusal_is_an_error_with_its_code(hub: HubProcess) -> None:
    agent = SocketAgent(hub.url, "alone", Counters())
    await asyncio.to_thread(agent.open)
    with pytest.raises(LoadError, match=r"^unknown_recipient$"):
        await asyncio.to_thread(agent.send, "STATUS", "nobody-at-all", None)
    await asyncio.to_thread(agent.leave)


@pytest.mark.parametrize(
    ("path", "says"), [("/nowhere", "connect: .*404"), ("", "connect: Connection refused")]
)
async def test_where_no_hub_is_it_says_so(hub: HubProcess, path: str, says: str) -> None:
    url = hub.url.removesuffix("/ws") + path if path else "ws://127.0.0.1:1/ws"
    agent = SocketAgent(url, "lost", Counters())
    with pytest.raises(LoadError, match=says):
        await asyncio.to_thread(agent.open)


async def locust(hub: HubProcess, **settings: str) -> tuple[int, str]:
    environ = {f"TRISHULA_LOAD_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless"),
        *("--only-summary", "--host", hub.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, **environ},
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_stages_run_and_the_marks_are_reached(hub: HubProcess) -> None:
    short = {"STAGES": "4:1s,8:4s,0:1s", "PACE": "5", "STORM_S": "1", "BROADCAST_S": "1"}
    code, said = await locust(hub, **short, RATE="1", CONNECT_MS="60000")
    assert code == 0, said
    assert said.count("reached: ") == 3
    for what in ("connect", "reconnect", "command", "status", "broadcast"):
        assert f"trishula  {what} " in said
    assert "Traceback" not in said
    async with Agent("looker", hub.url, receive=False, ephemeral=True) as looker:
        assert not [each for each in await looker.agents() if each["id"].startswith("load-")]


async def test_with_the_hubs_keys_every_user_has_a_token(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    async with HubProcess(tmp_path / "data", "--keys", str(keys.path)) as hub:
        usual = {"STAGES": "3:3s", "PACE": "5", "RATE": "0", "CONNECT_MS": "60000"}
        code, said = await locust(hub, **usual, KEYS=str(keys.path))
        assert code == 0, said
        code, said = await locust(hub, **{**usual, "STAGES": "1:1s"})
        assert code == 1, said
        assert "401" in said


async def test_a_missed_mark_decides_the_exit_code(hub: HubProcess) -> None:
    code, said = await locust(hub, STAGES="2:1s", RATE="1000000", CONNECT_MS="60000")
    assert code == 1
    assert "MISSED : " in said
    assert "the mark is over 1000000" in said


async def test_a_setting_that_is_none_is_told(hub: HubProcess) -> None:
    code, said = await locust(hub, STAGES="many")
    assert code != 0
    assert "'many' is no stage: USERS:SECONDSs, such as 100:30s" in said
