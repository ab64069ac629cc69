"""What goes wrong between an agent and its hub, and what must happen then."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.integration.client.scripted_hub import Session, hub
from tests.support.ports import free_port
from trishula import (
    Agent,
    NotConnected,
    Refused,
    RegistrationRefused,
    State,
    TakenOver,
    Unauthorized,
)
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope

CLOSED_PORT = "ws://127.0.0.1:1/ws"


def cut(session: Session) -> None:
    session.connection.transport.abort()


async def first_payload(agent: Agent) -> Any:
    message = await anext(agent.messages())
    await message.done()
    return message.payload


async def test_a_connection_lost_before_the_acknowledgement_costs_nothing() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:

        async def lose(session: Session, item: Envelope) -> bool:
            found.on_message = None
            cut(session)
            return True

        found.on_message = lose
        receipt = await dc.send("agni", 1)
        assert [e.id for e in found.seen if e.type == "STATUS"] == [receipt.id, receipt.id]
        assert list(found.log) == [("dc", receipt.id)]


async def test_a_connection_lost_after_acceptance_does_not_double_the_message() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:

        async def lose(session: Session, item: Envelope) -> bool:
            found.on_message = None
            await found.post("dc", "agni", item.payload, id=item.id)
            cut(session)
            return True

        found.on_message = lose
        await dc.send("agni", 1)
        assert len(found.log) == 1


async def test_order_is_kept_over_a_lost_connection() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        seen = 0

        async def lose(session: Session, item: Envelope) -> bool:
            nonlocal seen
            seen += 1
            if seen == 50:
                cut(session)
            return seen >= 50 and len(found.registrations) == 1

        found.on_message = lose
        await asyncio.gather(*[dc.send("agni", n) for n in range(100)])
        assert [e.payload for e in found.log.values()] == list(range(100))


async def test_a_finished_message_that_comes_again_is_settled_without_being_seen() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        found.settle_silently = True
        await found.post("agni", "dc", "once")
        await found.post("agni", "dc", "twice")
        assert await first_payload(dc) == "once"
        assert await first_payload(dc) == "twice"
        await found.until(lambda: found.settled == [1, 2])
        found.settle_silently = False
        log = list(found.log.values())
        found.mail["dc"] = {
            n: Envelope("STATUS", id=e.id, sender="agni", to="dc", seq=n, attempt=2)
            for n, e in enumerate(log, 1)
        }
        cut(found.sessions["dc"])
        await found.post("agni", "dc", "new")
        assert await first_payload(dc) == "new"
        await found.until(lambda: not found.mail["dc"])


async def test_a_message_is_handed_out_once_while_its_handler_outlives_the_connection() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        go = asyncio.Event()
        begun: asyncio.Queue[int] = asyncio.Queue()

        @dc.on_status
        async def work(message: Any) -> None:
            begun.put_nowait(message.payload)
            await go.wait()

        await found.post("agni", "dc", 1)
        await begun.get()
        await found.until(lambda: found.acked("read") == [1])
        cut(found.sessions["dc"])
        await found.until(lambda: len(found.registrations) == 2)
        await found.until(lambda: found.acked("read").count(1) >= 2)
        go.set()
        await found.until(lambda: found.settled == [1])
        assert begun.empty()


async def test_leases_are_renewed_while_a_handler_runs() -> None:
    async with hub() as found, Agent("dc", found.url, lease=1.0) as dc:
        go = asyncio.Event()

        @dc.on_status
        async def work(message: Any) -> None:
            await go.wait()

        await found.post("agni", "dc", 1)
        await found.until(lambda: found.acked("read").count(1) >= 3)
        go.set()
        await found.until(lambda: found.settled == [1])


async def test_the_hubs_are_tried_in_order() -> None:
    async with hub() as found, Agent("dc", [CLOSED_PORT, found.url]) as dc:
        assert dc.url == found.url
        await dc.send("agni", 1)


async def test_a_drained_hub_is_left_at_once_and_no_send_fails() -> None:
    async with hub() as one, hub() as two, Agent("dc", [one.url, two.url]) as dc:

        async def drain(session: Session, item: Envelope) -> bool:
            asyncio.ensure_future(session.connection.close(1012, "drain"))  # noqa: RUF006
            return True

        one.on_message = drain
        await dc.send("agni", 1)
        assert dc.url == two.url
        assert len(two.log) == 1
        assert dc.state == "active"


async def test_a_hub_that_dies_and_comes_back_is_found_again() -> None:
    async with hub(free_port()) as found, Agent("dc", found.url) as dc:
        await dc.send("agni", 1)
        await found.stop()
        sending = asyncio.create_task(dc.send("agni", 2))
        async with hub(found.port) as again:
            await sending
            assert [e.payload for e in again.log.values()] == [2]


async def test_a_silent_hub_is_left_within_two_heartbeats() -> None:
    async with hub() as one, hub() as two:
        one.heartbeat_ms = 50
        async with Agent("dc", [one.url, two.url]) as dc:
            one.silent = True
            await dc.send("agni", 1)
            assert dc.url == two.url


async def test_an_agent_that_was_taken_over_does_not_fight_back() -> None:
    async with hub() as found, Agent("dc", found.url) as old:
        found.on_message = _swallow
        waiting = [
            asyncio.create_task(old.send("agni", 1)),
            asyncio.create_task(old.command("agni", 1)),
            asyncio.create_task(anext(old.messages())),  # type: ignore[arg-type]
            asyncio.create_task(old.run()),
            asyncio.create_task(anext(old.watch())),  # type: ignore[arg-type]
        ]
        await found.until(lambda: found.count("STATUS") == 1)
        async with Agent("dc", found.url) as new:
            for task in waiting:
                with pytest.raises(TakenOver, match="another connection registered as 'dc'"):
                    await task
            assert old.state is State.TAKEN_OVER
            with pytest.raises(TakenOver):
                await old.send("agni", 2)
            with pytest.raises(TakenOver):
                await old.agents()
            found.on_message = None
            await new.send("agni", 3)
        assert len(found.registrations) == 2


async def _swallow(session: Session, item: Envelope) -> bool:
    return True


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_is_not_accepted_is_a_clear_error(status: int) -> None:
    async with hub() as found:
        found.status = (status, {})
        with pytest.raises(Unauthorized, match=f"HTTP {status}") as caught:
            await Agent("dc", found.url, token="s3cret").__aenter__()
        assert "s3cret" not in str(caught.value) + repr(caught.value)
        assert len(found.headers) == 1


async def test_a_token_that_expires_ends_the_agent_or_is_made_anew() -> None:
    async with hub() as found:
        made = iter(["t1", "t2", "t3"])
        async with (
            Agent("dc", found.url, token="fixed") as fixed,
            Agent("agni", found.url, token=lambda: next(made)) as fresh,
        ):
            for session in list(found.sessions.values()):
                await session.connection.close(4401, "token expired")
            await found.until(lambda: len(found.registrations) == 3)
            assert found.headers[-1]["Authorization"] == "Bearer t2"
            with pytest.raises(Unauthorized, match="token expired"):
                await fixed.run()
            assert fixed.state is State.REFUSED
            await fresh.send("dc", 1)


async def test_a_registration_that_is_refused_is_a_clear_error() -> None:
    async with hub() as found:
        found.refuse = {"code": "forbidden", "message": "not yours", "retryable": False}
        with pytest.raises(RegistrationRefused, match="forbidden: not yours"):
            await Agent("dc", found.url).__aenter__()


async def test_a_hub_that_asks_for_patience_gets_it() -> None:
    async with hub() as found:
        found.refuse = {"code": "unavailable", "message": "starting", "retryable": True}
        entering = asyncio.create_task(Agent("dc", found.url).__aenter__())
        await found.until(lambda: found.count("COMMAND") >= 3)
        found.refuse = None
        await (await entering).close()


async def test_no_hub_in_time_says_what_happened_at_each() -> None:
    async with hub() as found:
        found.status = (503, {"Retry-After": "60"})
        agent = Agent("dc", [CLOSED_PORT, found.url], connect_timeout=2)
        with pytest.raises(NotConnected) as caught:
            await agent.__aenter__()
        assert caught.value.reasons.keys() == {CLOSED_PORT, found.url}
        assert caught.value.reasons[found.url].startswith("HTTP 503")
        assert len(found.headers) == 1
        assert agent.state is State.CLOSED


async def test_refusals_that_pass_are_waited_out() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        answers = iter(["unavailable", "rate_limited"])

        async def refuse(session: Session, item: Envelope) -> bool:
            code = next(answers, None)
            if code is None:
                return False
            body = {"code": code, "message": "", "retryable": True, "retry_after_ms": 1}
            await session.say(Envelope("ERROR", sender="hub", reply_to=item.id, payload=body))
            return True

        found.on_message = refuse
        receipt = await dc.send("agni", 1)
        assert [e.id for e in found.seen if e.type == "STATUS"] == [receipt.id] * 3


async def test_refusals_that_stay_are_raised() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:

        async def refuse(session: Session, item: Envelope) -> bool:
            body = {"code": "mailbox_full", "message": "100000 wait", "retryable": True}
            await session.say(Envelope("ERROR", sender="hub", reply_to=item.id, payload=body))
            return True

        found.on_message = refuse
        with pytest.raises(Refused, match="mailbox_full: 100000 wait") as caught:
            await dc.send("agni", 1)
        assert caught.value.retryable


async def test_frames_in_fragments_are_put_together() -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        frame = JSON.encode(
            Envelope("STATUS", id="f", sender="agni", to="dc", payload="é" * 100, seq=1)
        )
        ws = found.sessions["dc"].connection
        async with ws.send_context():
            ws.protocol.send_text(frame[:50], fin=False)
            ws.protocol.send_ping(b"between")
            ws.protocol.send_continuation(frame[50:60], fin=False)
            ws.protocol.send_continuation(frame[60:], fin=True)
        assert await first_payload(dc) == "é" * 100


async def test_what_cannot_be_read_costs_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with hub() as found, Agent("dc", found.url) as dc:
        connection = found.sessions["dc"].connection
        await connection.send("{")
        await connection.send('[{"type":"STATUS","seq":0},{"type":"ACK","payload":{"stage":1}}]')
        await found.post("agni", "dc", "good")
        assert await first_payload(dc) == "good"
    assert sum(r.levelno == logging.WARNING for r in caplog.records) >= 3


async def test_a_slow_hub_fills_a_bounded_buffer_and_then_everybody_waits() -> None:
    async with hub() as found:
        found.frame_bytes = 1 << 18
        async with Agent("dc", found.url) as dc:
            gate = asyncio.Event()

            async def slow(session: Session, item: Envelope) -> bool:
                await gate.wait()
                return False

            found.on_message = slow
            outbox = dc._engine.core.outbox
            big = "x" * 200_000
            sends = [asyncio.create_task(dc.send("agni", big)) for _ in range(100)]
            await found.until(lambda: found.count("STATUS") >= 1)
            assert outbox.full
            assert len(outbox) < 60
            gate.set()
            await asyncio.gather(*sends)
            assert len(found.log) == 100


async def test_the_token_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="trishula")
    async with hub() as found, Agent("dc", found.url, token="s3cret") as dc:
        await dc.send("agni", 1)
        cut(found.sessions["dc"])
        await dc.send("agni", 2)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("trishula")]
    assert ours
    assert "s3cret" not in "".join(ours)
