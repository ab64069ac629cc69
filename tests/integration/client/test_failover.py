"""An agent with several hubs: which one it leaves, how soon, and how it comes back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.integration.client.scripted_hub import ScriptedHub, Session, hub
from trishula import Agent, NotConnected, State, TakenOver, connector, failback
from trishula_protocol import limits
from trishula_protocol.envelope import Envelope

READY = b"HTTP/1.1 200 OK\r\n\r\n"
NOT_READY = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
LEFT_WITHIN = 60.0
"""Seconds in which a silent hub is left even on a busy machine; see ATTEMPT_SECONDS."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier hubs are looked at again and again without much ado."""
    monkeypatch.setattr(failback, "OFTEN_SECONDS", 0.02)


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Takes connections, as the kernel of a frozen host's process does, and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/ws"


async def swallow(session: Session, item: Envelope) -> bool:
    return True


def test_a_silent_hub_is_left_within_five_seconds() -> None:
    silence_s = limits.HEARTBEATS_MISSED * limits.HEARTBEAT_SDK_MS / 1000
    assert max(connector.ATTEMPT_SECONDS, silence_s) < 5


async def test_a_hub_that_never_answers_the_upgrade_is_left_for_the_next() -> None:
    async with (
        silent_server() as silent,
        hub() as two,
        asyncio.timeout(LEFT_WITHIN),
        Agent("dc", [silent, two.url]) as dc,
    ):
        assert dc.url == two.url


async def test_a_hub_that_never_answers_the_registration_is_left_for_the_next() -> None:
    async with hub() as one, hub() as two:
        one.silent = True
        async with asyncio.timeout(LEFT_WITHIN), Agent("dc", [one.url, two.url]) as dc:
            assert dc.url == two.url
        assert one.count("COMMAND") == 1


