"""Two hubs on one Redis: each archives everything, and they can be compared."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.integration.audit.test_hub import audit, tamper
from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer
from trishula import Agent
from trishula_broker.audit.reading import Archive
from trishula_broker.audit.segment import TRAIL

MESSAGES = 1_100
"""From each hub to the other: more than two blocks of entries, as each is accepted in a commit of
its own."""


def trail(hub: HubProcess) -> list[tuple[object, ...]]:
    """What its archive says, but for what each chain has of its own."""
    own = ("n", "hash", "block")
    return [
        tuple(sorted((k, json.dumps(v)) for k, v in record.items() if k not in own))
        for _, record in Archive(hub.data / "audit", None, pytest.fail).records(chain=TRAIL)
        if "pos" in record and record["event"] != "segment"
    ]


async def send(agent: Agent, to: str) -> None:
    for n in range(MESSAGES):
        await agent.send(to, n)


async def take(agent: Agent) -> None:
    mail = agent.messages()
    for _ in range(MESSAGES):
        await (await anext(mail)).done()


async def test_both_archive_all_and_agree(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        one = HubProcess(tmp_path / "one", "--redis", redis.url, node="one")
        two = HubProcess(tmp_path / "two", "--redis", redis.url, node="two")
        async with one, two:
            async with Agent("dc", [one.url]) as dc, Agent("agni", [two.url]) as agni:
                await asyncio.gather(send(dc, "agni"), send(agni, "dc"), take(dc), take(agni))
            assert await two.terminate() == 0
            assert await one.terminate() == 0
        done = await audit("verify", "--redis", redis.url, "--against", "two", data=one.data)
        assert done.code == 0, done
        assert "blocks of 1000 entries are compared with two's" in done.out, done
        first, second = trail(one), trail(two)
        shorter = min(len(first), len(second))
        assert shorter > 2 * MESSAGES
        assert first[:shorter] == second[:shorter]
        tamper(one.data, b'"payload":7}', b'"payload":8}')
        done = await audit("verify", "--redis", redis.url, data=one.data)
        assert done.code == 1
        assert "was changed" in done.out
    finally:
        redis.kill()
    done = await audit("verify", "--redis", redis.url, data=two.data)
    assert "out of reach" in done.out, done
