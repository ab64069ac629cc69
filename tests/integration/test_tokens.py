"""Tokens at real hubs: sessions that expire, are renewed and are revoked, on one hub and on two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.two_hubs import two_hubs
from trishula import Agent, Refused, Unauthorized
from trishula.life import State
from trishula_broker.auth import key_file
from trishula_broker.auth.ledger import Issued, Ledger, Revoked
from trishula_protocol import bodies

LIFE_MS = 12_000
"""Of a token that expires in a test; a quarter of it is left when it is to be renewed."""
PATIENCE_S = 60.0
REVOKED_WITHIN_S = 60.0
NO_LEEWAY = {"TRISHULA_AUTH_LEEWAY_S": "0"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
async def hub(tmp_path: Path, keys: Keys) -> AsyncIterator[HubProcess]:
    """A hub with keys, for which a token ends when it says so."""
    options = ("--keys", str(keys.path))
    async with HubProcess(tmp_path / "hub", *options, environ=NO_LEEWAY) as hub:
        yield hub


def ledger_of(keys: Keys) -> Ledger:
    return key_file.ledger_of(keys.path)


def issued(keys: Keys) -> list[Issued]:
    """The tokens that were made."""
    return [each for each in ledger_of(keys).read().entries if isinstance(each, Issued)]


def refused(agent: Agent) -> asyncio.Event:
    """Set when the agent is over because its hub does not want it."""
    over = asyncio.Event()
    agent.on_state(lambda state: over.set() if state is State.REFUSED else None)
    return over


async def test_an_agent_renews_its_token_and_its_session_goes_on(
    hub: HubProcess, keys: Keys
) -> None:
    made: list[str] = []
    third = asyncio.Event()

    def token() -> str:
        made.append(keys.token("dc", lives_ms=LIFE_MS))
        if len(made) == 3:
            third.set()  # the first one has expired meanwhile
        return made[-1]

    states: list[State] = []
    dc = Agent("dc", hub.url, token=token)
    dc.on_state(states.append)
    async with dc, asyncio.timeout(PATIENCE_S):
        await third.wait()
        await dc.send("dc", "still here")
        assert states == [State.CONNECTING, State.ACTIVE]
    assert not any(each in hub.log for each in made)


async def test_a_session_ends_when_its_token_does(hub: HubProcess, keys: Keys) -> None:
    dc = Agent("dc", hub.url, token=keys.token("dc", lives_ms=LIFE_MS))
    over = refused(dc)
    async with dc, asyncio.timeout(PATIENCE_S):
        await over.wait()
        with pytest.raises(Unauthorized):
            await dc.send("dc", 1)


async def test_what_a_token_allows_is_told_and_its_sender_is_proven(
    hub: HubProcess, keys: Keys
) -> None:
    token = keys.token("dc", send=("agni",), types=("STATUS",))
    async with (
        Agent("agni", hub.url, token=keys.token("agni")) as agni,
        Agent("dc", hub.url, token=token) as dc,
        asyncio.timeout(PATIENCE_S),
    ):
        with pytest.raises(Refused, match=r"forbidden: to: your token does not allow varuna"):
            await dc.send("varuna", 1)
        with pytest.raises(Refused, match=r"forbidden: type: .* it allows STATUS"):
            await dc.command("agni", 1)
        await dc.send("agni", "hello")
        message = await anext(agni.messages())
        [jti] = [each.jti for each in issued(keys) if each.sub == "dc"]
        assert message.headers == {"auth": f"dc default {jti}"}


async def test_who_has_a_token_is_known_to_a_hub_that_starts_but_observers_are_no_addresses(
    tmp_path: Path, keys: Keys
) -> None:
    keys.token("eye", role="observer")
    keys.token("agni")
    async with (
        HubProcess(tmp_path / "hub", "--keys", str(keys.path)) as hub,
        Agent("dc", hub.url, token=keys.token("dc")) as dc,
        asyncio.timeout(PATIENCE_S),
    ):
        known: set[str] = set()
        while "agni" not in known:
            known = {each["id"] for each in await dc.agents()}
        assert known == {"agni", "dc"}
        assert (await dc.send("agni", "for later")).id


async def test_operators_alone_may_ask_what_is_theirs(hub: HubProcess, keys: Keys) -> None:
    async with (
        Agent("dc", hub.url, token=keys.token("dc")) as dc,
        Agent("boss", hub.url, token=keys.token("boss", role="operator")) as boss,
        asyncio.timeout(PATIENCE_S),
    ):
        over = refused(dc)
        with pytest.raises(Refused, match=r"forbidden: payload\.op: pause is for operators"):
            await dc.ask(bodies.Pause("boss"))
        assert (await boss.ask(bodies.Revoke(agent="dc")))["sessions"] == 1
        await over.wait()


async def test_a_revocation_ends_sessions_on_every_hub_and_opens_none(
    tmp_path: Path, keys: Keys
) -> None:
    """The second hub has the keys, and not the list beside them: the store tells it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    copied = elsewhere / "keys.json"
    copied.write_bytes(keys.path.read_bytes())
    copied.chmod(0o600)
    token = keys.token("dc")
    async with two_hubs(tmp_path, "--keys", str(keys.path)) as (one, two):
        two.options = tuple(str(copied) if each == str(keys.path) else each for each in two.options)
        await two.restart()
        dc = Agent("dc", two.url, token=token)
        over = refused(dc)
        async with dc:
            [made] = issued(keys)
            ledger_of(keys).add(Revoked(at=made.iat, ns="default", jti=made.jti))
            async with asyncio.timeout(REVOKED_WITHIN_S):
                await over.wait()
        for hub in (one, two):
            with pytest.raises(Unauthorized):
                await Agent("dc", hub.url, token=token).__aenter__()