@pytest.mark.parametrize("code", [1012, 1001, 1013, None])
async def test_the_next_hub_is_tried_at_once(code: int | None, no_wait: None) -> None:
    async with (
        hub() as one,
        hub() as two,
        hub() as three,
        Agent("dc", [one.url, two.url, three.url], failback_after=None) as dc,
    ):
        for here, there in ((one, two), (two, three), (three, one)):
            connection = here.sessions["dc"].connection
            if code is None:
                connection.transport.abort()
            else:
                await connection.close(code)
            async with asyncio.timeout(LEFT_WITHIN):
                while dc.url != there.url:
                    await dc.send("agni", 1)


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait between rounds would be for ever."""
    monkeypatch.setattr("trishula.rounds.full_jitter_ms", lambda attempt, fraction: 10**9)
    monkeypatch.setattr("trishula.connector.SETTLED_SECONDS", 0.0)


async def test_the_only_hub_is_tried_again_when_it_restarts(no_wait: None) -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        await found.sessions["dc"].connection.close(1012, "this hub was given up for dead")
        await found.until(lambda: len(found.registrations) == 2)
        await dc.send("agni", 1)


async def test_one_url_without_a_hub_does_not_keep_an_agent_from_the_others() -> None:
    async with hub() as one, hub() as two:
        one.status = (404, {})
        async with Agent("dc", [one.url, two.url]) as dc:
            assert dc.url == two.url
        two.status = (404, {})
        with pytest.raises(NotConnected) as caught:
            await Agent("dc", [one.url, two.url], connect_timeout=None).__aenter__()
        assert all("not a hub" in reason for reason in caught.value.reasons.values())


# --- back to an earlier hub ---


class Front:
    """A port before a scripted hub: answers /health/ready by itself, passes on the rest."""

    def __init__(self, behind: ScriptedHub) -> None:
        self.behind = behind
        self.answer = NOT_READY
        self.looks = 0
        self.port = 0
        self.shut = True
        """Whether upgrades are refused."""
        self.looked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._streams.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /health/ready "):
                self.looks += 1
                self.looked.set()
                writer.write(self.answer)
            elif not self.shut:
                await self._pass(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self._streams.discard(writer)
            self._tasks.discard(task)

    async def _pass(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self.behind.port)
        self._streams.add(here)
        here.write(head)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.transport.abort()

        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(copy(reader, here))
                both.create_task(copy(there, writer))
        except* OSError:
            pass
        finally:
            here.transport.abort()
            self._streams.discard(here)

    async def looked_at(self, times: int) -> None:
        """Wait for that many more looks."""
        times += self.looks
        async with asyncio.timeout(60):
            while self.looks < times:
                self.looked.clear()
                await self.looked.wait()

    async def end(self) -> None:
        for stream in list(self._streams):
            stream.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def front_of(behind: ScriptedHub) -> AsyncIterator[Front]:
    front = Front(behind)
    async with await asyncio.start_server(front.serve, "127.0.0.1", 0) as server:
        front.port = server.sockets[0].getsockname()[1]
        try:
            yield front
        finally:
            await front.end()


@asynccontextmanager
async def on_the_second(
    failback_after: float | None = 0.0,
) -> AsyncIterator[tuple[Front, ScriptedHub, Agent]]:
    """An agent whose first hub, behind the front, is not well; it is on its second one.

    Both share a log and mailboxes, as hubs with one store do.
    """
    async with hub() as one, hub() as two, front_of(one) as front:
        one.log, one.mail, one.settled = two.log, two.mail, two.settled
        async with Agent("dc", [front.url, two.url], failback_after=failback_after) as dc:
            assert dc.url == two.url
            yield front, two, dc


async def test_an_agent_goes_back_to_a_hub_that_is_ready_and_its_own_takeover_does_not_end_it(
    often: None,
) -> None:
    async with on_the_second() as (front, two, dc):
        states: list[State] = []
        dc.on_state(states.append)
        await front.looked_at(3)
        assert dc.url == two.url
        front.shut = False
        front.answer = READY
        await front.behind.until(lambda: "dc" in front.behind.sessions)
        await two.until(lambda: "dc" not in two.sessions)
        await dc.send("agni", 1)
        assert dc.url == front.url
        assert dc.state is State.ACTIVE
        assert states == []
        assert len(front.behind.registrations) == 1


async def test_the_takeover_may_be_told_before_the_registration_is_answered(often: None) -> None:
    async with on_the_second() as (front, two, dc):
        one = front.behind
        one.silent = True
        front.shut = False
        front.answer = READY
        await one.until(lambda: one.count("COMMAND") == 1)
        await two.sessions["dc"].connection.close(4409, "taken over")
        sending = asyncio.create_task(dc.send("agni", 1))
        one.silent = False
        # The hub that took it over forgot to answer; whichever is reached now has the message.
        async with asyncio.timeout(60):
            await sending
        assert dc.state is State.ACTIVE


async def test_another_agent_of_its_name_still_ends_it_after_a_move(often: None) -> None:
    async with on_the_second() as (front, _, dc):
        front.shut = False
        front.answer = READY
        await front.behind.until(lambda: "dc" in front.behind.sessions)
        await dc.send("agni", 1)
        async with Agent("dc", front.behind.url):
            with pytest.raises(TakenOver):
                await dc.run()


async def test_what_is_under_way_is_answered_before_the_move_and_sent_once(often: None) -> None:
    async with on_the_second() as (front, two, dc):
        two.on_message = swallow
        first = asyncio.create_task(dc.send("agni", 1))
        await two.until(lambda: two.count("STATUS") == 1)
        front.shut = False
        front.answer = READY
        await front.looked_at(1)
        async with asyncio.timeout(60):
            for _ in iter(lambda: dc._engine.core.hold_back, True):
                await asyncio.sleep(0)
        second = asyncio.create_task(dc.send("agni", 2))
        assert not front.behind.seen
        two.on_message = None
        await two.accept(two.sessions["dc"], next(e for e in two.seen if e.type == "STATUS"))
        await asyncio.gather(first, second)
        assert [e.payload for e in two.seen if e.type == "STATUS"] == [1]
        assert [e.payload for e in front.behind.seen if e.type == "STATUS"] == [2]


async def test_a_move_that_fails_costs_nothing(
    often: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="trishula")
    async with on_the_second() as (front, two, dc):
        front.answer = READY
        await front.looked_at(3)
        front.shut = False
        front.behind.refuse = {"code": "forbidden", "message": "not here", "retryable": False}
        await front.behind.until(lambda: front.behind.count("COMMAND") >= 2)
        await dc.send("agni", 1)
        assert dc.url == two.url
        assert len(two.registrations) == 1
    assert "could not go over to" in caplog.text
    assert "not here" in caplog.text


# --- away from a hub without its store ---


async def test_a_hub_that_cannot_promise_anything_is_left_for_one_that_can(often: None) -> None:
    async with hub() as one, hub() as two, front_of(two) as front:
        two.log, two.mail, two.settled = one.log, one.mail, one.settled
        one.heartbeat_ms = 200
        one.on_message = swallow
        async with Agent("dc", [one.url, front.url]) as dc:
            states: list[State] = []
            dc.on_state(states.append)
            sending = asyncio.create_task(dc.send("agni", 1))
            one.ready = False
            await front.looked_at(3)
            assert dc.url == one.url  # the other is no better
            front.shut = False
            front.answer = READY
            async with asyncio.timeout(60):
                await sending
            assert dc.url == front.url
            assert states == []


async def test_nobody_looks_for_another_hub_while_the_present_one_is_well(often: None) -> None:
    async with hub() as one, hub() as two, front_of(two) as front:
        one.heartbeat_ms = 200
        front.answer = READY
        async with Agent("dc", [one.url, front.url]) as dc:
            one.ready = False
            await front.looked_at(1)
            one.ready = True
            front.answer = NOT_READY
            beats = one.count("HEARTBEAT")
            await one.until(lambda: one.count("HEARTBEAT") >= beats + 3)
            looks = front.looks
            beats = one.count("HEARTBEAT")
            await one.until(lambda: one.count("HEARTBEAT") >= beats + 5)
            assert front.looks <= looks + 1
            assert dc.state is State.ACTIVE


def test_a_hub_that_is_not_ready_at_one_look_begins_anew() -> None:
    watching = failback.Failback("dc", ["ws://h/ws"], None, 10.0)
    answers = {0.0: None, 6.0: "it drains", 12.0: None, 21.9: None}
    for now, why in answers.items():
        watching.note(0, why, now)
        assert watching.first(now) is None
    watching.note(0, None, 22.0)
    assert watching.first(22.0) == 0


def test_the_earliest_of_several_that_are_well_is_gone_back_to() -> None:
    watching = failback.Failback("dc", ["ws://a/ws", "ws://b/ws"], None, 10.0)
    watching.note(1, None, 0.0)
    watching.note(0, None, 5.0)
    assert watching.first(12.0) == 1
    assert watching.first(15.0) == 0


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf")])
def test_a_bad_failback_after_is_refused(after: float) -> None:
    with pytest.raises(ValueError, match="failback_after: seconds, 0 or more, or None for never"):
        Agent("dc", failback_after=after)


async def test_never_is_never(often: None) -> None:
    async with on_the_second(failback_after=None) as (front, two, dc):
        front.answer = READY
        await dc.send("agni", 1)
        assert dc.url == two.url
        assert front.looks == 0


async def test_an_agent_that_goes_back_can_be_closed_at_any_moment(often: None) -> None:
    for moment in range(8):
        async with on_the_second() as (front, _, dc):
            front.shut = False
            front.answer = READY
            await front.looked_at(1)
            for _ in range(moment):
                await asyncio.sleep(0)
        assert dc.state is State.CLOSED
