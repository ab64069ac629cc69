"""A token is found nowhere but with whom it was given to: in no log, error, report, title, file."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.attacker import knock, wire
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from trishula import Agent, errors
from trishula_broker.audit.segment import chains, read, segments

UPGRADE = (
    b"GET /ws?token=%b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: %b\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n%b\r\n"
)


class Secrets:
    """Tokens that were shown to a hub; those that are good, by their signature too."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def forged(self) -> str:
        """One that no hub takes."""
        return self.keep(f"eyJhbGciOiJub25lIn0.{secrets.token_hex(16)}.{secrets.token_hex(16)}")

    def keep(self, token: str) -> str:
        self.shown.append(token)
        return token

    def found_in(self, text: bytes) -> list[str]:
        """Those of which ``text`` has the last part, which is what must not be known."""
        return [token for token in self.shown if token.rpartition(".")[2].encode() in text]


async def _over_http(hub: HubProcess, known: Secrets) -> list[str]:
    """Every way to put a token into a URL; what was answered."""
    answers: list[str] = []
    async with httpx.AsyncClient(base_url=hub.http_url, trust_env=False, timeout=60) as client:
        for path in ("/health", "/health/live", "/nothing", "/ws", "/%2fws", "//ws"):
            for method in ("GET", "POST", "OPTIONS"):
                token = known.forged()
                answer = await client.request(method, f"{path}?token={token}")
                answers.append(f"{answer.headers!r} {answer.text}")
    extras = (b"", b"X-Forwarded-For: 203.0.113.1\r\n", b"Origin: http://[\r\n", b"\xff")
    requests = [
        *(UPGRADE % (b"%b", version, extra) for version in (b"13", b"8", b"x") for extra in extras),
        b"GET /ws?token=%b HTTP/9.9\r\n\r\n",
        b"GET /?token=%b\r\n\r\n",
        b"GET /ws?token=%b" + b"a" * 20_000,
    ]
    answers += [await _raw(hub, request % known.forged().encode()) for request in requests]
    return answers


async def _raw(hub: HubProcess, data: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(60):
            return (await reader.read()).decode(errors="replace")
    except ConnectionError:
        return ""
    finally:
        writer.close()


def _archived(audit: Path) -> bytes:
    """What an archive has, decompressed."""
    return b"".join(
        read(segment, chain, None).text
        for chain in chains(audit)
        for segment in segments(chain.folder(audit))
    )


async def test_a_token_is_found_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    keys, known = Keys(data), Secrets()
    caplog.set_level("DEBUG")
    told: list[str] = []
    environ = {"TRISHULA_LOG_LEVEL": "debug"}
    async with HubProcess(data, environ=environ) as hub:
        good, other = known.keep(keys.token("dc")), known.keep(keys.token("agni"))
        queries = (known.forged(), good, f"{good}&token={other}", f"{good}%00")
        told += [(await knock(f"{hub.url}?token={query}")).text for query in queries]
        headers = (known.forged(), f"{good} {other}", known.forged() * 40)
        told += [(await knock(hub.url, header)).text for header in headers]
        async with wire(f"{hub.url}?token={good}") as dc:
            told.append(str(await dc.register("agni", token=known.forged())))
            told.append(str(await dc.register("dc")))
            told.append(str(await dc.ask("renew", token=known.forged())))
            told.append(str(await dc.ask("renew", token=other)))
            told.append(str(await dc.ask("renew", token=[known.forged()])))
            told.append(str(await dc.ask("renew", token=good)))
        told += await _over_http(hub, known)
        with pytest.raises(errors.TrishulaError) as refused:
            async with Agent("dc", hub.url, token=known.forged()):
                pass
        told.append(f"{refused.value} {refused.value!r}")
        async with Agent("dc", hub.url, token=known.keep(keys.token("dc"))) as agent:
            told.append(repr(agent))
        async with Agent("ops", f"{hub.url}?token={known.keep(keys.token('ops'))}") as agent:
            told.append(repr(agent))
        async with httpx.AsyncClient(base_url=hub.http_url, trust_env=False, timeout=60) as client:
            told.append((await client.get("/health")).text)
        title = Path(f"/proc/{hub.pid}/cmdline")
        if title.exists():
            told.append(title.read_bytes().decode(errors="replace"))
        assert await hub.terminate() == 0
        assert "Traceback" not in hub.log
        told.append(hub.log)
    # What this test's own clients log is theirs.
    told += [each.getMessage() for each in caplog.records if each.name.startswith("trishula")]
    told += capfd.readouterr()
    for text in told:
        assert known.found_in(text.encode()) == [], text[:2000]
    for path in data.rglob("*"):
        if path.is_file():
            assert known.found_in(path.read_bytes()) == [], path
    archived = _archived(data / "audit")
    assert b"unauthorized" in archived
    assert known.found_in(archived) == []


async def test_a_refused_upgrade_says_nothing_of_its_query(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "data") as hub:
        with pytest.raises(InvalidStatus) as refused:
            async with wire(f"{hub.url}?token=s3cret", Forwarded="for=203.0.113.1"):
                pass
        assert refused.value.response.status_code == 403
        assert "s3cret" not in repr(refused.value.response) + hub.log
