"""``broker bench`` against a real hub."""

import asyncio
import re
import sys
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.command import Broker
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.redis_server import RedisServer
from trishula import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
SHORT = ("bench", "--duration", "300ms")


async def nobody_is_left(hub: HubProcess) -> bool:
    async with Agent("looker", hub.url, receive=False, ephemeral=True) as looker:
        return not [each for each in await looker.agents() if each["id"].startswith("bench-")]


async def test_it_sends_what_was_planned_and_tells_what_became_of_it(
    hub: HubProcess, broker: Broker
) -> None:
    done = await broker(*SHORT, "--rate", "200", "--connections", "2", "--json")
    assert done.code == 0, done
    found = done.json
    assert (found["planned"], found["accepted"], found["received"]) == (60, 60, 60)
    assert (found["success"], found["duplicates"], found["disorder"]) == (100, 0, 0)
    assert found["latency_ms"]["count"] == found["accepting_ms"]["count"] == 60
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["max"]
    assert found["connect_ms"]["count"] == 4
    assert found["urls"] == found["receiver_urls"] == [hub.url]
    assert sum(each["received"] for each in found["intervals"]) == 60
    assert (found["missed"], found["failed"]) == ([], {})
    assert await nobody_is_left(hub)


async def test_as_fast_as_accepted(hub: HubProcess, broker: Broker) -> None:
    done = await broker(*SHORT, "--rate", "max", "--connections", "2", "--window", "20", "--json")
    assert done.code == 0, done
    found = done.json
    assert found["received"] == found["planned"] == found["accepted"] >= 40  # two windows of 20
    assert (found["success"], found["disorder"]) == (100, 0)
    assert found["messages_per_s"] > 0
    assert await nobody_is_left(hub)


async def test_fan_out_and_priorities(hub: HubProcess, broker: Broker) -> None:
    options = ("--rate", "100", "--fan-out", "5", "--priority-mix", "1:1,5:2")
    done = await broker(*SHORT, *options, "--connections", "1", "--json")
    assert done.code == 0, done
    found = done.json
    assert (found["planned"], found["expected"], found["received"]) == (30, 150, 150)
    counts = {p: each["count"] for p, each in found["latency_by_priority_ms"].items()}
    assert counts == {"1": 50, "5": 100}
    assert found["deliveries_per_s"] == pytest.approx(5 * found["messages_per_s"])
    assert await nobody_is_left(hub)


async def test_for_people_there_is_a_line_a_figure_and_met_targets_are_no_matter(
    broker: Broker,
) -> None:
    targets = ("--max-p99", "1h", "--min-rate", "1", "--min-success", "100", "--max-connect", "1h")
    done = await broker(*SHORT, "--rate", "50", *targets)
    assert done.code == 0, done
    assert [line.split()[0] for line in done.out.splitlines()][:6] == [
        *("3", "connected", "accepted", "received", "throughput", "success"),
    ]
    assert "missed" not in done.err
    assert "\x1b" not in done.out + done.err


async def test_missed_targets_are_named_and_decide_the_exit_code(broker: Broker) -> None:
    missed = ("--max-p99", "0.001ms", "--min-rate", "1000000", "--max-connect", "0.001ms")
    done = await broker(*SHORT, "--rate", "50", *missed, "--min-success", "1")
    assert done.code == 5
    said = [line.split()[1] for line in done.err.splitlines() if line.startswith("missed: ")]
    assert said == ["--max-p99", "--min-rate", "--max-connect"]
    assert "throughput" in done.out


