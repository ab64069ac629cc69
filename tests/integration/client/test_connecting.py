"""What an agent says while it has no hub, and which URLs it does not try for ever."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from itertools import count

import pytest

from tests.integration.client.scripted_hub import ScriptedHub, hub
from trishula import Agent, NotConnected, State, TakenOver
from trishula.outage import REMIND_SECONDS, Outage
from trishula.websocket import ConnectFailed

CLOSED_PORT = "ws://127.0.0.1:1/ws"


def said(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[tuple[int, str]]:
    return [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if record.name == "trishula" and record.levelno >= level
    ]


async def test_the_first_attempt_that_fails_is_a_warning_that_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(NotConnected):
        await Agent("dc", CLOSED_PORT, connect_timeout=5).__aenter__()
    assert said(caplog, logging.WARNING) == [
        (
            logging.WARNING,
            f"dc: no hub at {CLOSED_PORT}: Connection refused "
            "(is a hub running there? `broker serve` starts one); trying again",
        )
    ]


def test_an_outage_is_told_once_a_minute_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="trishula")
    outage = Outage("dc")
    error = ConnectFailed("no answer")
    for now in (0.0, 1.0, REMIND_SECONDS - 1, REMIND_SECONDS, REMIND_SECONDS + 1):
        outage.failed("ws://h/ws", error, now)
    outage.over("ws://h/ws")
    outage.over("ws://h/ws")
    outage.failed("ws://h/ws", error, REMIND_SECONDS + 2)
    away = (logging.WARNING, "dc: no hub at ws://h/ws: no answer; trying again")
    assert said(caplog) == [away, away, (logging.INFO, "dc: connected to ws://h/ws"), away]


async def test_the_first_connection_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="trishula")
    async with hub() as found, Agent("dc", found.url):
        pass
    assert said(caplog) == [(logging.INFO, f"dc: connected to {found.url}")]


async def test_a_lost_connection_and_its_return_are_logged_and_told_to_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="trishula")
    states: asyncio.Queue[State] = asyncio.Queue()
    async with hub() as found:
        agent = Agent("dc", found.url)

        @agent.on_state
        def broken(state: State) -> None:
            raise OSError("the lamp")

        agent.on_state(states.put_nowait)
        async with agent:
            found.sessions["dc"].connection.transport.abort()
            async with asyncio.timeout(60):
                told = [await states.get() for _ in range(4)]
        assert told == [State.CONNECTING, State.ACTIVE, State.CONNECTING, State.ACTIVE]
        assert [states.get_nowait(), states.get_nowait()] == [State.CLOSING, State.CLOSED]
        assert states.empty()
    lines = [line for line in said(caplog) if line[0] == logging.INFO]
    assert [line[1].partition(": closed")[0] for line in lines] == [
        f"dc: connected to {found.url}",
        f"dc: lost {found.url}",
        f"dc: connected to {found.url}",
    ]
    assert (logging.ERROR, "dc: on_state") in said(caplog)


async def refusal(found: ScriptedHub, url: str) -> str:
    with pytest.raises(NotConnected) as caught:
        await Agent("dc", url, connect_timeout=None).__aenter__()
    assert len(found.headers) <= 1
    return str(caught.value)


@pytest.mark.parametrize("status", [200, 302, 400, 404, 426])
async def test_a_path_without_a_hub_is_refused_at_once_with_the_right_one(status: int) -> None:
    async with hub() as found:
        found.status = (status, {})
        wrong = found.url.removesuffix("/ws") + "/wrong"
        text = await refusal(found, wrong)
        assert f"{wrong}: HTTP {status} " in text
        assert f"no hub is under this path; use {found.url})" in text


async def test_a_server_that_is_no_hub_is_refused_at_once() -> None:
    async with hub() as found:
        found.status = (404, {})
        assert "what listens there is not a hub" in await refusal(found, found.url)


async def test_tls_to_a_port_without_is_refused_at_once_with_the_right_scheme() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotConnected) as caught:
            await Agent("dc", f"wss://127.0.0.1:{port}/ws", connect_timeout=None).__aenter__()
    assert f"it does not speak TLS; use ws://127.0.0.1:{port}/ws)" in str(caught.value)


async def test_a_hub_that_cuts_a_tls_handshake_is_told_with_a_question(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with hub() as found:
        url = found.url.replace("ws://", "wss://")
        with pytest.raises(NotConnected):
            await Agent("dc", url, connect_timeout=5).__aenter__()
    assert "does it speak TLS?" in said(caplog, logging.WARNING)[0][1]


async def test_a_refusal_is_told_without_its_wrapping() -> None:
    async with hub() as found:
        found.status = (404, {})
        found.body = '{"type":"about:blank","detail":"nothing is at /ws"}'
        assert "HTTP 404 Not Found: nothing is at /ws (" in await refusal(found, found.url)


async def test_a_proxys_page_for_browsers_is_not_told() -> None:
    async with hub() as found:
        found.status = (404, {})
        found.body = "<html>\r\n<head><title>404 Not Found</title></head>\r\n</html>"
        told = await refusal(found, found.url)
    assert "HTTP 404 Not Found (" in told
    assert "<" not in told


@pytest.mark.parametrize("status", [401, 403])
async def test_hubs_that_all_refuse_the_token_are_not_hubs_that_are_not_there(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    made = (f"t{n}" for n in count())
    async with hub() as one, hub() as two:
        for each in (one, two):
            each.status = (status, {})
            each.body = '{"type":"about:blank","detail":"the token has expired"}'
        with pytest.raises(NotConnected) as caught:
            await Agent(
                "dc", [one.url, two.url], token=lambda: next(made), connect_timeout=1
            ).__aenter__()
        assert caught.value.refused
        refused = f"HTTP {status} {HTTPStatus(status).phrase}: the token has expired"
        assert str(caught.value) == (
            f"every hub refuses the token: {one.url}: {refused}; {two.url}: {refused}; "
            "`broker token create` makes a new one"
        )
        assert said(caplog, logging.WARNING)[0] == (
            logging.WARNING,
            f"dc: {one.url} refuses the token: {refused} "
            "(`broker token create dc` makes a new one); trying again",
        )


async def test_a_hub_that_is_away_is_told_beside_one_that_refuses_the_token() -> None:
    made = (f"t{n}" for n in count())
    async with hub() as one:
        one.status = (401, {})
        with pytest.raises(NotConnected, match=r"^no hub could be reached: ") as caught:
            await Agent(
                "dc", [one.url, CLOSED_PORT], token=lambda: next(made), connect_timeout=1
            ).__aenter__()
        assert not caught.value.refused


async def test_an_agent_that_has_worked_outlives_a_proxy_that_is_being_set_up() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        found.status = (404, {})
        found.sessions["dc"].connection.transport.abort()
        await found.until(lambda: len(found.headers) >= 3)
        found.status = None
        await dc.send("dc", 1)


@pytest.mark.parametrize("path", ["", "/"])
async def test_a_url_without_a_path_means_the_hubs_own(path: str) -> None:
    async with hub() as found, Agent("dc", found.url.removesuffix("/ws") + path) as dc:
        assert dc.url == found.url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (
            "http://h:8765/ws",
            "'http://h:8765/ws' must begin with ws:// or wss://; use ws://h:8765/",
        ),
        (
            "https://u:s3cret@h/?s3cret",
            "'https://h/' must begin with ws:// or wss://; use wss://h/",
        ),
        ("h:8765", "'h:8765' must begin with ws:// or wss://; use ws://h:8765"),
        ("ws://", "'ws://' is not like ws://host:8765/ws"),
        ("ws://u:s3cret@h:x/", "'ws://h:x/ws' is not like ws://host:8765/ws"),
    ],
)
def test_a_url_that_cannot_be_a_hubs_is_refused_with_the_right_one(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r"url: ") as caught:
        Agent("dc", url)
    assert fault in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_an_agent_that_is_taken_over_says_so_to_whoever_does_not_ask(
    caplog: pytest.LogCaptureFixture,
) -> None:
    states: list[State] = []
    async with hub() as found, Agent("dc", found.url) as old:
        old.on_state(states.append)
        async with Agent("dc", found.url):
            with pytest.raises(TakenOver):
                await old.run()
    assert states == [State.CONNECTING, State.TAKEN_OVER]
    [(level, text)] = said(caplog, logging.WARNING)
    assert level == logging.ERROR
    assert text.startswith("dc: this agent is over: another connection registered as 'dc'")
