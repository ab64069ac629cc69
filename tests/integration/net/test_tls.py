"""TLS on the hub's own port."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.integration.net.rig import HEARTBEAT, TIMEOUT_S, Rig, upgrade_request
from tests.support.certificates import Authority, Signed
from trishula_broker.net.ports import Log
from trishula_broker.net.tls import Tls


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def signed(authority: Authority) -> Signed:
    return authority.sign()


def speaking(signed: Signed) -> Callable[[Log], Tls]:
    return lambda log: Tls(signed.cert, signed.key, log)


@pytest.fixture
async def rig(rig_of: Any, signed: Signed) -> Any:
    return await rig_of(tls=speaking(signed))


def trust(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.file)


async def test_frames_of_every_size_pass_both_ways(rig: Rig, authority: Authority) -> None:
    async with connect(rig.url, ssl=trust(authority), max_size=None) as client:
        link, _ = await rig.heard.next("connect")
        for size in (1, 70_000, 900_000):
            await client.send('{"type":"HEARTBEAT","payload":"' + "x" * size + '"}')
            assert (await rig.heard.next("receive"))[2] > size
            rig.do(rig.sent(link, b"y" * size))
            assert await client.recv() == "y" * size


async def test_a_close_by_either_side_is_clean(rig: Rig, authority: Authority) -> None:
    async with connect(rig.url, ssl=trust(authority)) as client:
        link, _ = await rig.heard.next("connect")
        rig.do(rig.closed(link, 4401, "token"))
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (4401, "token")
    async with connect(rig.url, ssl=trust(authority)) as client:
        await rig.heard.next("connect")
    await rig.heard.next("disconnect")
    assert client.close_code == 1000


async def test_http_is_served_on_the_same_port(rig: Rig, authority: Authority) -> None:
    url = f"https://localhost:{rig.port}/health"
    async with httpx.AsyncClient(verify=trust(authority), trust_env=False, timeout=60) as client:
        for _ in range(2):
            body = (await client.get(url)).json()
            assert (body["status"], body["node"]) == ("ok", "rig")


async def test_a_client_in_plain_text_is_told_so_at_once(rig: Rig) -> None:
    raw = await rig.raw()
    await raw.send(upgrade_request())
    assert "HTTP/1.1 400" in await raw.head()
    assert b"This port speaks TLS" in await raw.rest()
    _, fields = await rig.heard.next("record")
    assert (fields["what"], fields["reason"]) == ("connection", "not_tls")


async def test_a_tls_client_on_a_plain_port_hears_that_it_is_none(
    rig_of: Any, authority: Authority
) -> None:
    plain = await rig_of()
    with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version|record.layer"):
        await connect(f"wss://localhost:{plain.port}/ws", ssl=trust(authority)).__aenter__()
    _, fields = await plain.heard.next("record")
    assert (fields["what"], fields["reason"], fields["status"]) == ("request", "tls", 400)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
async def test_who_does_not_finish_the_handshake_is_cut_off(
    rig_of: Any, signed: Signed, said: bytes
) -> None:
    rig = await rig_of(tls=speaking(signed), handshake_s=0.2)
    raw = await rig.raw()
    await raw.send(said)
    assert await raw.rest() == b""
    await rig.heard.next("record")
    await asyncio.sleep(0)  # for what is called when a task has ended
    assert (rig.listener.count, len(rig.listener.crowd)) == (0, 0)


async def test_who_sends_no_request_after_the_handshake_is_cut_off(
    rig_of: Any, signed: Signed, authority: Authority
) -> None:
    rig = await rig_of(tls=speaking(signed), handshake_s=2)
    reader, writer = await asyncio.open_connection(
        "localhost", rig.port, ssl=trust(authority), family=socket.AF_INET
    )
    async with asyncio.timeout(TIMEOUT_S):
        assert b"408" in await reader.read()
    writer.close()


async def test_strangers_that_say_nothing_are_capped_by_address(
    rig_of: Any, signed: Signed, authority: Authority
) -> None:
    rig = await rig_of(tls=speaking(signed), unregistered=6)
    silent = [await rig.raw() for _ in range(3)]
    assert await (await rig.raw()).rest() == b""
    await silent[0].close()
    _, fields = await rig.heard.next("record")
    assert fields["reason"] == "crowded"


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
async def test_old_versions_of_tls_are_refused(
    rig: Rig, authority: Authority, version: str
) -> None:
    old = trust(authority)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        old.minimum_version = old.maximum_version = getattr(ssl.TLSVersion, version)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(rig.url.replace("127.0.0.1", "localhost"), ssl=old).__aenter__()
    _, fields = await rig.heard.next("record")
    assert fields["what"] == "tls"


async def served(rig: Rig, authority: Authority) -> bytes:
    """The certificate that is shown."""
    _, writer = await asyncio.open_connection(
        "localhost", rig.port, ssl=trust(authority), family=socket.AF_INET
    )
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_a_new_certificate_is_taken_and_a_broken_one_is_not(
    rig_of: Any, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    signed = authority.sign()
    rig = await rig_of(tls=speaking(signed))
    first = await served(rig, authority)
    async with connect(rig.url, ssl=trust(authority)) as client:
        authority.sign()
        assert await served(rig, authority) == first
        assert rig.tls.reload()
        second = await served(rig, authority)
        assert second != first
        signed.cert.write_text("-----BEGIN CERTIFICATE-----\nbroken\n")
        assert not rig.tls.reload()
        (fields,) = await rig.log.heard.next("tls_not_reloaded")
        assert fields["why"].startswith(f"tls.cert: {signed.cert}: ")
        assert await served(rig, authority) == second
        await client.send(HEARTBEAT.decode())
        await rig.heard.next("receive")
