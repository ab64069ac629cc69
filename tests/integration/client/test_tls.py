"""``wss://`` to a real hub: its certificate is checked, and what is wrong with it is said."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.cli.command import Broker
from tests.support.certificates import Authority, Signed
from tests.support.hub_process import HubProcess
from trishula import Agent, NotConnected
from trishula.websocket import UNKNOWN_AUTHORITY, UNTRUSTED


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


def speaking(folder: Path, signed: Signed) -> HubProcess:
    """A hub with that certificate."""
    options = ("--tls-cert", str(signed.cert), "--tls-key", str(signed.key))
    return HubProcess(folder / "data", *options)


def url(hub: HubProcess) -> str:
    return f"wss://localhost:{hub.port}"


async def test_an_agent_and_a_command_speak_to_a_hub_with_a_private_authority(
    tmp_path: Path, authority: Authority
) -> None:
    async with speaking(tmp_path, authority.sign()) as hub:
        assert "serving wss://127.0.0.1:" in hub.ready_line
        async with Agent("dc", url(hub), ca_file=authority.file) as dc:
            await dc.send("dc", "x" * 500_000)
            async for message in dc.messages():
                await message.done()
                break
        told = await Broker(url(hub))("agents", "--ca-file", str(authority.file))
        assert (told.code, "dc" in told.out) == (0, True)
        variable = {"TRISHULA_CA_FILE": str(authority.file)}
        assert (await Broker(url(hub))("nodes", env=variable)).code == 0


async def test_the_variable_names_the_authority(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRISHULA_CA_FILE", str(authority.file))
    async with speaking(tmp_path, authority.sign()) as hub, Agent("dc", url(hub)):
        pass


async def refusal(agent: Callable[[float], Agent]) -> str:
    """What keeps an agent away that is given more patience until the hub has answered."""
    for seconds in (1, 4, 16, 60):
        with pytest.raises(NotConnected) as found:
            await agent(seconds).__aenter__()
        if "certificate" in str(found.value):
            break
    return str(found.value)


@pytest.mark.parametrize(
    ("sign", "trusted", "said"),
    [
        (lambda it: it.sign(), False, UNKNOWN_AUTHORITY),
        (lambda it: it.sign(lives=timedelta(days=-1)), True, UNTRUSTED[10]),
        (lambda it: it.sign(hosts=("hub.example.org",)), True, UNTRUSTED[62]),
    ],
    ids=["unknown authority", "expired", "wrong name"],
)
async def test_a_certificate_that_does_not_do_is_refused_with_what_to_do(
    tmp_path: Path,
    authority: Authority,
    sign: Callable[[Authority], Signed],
    trusted: bool,
    said: str,
) -> None:
    async with speaking(tmp_path, sign(authority)) as hub:
        ca_file = authority.file if trusted else None
        assert said in await refusal(
            lambda seconds: Agent("dc", url(hub), ca_file=ca_file, connect_timeout=seconds)
        )


async def test_plain_text_to_a_port_that_speaks_tls_is_told_the_right_url(
    tmp_path: Path, authority: Authority
) -> None:
    async with speaking(tmp_path, authority.sign()) as hub:
        plain = f"ws://localhost:{hub.port}"
        with pytest.raises(NotConnected) as found:
            await Agent("dc", plain).__aenter__()
        assert f"use wss://localhost:{hub.port}/ws" in str(found.value)


async def test_a_new_certificate_is_taken_at_sighup_and_nobody_is_cut_off(
    tmp_path: Path, authority: Authority
) -> None:
    signed = authority.sign(lives=timedelta(days=-1))
    async with speaking(tmp_path, signed) as hub:
        assert "has expired" in await refusal(
            lambda seconds: agent(hub, authority, connect_timeout=seconds)
        )
        authority.sign()
        await hub.signal(signal.SIGHUP)
        async with agent(hub, authority) as dc:
            signed.cert.write_text("broken")
            await hub.signal(signal.SIGHUP)
            await dc.send("dc", 1)
            async with agent(hub, authority, name="agni"):
                pass
        await hub.terminate()
        assert '"tls_not_reloaded"' in hub.log


def agent(hub: HubProcess, authority: Authority, *, name: str = "dc", **options: float) -> Agent:
    return Agent(name, url(hub), ca_file=authority.file, **options)  # type: ignore[arg-type]


async def test_a_hub_of_this_host_is_found_and_drained_over_tls(
    tmp_path: Path, authority: Authority
) -> None:
    async with speaking(tmp_path, authority.sign()) as hub:
        done = await Broker(url(hub))("drain", "--port", str(hub.port))
        assert done.code == 0, done
        assert done.out.startswith("hub (pid ")


@pytest.mark.parametrize(
    ("text", "rule"), [(None, "No such file"), ("nothing", "no certificate in PEM")]
)
def test_an_authority_that_cannot_be_read_is_named(
    tmp_path: Path, text: str | None, rule: str
) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=f"^ca_file: .*ca.pem.*{rule}"):
        Agent("dc", ca_file=path)