async def test_a_picture_is_drawn(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "latency.png"
    done = await broker(*SHORT, "--rate", "50", "--plot", str(path))
    assert done.code == 0, done
    assert path.read_bytes().startswith(b"\x89PNG")


async def test_without_matplotlib_it_says_how_to_install_it(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    done = await broker(
        *SHORT, "--plot", str(tmp_path / "latency.png"), env={"PYTHONPATH": str(tmp_path)}
    )
    assert (done.code, done.out) == (2, "")
    assert "`pip install 'trishula[bench]'` does it" in done.err


async def test_one_agent_that_was_made_before_sends_to_itself_and_stays(
    hub: HubProcess, broker: Broker, name: str
) -> None:
    async with Agent(name, hub.url):
        pass
    done = await broker(*SHORT, "--rate", "50", "--as", name, "--json")
    assert done.code == 0, done
    assert done.json["received"] == done.json["planned"] == 15
    async with Agent(name, hub.url) as agent:
        assert name in [each["id"] for each in await agent.agents()]
        assert (await agent.peek())["count"] == 0


async def test_ctrl_c_ends_it_early_and_shows_what_there_is(
    hub: HubProcess, broker: Broker
) -> None:
    running = await broker.start("bench", "--duration", "5m", "--rate", "200", "--json")
    async with running:
        await running.said("received")  # the first line of progress: some have come
        done = await running.interrupt()
    assert done.code == 130
    assert done.json["interrupted"]
    assert 0 < done.json["planned"] < 60_000
    assert done.json["received"] == done.json["planned"]
    assert await nobody_is_left(hub)


async def test_sender_and_receiver_on_different_nodes(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        async with (
            HubProcess(tmp_path / "one", "--redis", redis.url, node="one") as one,
            HubProcess(tmp_path / "two", "--redis", redis.url, node="two") as two,
        ):
            done = await Broker(one.url)(*SHORT, "--rate", "50", "--node", two.url, "--json")
    finally:
        redis.kill()
    assert done.code == 0, done
    assert (done.json["urls"], done.json["receiver_urls"]) == ([one.url], [two.url])
    assert done.json["received"] == done.json["planned"] == 15


async def until_accepted(hub: HubProcess, count: int) -> None:
    """Return when it has accepted so many messages in this life."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http, asyncio.timeout(60):
        found = 0.0
        while found < count:
            said = (await http.get(f"{hub.http_url}/metrics")).text
            counts = re.findall(r'^trishula_messages_total{.*"accepted".*} (\S+)$', said, re.M)
            found = sum(map(float, counts))


async def test_a_hub_that_dies_under_way_shows_as_what_it_cost(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "data") as hub:
        # Longer than the slowest machine needs for a restart: it ends when that is over.
        running = await Broker(hub.url).start(
            "bench", "--duration", "5m", "--rate", "200", "--json"
        )
        async with running:
            await until_accepted(hub, 20)
            await hub.restart()
            await until_accepted(hub, 20)
            done = await running.interrupt()
        assert done.code == 130, done
        found = done.json
        assert found["reconnects"] > 0
        assert found["received"] == found["planned"] == found["accepted"] > 20
        assert (found["success"], found["failed"]) == (100, {})
        assert (found["duplicates"], found["disorder"]) == (0, 0)
        # What waited for the hub to be back is counted from when it was to be sent.
        assert found["latency_ms"]["max"] > found["latency_ms"]["p50"]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


async def test_with_the_hubs_keys_its_agents_get_tokens(tmp_path: Path, keys: Keys) -> None:
    async with HubProcess(tmp_path / "data", "--keys", str(keys.path)) as hub:
        broker = Broker(hub.url)
        refused = await broker(*SHORT, "--rate", "50")
        assert refused.code == 1
        assert "TRISHULA_TOKEN" in refused.err
        done = await broker(*SHORT, "--rate", "50", "--fan-out", "3", "--keys", str(keys.path))
        assert done.code == 0, done
        assert "success      100 %: 45 of 45 deliveries" in done.out


async def test_with_a_token_the_agent_it_is_for_sends_to_itself(tmp_path: Path, keys: Keys) -> None:
    async with HubProcess(tmp_path / "data", "--keys", str(keys.path)) as hub:
        file = tmp_path / "prober.token"
        file.write_text(keys.token("prober"))
        options = ("--rate", "50", "--json", "--token-file", str(file))
        done = await Broker(hub.url)(*SHORT, *options)
        assert done.code == 0, done
        assert done.json["received"] == done.json["planned"] == 15


@pytest.mark.parametrize("what", ["online", "mail"])
async def test_an_agent_at_work_is_not_disturbed(
    hub: HubProcess, broker: Broker, name: str, what: str
) -> None:
    async with Agent(name, hub.url) as agent:
        if what == "mail":
            await agent.close()
            assert (await broker("send", name, "1")).code == 0
        done = await broker(*SHORT, "--as", name)
        assert (done.code, done.out) == (2, "")
        says = {"online": f"{name} is online: use", "mail": f"{name} has 1 message waiting: use"}
        assert says[what] in done.err


async def test_keys_that_cannot_be_used_are_told(broker: Broker, tmp_path: Path) -> None:
    done = await broker(*SHORT, "--keys", str(tmp_path / "keys.json"))
    assert (done.code, done.out) == (1, "")
    assert f"{tmp_path / 'keys.json'}: " in done.err
    done = await broker(*SHORT, "--keys", str(tmp_path / "keys.json"), "--as", "dc")
    assert done.code == 2
    assert "--keys makes agents for the run" in done.err


def command_lines() -> list[bytes]:
    """Of all processes on this host; those that end meanwhile are left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the command lines")
async def test_no_token_is_in_a_command_line(tmp_path: Path, keys: Keys) -> None:
    secret = keys.token("prober")
    async with HubProcess(tmp_path / "data", "--keys", str(keys.path)) as hub:
        running = await Broker(hub.url).start(
            "bench", "--duration", "9s", "--rate", "50", env={"TRISHULA_TOKEN": secret}
        )
        async with running:
            await running.said("received")
            shown = command_lines()
            assert len([each for each in shown if b"trishula_broker.benchmark" in each]) >= 2
            assert not [each for each in shown if secret.encode() in each]
            await running.interrupt()
