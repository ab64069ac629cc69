"""Agent against a scripted hub: what an application sees."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.integration.client.scripted_hub import ScriptedHub, hub
from trishula import Agent, AgentClosed, Message, Refused, RemoteError, intake
from trishula.news import COPIES_KEPT
from trishula_protocol.bodies import Recall
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[ScriptedHub, Agent, Agent]]:
    async with (
        hub() as found,
        Agent("dc", found.url) as dc,
        Agent("agni", found.url, **options) as agni,
    ):
        yield found, dc, agni


async def first(agent: Agent) -> Message:
    return await anext(agent.messages())


async def test_a_message_is_accepted_delivered_read_and_settled() -> None:
    async with pair() as (found, dc, agni):
        receipt = await dc.send("agni", {"n": 1}, type="STATUS", priority=2, ttl=60.0)
        message = await first(agni)
        assert (message.type, message.sender, message.payload) == ("STATUS", "dc", {"n": 1})
        assert (message.id, message.attempt, message.priority) == (receipt.id, 1, 2)
        assert message.thread == receipt.id
        await found.until(lambda: found.acked("read"))
        await message.done()
        await found.until(lambda: found.acked("done"))
        assert found.settled == [message.seq]


async def test_many_sends_in_flight_arrive_in_order_in_few_frames() -> None:
    async with pair() as (found, dc, agni):
        await asyncio.gather(*[dc.send("agni", n) for n in range(1_000)])
        mailbox = agni.messages()
        got = []
        for _ in range(1_000):
            message = await anext(mailbox)
            got.append(message.payload)
            await message.done()
        assert got == list(range(1_000))
        await found.until(lambda: len(found.settled) == 1_000)
        assert found.count("ACK") < 200


async def test_a_command_returns_what_its_handler_returns() -> None:
    async with pair() as (found, dc, agni):
        progress: list[Any] = []

        @agni.on_command
        async def work(message: Message) -> Any:
            await message.progress({"half": True})
            return {"got": message.payload}

        answer = await dc.command("agni", {"n": 1}, timeout=60, on_progress=progress.append)
        assert answer == {"got": {"n": 1}}
        assert progress == [{"half": True}]
        await found.until(lambda: len(found.settled) == 3)
        result = next(e for e in found.seen if e.type == "RESULT")
        command = next(e for e in found.seen if e.type == "COMMAND" and e.to == "agni")
        assert (result.reply_to, result.thread) == (command.id, command.id)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.name == "trishula" and r.levelno >= logging.WARNING]


async def test_a_handler_that_raises_answers_with_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with pair() as (found, dc, agni):

        @agni.on_command
        def work(message: Message) -> Any:
            if message.payload == "refuse":
                raise RemoteError("no_such_file", "look elsewhere", details={"at": 1})
            raise KeyError("x")

        with pytest.raises(RemoteError, match="handler_failed: KeyError: 'x'") as caught:
            await dc.command("agni", "fail", timeout=60)
        assert caught.value.details == {"exception": "KeyError"}
        with pytest.raises(RemoteError) as caught:
            await dc.command("agni", "refuse", timeout=60)
        assert caught.value.code == "no_such_file"
        assert caught.value.details == {"at": 1}
        assert caught.value.sender == "agni"
        [record] = warnings_of(caplog)
        failed = next(e for e in found.seen if e.payload == "fail")
        assert record.levelno == logging.ERROR
        assert record.getMessage() == f"agni: a handler failed for COMMAND {failed.id} from dc"


async def test_mail_that_nobody_takes_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (_, dc, agni):
        agni.on_command(lambda message: None)
        first_one = await dc.send("agni", 1)
        await dc.send("agni", 2)
        await dc.command("agni", timeout=60)
        assert [r.getMessage() for r in warnings_of(caplog)] == [
            f"agni: STATUS {first_one.id} from dc waits: no handler takes it and nobody reads "
            "messages()"
        ]


async def test_a_result_that_cannot_be_sent_is_an_error_for_the_asker() -> None:
    async with pair() as (_, dc, agni):
        agni.on_command(lambda message: {"x": float("nan")})
        with pytest.raises(RemoteError, match=r"payload\.x: numbers must be finite"):
            await dc.command("agni", timeout=60)


async def test_a_status_handler_that_raises_has_its_message_tried_again() -> None:
    async with pair() as (found, dc, agni):

        @agni.on_status
        async def work(message: Message) -> None:
            raise OSError("disk")

        await dc.send("agni", 1)
        await found.until(lambda: found.acked("rejected"))
        said = next(e.payload for e in found.seen if e.type == "ACK")
        assert said["requeue"] is True
        assert said["reason"] == "OSError: disk"
        assert found.settled == []


async def test_no_more_handlers_run_than_were_asked_for() -> None:
    async with pair(concurrency=3) as (_, dc, agni):
        running = 0
        most = 0
        full = asyncio.Event()
        go = asyncio.Event()

        @agni.on_command
        async def work(message: Message) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 3:
                full.set()
            await go.wait()
            running -= 1

        async with asyncio.TaskGroup() as group:
            for n in range(10):
                group.create_task(dc.command("agni", n, timeout=60))
            await full.wait()
            go.set()
        assert most == 3


async def test_handlers_and_messages_share_the_mail() -> None:
    async with pair() as (_, dc, agni):
        await dc.send("agni", "early")
        seen: asyncio.Queue[Any] = asyncio.Queue()
        agni.on_command(lambda message: "ok")
        assert await dc.command("agni", timeout=60) == "ok"
        assert (await first(agni)).payload == "early"
        agni.on_message(lambda message: seen.put_nowait(message.payload))
        await dc.send("agni", "late")
        assert await seen.get() == "late"


async def test_replying_settles_with_the_answer_and_only_once() -> None:
    async with pair() as (found, dc, agni):
        asking = asyncio.create_task(dc.command("agni", timeout=60))
        message = await first(agni)
        await message.reply({"ok": True})
        assert await asking == {"ok": True}
        assert message.settled
        await message.done()
        await message.reject("late")
        await message.reply("again")
        results = [e for e in found.seen if e.type == "RESULT"]
        assert len(results) == 2
        assert message.seq in found.settled
        assert not found.acked("rejected")


async def test_rejecting_says_why() -> None:
    async with pair() as (found, dc, agni):
        await dc.send("agni", 1)
        await (await first(agni)).reject("not mine")
        await found.until(lambda: found.acked("rejected"))
        assert next(e.payload for e in found.seen if e.type == "ACK")["reason"] == "not mine"


async def test_a_command_that_gets_no_answer_in_time_times_out() -> None:
    async with pair() as (found, dc, agni):
        with pytest.raises(TimeoutError):
            await dc.command("agni", timeout=0.05)
        message = await first(agni)
        await message.reply("late")
        await dc.send("dc", "next")
        got = await first(dc)
        assert got.payload == "next"
        await found.until(lambda: len(found.settled) >= 2)


async def test_questions_are_answered_or_refused() -> None:
    async with pair() as (found, dc, _):
        assert await dc.agents(online=True) == [{"id": "agni"}, {"id": "dc"}]
        assert await dc.status("busy") == {"op": "status"}
        with pytest.raises(Refused, match="forbidden: it was read"):
            await dc.ask(Recall("x"))
        with pytest.raises(ValueError, match="group"):
            await dc.join("No Such")
        await dc.join("ops")
        assert found.seen[-1].payload == {"op": "join", "group": "ops"}


@pytest.mark.parametrize(
    ("payload", "error", "text"),
    [
        ({"a": [1, float("inf")]}, ValueError, r"payload\.a\[1\]: numbers must be finite"),
        ({"a": {"b": object()}}, TypeError, r"payload\.a\.b: object is not a JSON value"),
        ({"a": 2**64}, ValueError, r"payload\.a: integers go from"),
        ({"a": "\ud800"}, ValueError, r"payload\.a: not valid Unicode"),
    ],
)
async def test_a_payload_that_cannot_be_sent_is_refused_before_it_is_queued(
    payload: Any, error: type[Exception], text: str
) -> None:
    async with pair() as (found, dc, _):
        with pytest.raises(error, match=text):
            await dc.send("agni", payload)
        await dc.send("agni", None)
        assert len(found.log) == 1


async def test_wrong_arguments_name_the_field() -> None:
    async with pair() as (_, dc, _agni):
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"to": "No"}, "to: agent 'No' must be"),
            ({"to": "hub"}, "to: 'hub' is asked"),
            ({"to": "agni", "priority": 6}, "priority: 1"),
            ({"to": "agni", "ttl": 0}, "ttl: "),
            ({"to": "agni", "type": "ACK"}, "type: one of"),
            ({"to": "agni", "type": "RESULT"}, "reply_to: required"),
            ({"to": "agni", "thread": "a b"}, "thread: must be"),
            ({"to": "agni", "id": ""}, "id: must be"),
            ({"to": "agni", "headers": {"": "x"}}, "headers: "),
        ]
        for fields, text in wrong:
            with pytest.raises(ValueError, match=text):
                await dc.send(**fields)
        with pytest.raises(Refused, match="too_large"):
            await dc.send("agni", "x" * (1 << 20))


async def test_a_side_session_sends_and_takes_over_nothing() -> None:
    async with pair() as (found, dc, agni):
        async with Agent("dc", found.url, receive=False, ephemeral=True) as side:
            await side.send("agni", "hello")
            assert (await first(agni)).sender == "dc"
            with pytest.raises(ValueError, match="side session"):
                await side.command("agni")
        assert dc.state == "active"
        assert found.registrations[-1]["receive"] is False
        assert found.registrations[-1]["ephemeral"] is True


async def test_closing_waits_for_handlers_acceptance_and_settlement() -> None:
    async with hub() as found:
        async with Agent("dc", found.url) as dc, Agent("agni", found.url) as agni:
            begun = asyncio.Event()

            @agni.on_status
            async def work(message: Message) -> None:
                begun.set()
                await agni.send("dc", "working")

            sending = asyncio.create_task(dc.send("agni", 1))
            await begun.wait()
            await agni.close()
            await sending
        assert agni.state == "closed"
        assert len(found.settled) == 1
        assert found.mail["agni"] == {}
        with pytest.raises(AgentClosed, match="is closed"):
            await agni.send("dc", 1)
        with pytest.raises(AgentClosed, match="was entered before"):
            await agni.__aenter__()


async def test_messages_end_when_the_agent_is_closed() -> None:
    async with hub() as found:
        agent = Agent("dc", found.url)
        async with agent:
            reading = asyncio.create_task(anext(agent.messages(), "end"))
            running = asyncio.create_task(agent.run())
        assert await reading == "end"
        await running


async def test_the_environment_names_agent_hub_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hub() as found:
        monkeypatch.setenv("TRISHULA_AGENT", "agni")
        monkeypatch.setenv("TRISHULA_URL", f"{found.url}, ws://127.0.0.1:1/ws")
        monkeypatch.setenv("TRISHULA_TOKEN", "s3cret")
        async with Agent() as agent:
            assert agent.name == "agni"
            assert found.headers[0]["Authorization"] == "Bearer s3cret"
            assert "s3cret" not in repr(agent)


async def test_receipts_tell_what_became_of_a_message() -> None:
    async with pair() as (found, dc, _):
        receipt = await dc.send("agni", 1, receipt=True)
        reached = asyncio.create_task(receipt.reached("read", timeout=60))
        for stage in ("delivered", "read"):
            ack = {"stage": stage, "ids": [receipt.id], "by": "agni"}
            await found.sessions["dc"].say(Envelope("ACK", sender="hub", payload=ack))
        assert await reached == "agni"
        assert await receipt.reached("delivered") == "agni"
        with pytest.raises(TimeoutError):
            await receipt.reached("done", timeout=0.01)


async def test_a_tap_hears_copies_apart_from_watchers_and_ends_when_nobody_refers_to_it() -> None:
    async with pair() as (found, dc, _):
        changes, copies = dc.watch(), dc.tap(sender="agni", to="#ops")
        watching = asyncio.ensure_future(anext(changes))
        tapping = asyncio.ensure_future(anext(copies))
        asked = {"op": "tap", "from": "agni", "to": "#ops"}
        await found.until(lambda: any(e.payload == asked for e in found.seen))
        await found.until(lambda: any(e.payload == {"op": "watch"} for e in found.seen))
        for payload in ({"tap": "accepted", "n": 1}, {"event": "presence"}):
            news = Envelope("STATUS", sender="hub", payload=payload)
            await found.sessions["dc"].say(news)
        assert await tapping == {"tap": "accepted", "n": 1}
        assert await watching == {"event": "presence"}
        del copies, tapping
        await found.sessions["dc"].say(
            Envelope("STATUS", sender="hub", payload={"tap": "accepted"})
        )
        await found.until(lambda: any(e.payload == {"op": "tap", "on": False} for e in found.seen))


async def test_a_tap_that_was_refused_is_not_asked_for_again() -> None:
    async with pair() as (found, dc, _):
        found.refuse_ops.add("tap")
        with pytest.raises(Refused, match="forbidden"):
            await anext(dc.tap())
        assert dc._engine.core.subscriptions == {}


async def test_a_second_tap_ends_the_first() -> None:
    async with pair() as (_, dc, _):
        first = dc.tap()
        reading = asyncio.ensure_future(anext(first))
        second = dc.tap(type="COMMAND")
        with pytest.raises(StopAsyncIteration):
            await reading
        del second


async def test_what_a_tap_has_no_room_for_is_counted() -> None:
    async with pair() as (_, dc, _):
        copies = dc.tap()
        for n in range(COPIES_KEPT + 7):
            copies.note({"tap": "accepted", "n": n})  # type: ignore[attr-defined]
        copies.note({"tap": "missed", "missed": 5})  # type: ignore[attr-defined]
        heard = [await anext(copies) for _ in range(COPIES_KEPT + 1)]
        assert [each.get("n") for each in heard[:-1]] == list(range(COPIES_KEPT))
        assert heard[-1] == {"tap": "missed", "missed": 12}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [({"to": "x" * 70}, "to"), ({"type": "ACK"}, "type"), ({"sender": "@x"}, "from")],
)
async def test_a_tap_that_the_hub_would_refuse_is_not_asked_for(
    wanted: dict[str, str], field: str
) -> None:
    dc = Agent("dc", "ws://h/ws")
    with pytest.raises(ValueError, match=field):
        dc.tap(**wanted)


async def test_watching_hears_presence() -> None:
    async with pair() as (found, dc, _):
        changes = dc.watch()
        reading = asyncio.ensure_future(anext(changes))
        await found.until(lambda: any(e.payload == {"op": "watch"} for e in found.seen))
        news = Envelope("STATUS", id="p1", sender="hub", to="dc", payload={"agent": "agni"})
        await found.sessions["dc"].say(news)
        assert await reading == {"agent": "agni"}
        del changes, reading
        await found.sessions["dc"].say(news)
        await found.until(
            lambda: any(e.payload == {"op": "watch", "on": False} for e in found.seen)
        )


async def test_who_settles_nothing_is_handed_no_more_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "UNSETTLED", 2)
    async with pair() as (_, dc, agni):
        for n in range(4):
            await dc.send("agni", n)
        mailbox = agni.messages()
        one, two = await anext(mailbox), await anext(mailbox)
        third = asyncio.ensure_future(anext(mailbox))
        await dc.agents()
        assert not third.done()
        await one.done()
        assert (await third).payload == 2
        fourth = asyncio.ensure_future(anext(mailbox))
        await dc.agents()
        assert not fourth.done()
        await two.reply()
        assert (await fourth).payload == 3


async def test_mail_that_comes_as_the_last_worker_ends_is_handled() -> None:
    async with pair(concurrency=1) as (found, _dc, agni):
        connector = agni._engine._connector
        assert connector is not None
        late = Envelope("STATUS", id="late", sender="dc", to="agni", payload=2, seq=99)
        seen: asyncio.Queue[int] = asyncio.Queue()

        @agni.on_status
        def work(message: Message) -> None:
            seen.put_nowait(message.payload)
            if message.payload == 1:
                asyncio.get_running_loop().call_soon(connector._on_frame, JSON.encode(late))

        await found.post("dc", "agni", 1)
        async with asyncio.timeout(60):
            assert [await seen.get(), await seen.get()] == [1, 2]


async def test_waiting_for_a_receipt_that_was_not_asked_for_is_refused() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        plain = await dc.send("agni", 1)
        with pytest.raises(ValueError, match="sent without receipt=True"):
            await plain.reached("done")
        asked = await dc.send("agni", 2, receipt=True)
        with pytest.raises(ValueError, match="stage: delivered, read, done, not 'finished'"):
            await asked.reached("finished")  # type: ignore[arg-type]
